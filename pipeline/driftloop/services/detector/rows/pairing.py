"""Answers and their requests, paired by the id of the request, in whatever order they come.

What it knows depends on the events and their stored times alone, as the join with labels does (`join`). An answer whose
request does not come in time, can't be read or has other rows is counted, with the reason.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.rows.values import RowFaults, Rows

MOST_REQUESTS = 100_000
"""Requests that are remembered; the oldest are given up."""
NO_REQUEST = "the request of an answer did not come"
UNREADABLE_REQUEST = "the request of an answer can't be read"
OTHER_ROWS = "a request has other rows than its answer"
"""Why answers are not judged."""


@dataclass(slots=True)
class _Pair:
    sequence: int
    """First event that names the request."""
    time: int
    """Time at which that was stored, in nanoseconds since 1970."""
    asked: Rows | None = None
    unreadable: bool = False
    """The request came, and can't be read."""
    answers: Rows | None = None
    """Rows that wait for their request."""


@dataclass
class RequestPairing:
    """Requests and answers that wait for each other, and those that were paired, since each may come again."""

    reader: LabelledReader
    wait: int
    """Nanoseconds."""
    most: int = MOST_REQUESTS
    _pairs: "OrderedDict[str, _Pair]" = field(default_factory=OrderedDict)
    _lost: Counter[str] = field(default_factory=Counter)

    @property
    def oldest(self) -> int | None:
        """First event of the oldest request that is remembered; None without one."""
        return next((each.sequence for each in self._pairs.values()), None)

    def add_request(self, sequence: int, time: int, request: str, asked: Rows | None) -> Rows:
        """Take what rows have of their request, None of one that can't be read; the rows that are paired by it. The
        first one counts."""
        known = self._find(sequence, time, request)
        if known.asked is not None or known.unreadable:
            return self.reader.no_rows()
        known.asked, known.unreadable = asked, asked is None
        answers, known.answers = known.answers, None
        return self.reader.no_rows() if answers is None else self._pair(known, answers)

    def add_answers(self, sequence: int, time: int, request: str, answers: Rows) -> Rows:
        """Take the answers to a request; the rows that are paired by it. One that comes again has its rows again."""
        known = self._find(sequence, time, request)
        if known.asked is None and not known.unreadable:
            known.answers = answers
            return self.reader.no_rows()
        return self._pair(known, answers)

    def take_faults(self) -> RowFaults:
        """Return what was lost since the last call."""
        lost, self._lost = self._lost, Counter()
        return RowFaults(lost)

    def give_up_oldest(self, share: float) -> int:
        """Give up so large a share of what is remembered, the oldest first; how much that is."""
        count = int(len(self._pairs) * share)
        for _ in range(count):
            self._forget(self._pairs.popitem(last=False)[1])
        return count

    def _find(self, sequence: int, time: int, request: str) -> _Pair:
        while self._pairs:
            first = next(iter(self._pairs.values()))
            if time - first.time <= self.wait:
                break
            self._forget(self._pairs.popitem(last=False)[1])
        known = self._pairs.get(request)
        if known is None:
            known = self._pairs[request] = _Pair(sequence, time)
            if len(self._pairs) > self.most:
                self._forget(self._pairs.popitem(last=False)[1])
        return known

    def _forget(self, known: _Pair) -> None:
        if known.answers is not None:
            self._lost[NO_REQUEST] += len(known.answers)

    def _pair(self, known: _Pair, answers: Rows) -> Rows:
        if known.asked is None or len(known.asked) != len(answers):
            self._lost[UNREADABLE_REQUEST if known.asked is None else OTHER_ROWS] += len(answers)
            return self.reader.no_rows()
        self.reader.place_asked(answers, known.asked)
        return answers
