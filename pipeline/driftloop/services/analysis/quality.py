"""Joins labels with what versions have answered, for bounds on live quality. Memory is bounded by age and by number.

Of answers to one request by one version the first counts, of labels the last one given. Answers of a shadow count like all
others: labels that come late are often to those.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from driftloop.contract.labels import Label, LabelBatch
from driftloop.release.answers import Answer
from driftloop.release.live import LabelledFigures, score_label

TTL = 3600.0
"""Seconds that an answer waits for its label, and a label for its answer: as long as the stream keeps both."""
KEPT = 100_000
"""Requests that are remembered; the oldest are given up."""

Given = tuple[int, str, int]
"""When a label was given: time of its batch, its event, and its place there."""


@dataclass
class _Request:
    time: float
    answers: dict[str, tuple[tuple[Answer, ...], tuple[str, ...]]] = field(default_factory=dict)
    """Answers of a release, and the names of their classes."""
    given: Given = (0, "", 0)
    label: Label | None = None
    figures: dict[str, LabelledFigures] = field(default_factory=dict)
    """Of the releases whose answers the label fits."""

    def measure_again(self) -> None:
        self.figures = {}
        if self.label is None:
            return
        for release, (answers, names) in self.answers.items():
            figures = score_label(answers, names, self.label)
            if figures is not None:
                self.figures[release] = figures


class QualityJoin:
    """Takes answers and labels in any order."""

    def __init__(self, *, ttl: float = TTL, kept: int = KEPT) -> None:
        self._ttl, self._kept = ttl, kept
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._first: dict[str, float] = {}
        """Release -> time of its first answer that is known."""

    def add_answers(
        self,
        request: str,
        release: str,
        answers: Sequence[Answer],
        names: Sequence[str],
        time: float,
    ) -> None:
        """A version's answers to a request at a time (seconds)."""
        known = self._find(request, time)
        # in a shadow production may have answered a moment before
        self._first[release] = min(self._first.get(release, known.time), known.time)
        while len(self._first) > 8:
            del self._first[min(self._first, key=lambda each: self._first[each])]
        if release not in known.answers:
            known.answers[release] = (tuple(answers), tuple(names))
            known.measure_again()

    def add_labels(self, event: str, batch: LabelBatch, time: float) -> None:
        """Labels that came at a time."""
        for place, each in enumerate(batch.labels):
            known = self._find(each.request[:200], time)
            given = (batch.given, event, place)
            if given > known.given:
                known.given, known.label = given, each.label
                known.measure_again()

    def measure(self, production: str, candidate: str) -> tuple[LabelledFigures, LabelledFigures]:
        """Return the figures of production and candidate, of all that was answered since the candidate's first
        answer."""
        since = self._first.get(candidate)
        ours = theirs = LabelledFigures()
        if since is None:
            return theirs, ours
        for known in self._requests.values():
            if known.time >= since and known.figures:
                theirs += known.figures.get(production, LabelledFigures())
                ours += known.figures.get(candidate, LabelledFigures())
        return theirs, ours

    def __len__(self) -> int:
        return len(self._requests)

    def _find(self, request: str, time: float) -> _Request:
        known = self._requests.get(request)
        if known is None:
            known = self._requests[request] = _Request(time)
        while self._requests:
            oldest, first = next(iter(self._requests.items()))
            if first is known or (
                len(self._requests) <= self._kept and first.time >= time - self._ttl
            ):
                break
            del self._requests[oldest]
        return known
