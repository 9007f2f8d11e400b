"""Joins what two versions answered to the same request. Memory is bounded by age and by number."""

import math
from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from driftloop.release.answers import Answer, compare_answers, find_distances

TTL = 120.0
"""Seconds that a response waits for its partner, and that a joined request is remembered."""
OPEN = 20_000
"""Responses that wait at most; the oldest go first."""
KEPT = 20_000
"""Joined requests kept for each pair of versions."""
LONGEST_ID = 100
"""Characters of a request's id that are kept when it is forgotten."""
GRACE = 5.0
"""Seconds that a partner's answer may come later."""
SECONDS = 7200
"""Seconds for which the number of responses is kept."""


@dataclass
class _OpenRequest:
    time: float
    answers: dict[str, tuple[Answer, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _JoinedRequest:
    """A request that two versions answered."""

    time: float
    rows: int
    agreed: int
    distances: tuple[float, ...] | None
    """Of each row, when the answers are numbers."""

    def count_agreed(self, tolerance: float | None) -> int:
        if tolerance is None or self.distances is None:
            return self.agreed
        return sum(distance <= tolerance for distance in self.distances)


@dataclass(frozen=True)
class Agreement:
    """Numbers of requests both versions answered, the rows in them, and how many of those alike."""

    joined: int
    rows: int
    agreed: int


class ResponseJoin:
    """Takes responses in any order; each version's first answer to a request counts."""

    def __init__(self, *, ttl: float = TTL, open: int = OPEN, kept: int = KEPT) -> None:
        self._ttl, self._limit, self._kept = ttl, open, kept
        self._open: OrderedDict[str, _OpenRequest] = OrderedDict()
        self._pairs: dict[frozenset[str], deque[_JoinedRequest]] = {}
        self._counts: defaultdict[str, OrderedDict[int, int]] = defaultdict(OrderedDict)
        self._lone: dict[str, deque[tuple[float, str]]] = {}
        """Release -> times and ids of requests that nobody else answered before they were forgotten."""

    def add_response(
        self, request: str, release: str, answers: Sequence[Answer], time: float
    ) -> None:
        """A version's answer to a request at a time (seconds). A repeat changes nothing."""
        entry = self._open.get(request)
        if entry is None:
            entry = self._open[request] = _OpenRequest(time)
        if release in entry.answers:
            return
        for other, theirs in entry.answers.items():
            pair = self._pairs.setdefault(frozenset((release, other)), deque(maxlen=self._kept))
            rows, agreed = compare_answers(tuple(answers), theirs)
            distances = find_distances(tuple(answers), theirs)
            pair.append(_JoinedRequest(time, rows, agreed, distances))
        entry.answers[release] = tuple(answers)
        self._count_pair(release, math.floor(time))
        self._forget_old(time)

    def measure_agreement(
        self, production: str, candidate: str, since: float, tolerance: float | None = None
    ) -> Agreement:
        """Of the requests joined since a time; with a tolerance, numbers are alike within it."""
        pair = self._pairs.get(frozenset((production, candidate)), ())
        joined = [request for request in pair if request.time >= since]
        return Agreement(
            len(joined),
            sum(request.rows for request in joined),
            sum(request.count_agreed(tolerance) for request in joined),
        )

    def list_alone(
        self, production: str, candidate: str, since: float, now: float
    ) -> tuple[str, ...]:
        """Ids of requests since a time that production answered and the candidate did not, though it
        had time to, the oldest first."""
        waiting = (
            (entry.time, request)
            for request, entry in self._open.items()
            if production in entry.answers and candidate not in entry.answers
        )
        lone = (*self._lone.get(production, ()), *waiting)
        return tuple(request for time, request in lone if since <= time <= now - GRACE)

    def count_responses(self, release: str, since: float) -> int:
        """Requests that a version answered since a time; the second in which it begins is left
        out."""
        return sum(
            count for second, count in self._counts.get(release, {}).items() if second >= since
        )

    def __len__(self) -> int:
        return len(self._open)

    def _count_pair(self, release: str, second: int) -> None:
        counts = self._counts[release]
        counts[second] = counts.get(second, 0) + 1
        while len(counts) > SECONDS:
            counts.popitem(last=False)
        while len(self._counts) > 8:
            del self._counts[min(self._counts, key=lambda name: max(self._counts[name]))]

    def _forget_old(self, now: float) -> None:
        while self._open:
            request, entry = next(iter(self._open.items()))
            if len(self._open) <= self._limit and entry.time >= now - self._ttl:
                break
            if len(entry.answers) == 1:
                (release,) = entry.answers
                lone = self._lone.setdefault(release, deque(maxlen=self._kept))
                lone.append((entry.time, request[:LONGEST_ID]))
            del self._open[request]
        while len(self._lone) > 8:
            del self._lone[min(self._lone, key=lambda name: self._lone[name][-1][0])]
        while len(self._pairs) > 8:
            del self._pairs[min(self._pairs, key=lambda pair: self._pairs[pair][-1].time)]
