"""Answers and labels, joined by the id of their request, in whatever order they come.

What it knows depends on the events and their stored times alone: who reads the stream again knows the same. An answer and
its label join when not more than `wait` lies between them. The first answer to a request counts, and the last label that was
given. A row whose label is corrected is counted anew, and changed in the window that it is still in.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

import numpy as np

from driftloop.contract.labels import Label, LabelBatch, LabelCounts
from driftloop.services.detector.rows.labelled import (
    Answer,
    LabelledReader,
    UnreadableLabelError,
)
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.rows.values import RowFaults, Rows

MOST_REQUESTS = 500_000
"""Requests that are remembered; the oldest are given up."""

MOST_EARLY = 20
"""Labels of one request that wait for its answer."""

Given = tuple[int, str, int]
"""When a label was given: time of its batch, its event, and its place there."""


@dataclass(slots=True)
class _Request:
    sequence: int
    """First event that names it."""
    time: int
    """Time at which that was stored, in nanoseconds since 1970."""
    answers: tuple[Answer, ...] | None = None
    chances: Rows | None = None
    """Probabilities of classes, where the answers are such."""
    asked: Rows | None = None
    """What its rows have of the request."""
    foreign: bool = False
    """Another release answered it."""
    early: list[tuple[Given, Label]] = field(default_factory=list)
    """Labels that came before the release's answers."""
    given: Given = (0, "", 0)
    labels: tuple[Answer, ...] | None = None
    """Label of each row; None before it is joined."""
    rows: Rows | None = None
    """Its rows, where the window has them."""


@dataclass
class LabelJoin:
    """Requests and labels that wait, and those that were joined."""

    reader: LabelledReader
    wait: int
    """Nanoseconds."""
    most: int = MOST_REQUESTS
    counts: LabelCounts = field(default_factory=LabelCounts)
    """What was counted, but for what waits now."""
    _requests: "OrderedDict[str, _Request]" = field(default_factory=OrderedDict)
    _waiting: int = 0
    _early: int = 0

    def __post_init__(self) -> None:
        if self.counts.right is None and self.counts.absolute is None:
            self.recall(self.counts)

    @property
    def current(self) -> LabelCounts:
        """Everything that was counted, and what waits now."""
        return replace(self.counts, waiting=self._waiting, early=self._early)

    @property
    def oldest(self) -> int | None:
        """First event of the oldest request that is remembered; None without one."""
        return next((each.sequence for each in self._requests.values()), None)

    def recall(self, counts: LabelCounts) -> None:
        """Go on from what was counted before."""
        counts = counts.drop_waiting()
        if self.reader.classes:
            self.counts = replace(counts, right=counts.right or 0, absolute=None, squares=None)
        else:
            absolute, squares = counts.absolute or 0.0, counts.squares or 0.0
            self.counts = replace(counts, right=None, absolute=absolute, squares=squares)

    def add_request(self, sequence: int, time: int, request: str, asked: Rows) -> None:
        """Take what rows have of their request, before or after its answers and labels; the first counts."""
        self._expire(time)
        known = self._find(sequence, time, request)
        if known.asked is not None:
            return
        known.asked = asked
        if known.rows is not None:
            self.reader.place_asked(known.rows, asked)

    def add_answers(
        self,
        sequence: int,
        time: int,
        request: str,
        answers: Sequence[Answer],
        chances: Rows | None = None,
    ) -> DecodedRows:
        """Take the release's answers to a request, stored at a time; the rows that are joined by it."""
        self._expire(time)
        known = self._find(sequence, time, request)
        if known.answers is not None:
            return self._no_rows()
        early, known.early = known.early, []
        self._early -= bool(early) and not known.foreign
        known.answers, known.chances, known.foreign = tuple(answers), chances, False
        self._waiting += 1
        joined = [
            self._add_label(known, label, given)
            for given, label in sorted(early, key=itemgetter(0))
        ]
        return self._collect([(request, known)] if any(joined) else [])

    def add_foreign(self, sequence: int, time: int, request: str) -> None:
        """Take note that another release answered a request."""
        self._expire(time)
        known = self._find(sequence, time, request)
        if known.answers is not None or known.foreign:
            return
        known.foreign = True
        if known.early:
            self._early -= 1
            self._count(foreign=len(known.early))

    def add_labels(self, sequence: int, time: int, event: str, batch: LabelBatch) -> DecodedRows:
        """Take labels, stored at a time; the rows that are joined by them."""
        self._expire(time)
        joined = []
        for place, each in enumerate(batch.labels):
            known = self._find(sequence, time, each.request)
            if self._add_label(known, each.label, (batch.given, event, place)):
                joined.append((each.request, known))
        return self._collect(joined)

    def give_up_oldest(self, share: float) -> int:
        """Give up so large a share of what is remembered, the oldest first; how much that is."""
        count = int(len(self._requests) * share)
        for _ in range(count):
            self._forget(self._requests.popitem(last=False)[1])
        return count

    def _find(self, sequence: int, time: int, request: str) -> _Request:
        known = self._requests.get(request)
        if known is None:
            known = self._requests[request] = _Request(sequence, time)
            if len(self._requests) > self.most:
                self._forget(self._requests.popitem(last=False)[1])
        return known

    def _expire(self, time: int) -> None:
        while self._requests:
            first = next(iter(self._requests.values()))
            if time - first.time <= self.wait:
                return
            self._forget(self._requests.popitem(last=False)[1])

    def _forget(self, known: _Request) -> None:
        if known.rows is not None:
            return
        if known.answers is not None:
            self._waiting -= 1
            self._count(expired=1)
        elif known.early and not known.foreign:
            self._early -= 1
            self._count(unknown=len(known.early))

    def _add_label(self, known: _Request, label: Label, given: Given) -> bool:
        """Take a label; True when its request is joined by it."""
        if known.answers is None:
            if known.foreign:
                self._count(foreign=1)
            else:
                self._early += not known.early
            known.early = [*known.early, (given, label)][-MOST_EARLY:]
            return False
        try:
            labels = self.reader.read_label(label, len(known.answers))
        except UnreadableLabelError:
            self._count(unreadable=1)
            return False
        if labels == known.labels:
            self._count(repeated=1)
            known.given = max(known.given, given)
            return False
        if known.labels is not None:
            self._count(contradicting=1)
            if given < known.given:
                return False
        known.given, known.labels = given, labels
        rows = self.reader.encode_rows(known.answers, labels, known.chances, known.asked)
        return self._make_rows(known, rows)

    def _make_rows(self, known: _Request, rows: Rows) -> bool:
        """Give a request its rows, or correct those that it has; True for new ones."""
        if known.rows is not None:
            self._count_rows(known.rows, -1)
            known.rows[:] = rows
            self._count_rows(rows, 1)
            return False
        known.rows = rows
        self._waiting -= 1
        self._count_rows(rows, 1)
        return True

    def _collect(self, joined: list[tuple[str, _Request]]) -> DecodedRows:
        """Return the rows of requests as one table, of which each request keeps its part."""
        if not joined:
            return self._no_rows()
        parts = [known.rows for _, known in joined if known.rows is not None]
        rows = np.concatenate(parts)
        names: list[str] = []
        start = 0
        for (request, each), part in zip(joined, parts, strict=True):
            each.rows = rows[start : start + len(part)]
            start += len(part)
            names += [request] * len(part)
        return DecodedRows(rows, RowFaults(), tuple(names))

    def _no_rows(self) -> DecodedRows:
        return DecodedRows(self.reader.no_rows(), RowFaults())

    def _count(self, **more: int) -> None:
        changed = {name: getattr(self.counts, name) + count for name, count in more.items()}
        self.counts = replace(self.counts, **changed)

    def _count_rows(self, rows: Rows, sign: int) -> None:
        counts = replace(self.counts, rows=self.counts.rows + sign * len(rows))
        if counts.right is not None:
            self.counts = replace(counts, right=counts.right + sign * int(rows[:, 0].sum()))
            return
        absolute = (counts.absolute or 0.0) + sign * float(rows[:, 0].sum())
        squares = (counts.squares or 0.0) + sign * float((rows[:, 0] ** 2).sum())
        self.counts = replace(counts, absolute=max(0.0, absolute), squares=max(0.0, squares))
