"""Requests and answers, joined by release and request id.

What is joined, what still waits and what is written alone follows from the events, their stored times and
one moment only: done again, it comes out the same. Each event is in one exchange, or waits.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, assert_never

from driftloop.contract.captures import MOST_OPEN, PATIENCE, TrafficRole
from driftloop.contract.times import SECOND

Side = Literal["request", "answer"]
EventSide = Literal["request", "answer", "label"]


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """A logged request or answer, or labels, as the recorder's stream has it."""

    sequence: int
    stored: int
    """Time at which it was stored, in nanoseconds since 1970."""
    time: int
    """Time at which it was logged, in nanoseconds since 1970."""
    side: EventSide
    request: str
    """Request id."""
    release: str
    role: TrafficRole
    body: bytes = b""
    protocol: str | None = None
    exact: bool = True
    """The logger said the time; otherwise it is the one at which it was stored."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer, or one of both alone."""

    request: KeptEvent | None = None
    answer: KeptEvent | None = None

    @property
    def events(self) -> tuple[KeptEvent, ...]:
        """Return those that are there."""
        return tuple(event for event in (self.request, self.answer) if event is not None)

    @property
    def first(self) -> KeptEvent:
        """The request, or the answer where it is alone."""
        return self.events[0]

    @property
    def sequence(self) -> int:
        """First of its events' sequences."""
        return min(event.sequence for event in self.events)

    @property
    def latency(self) -> float | None:
        """Milliseconds between both."""
        if self.request is None or self.answer is None:
            return None
        if not (self.request.exact and self.answer.exact):
            return None
        nanoseconds = self.answer.time - self.request.time
        return nanoseconds / 1e6 if nanoseconds >= 0 else None


@dataclass
class JoinedEvents:
    """Result of joining some events."""

    exchanges: list[Exchange] = field(default_factory=list)
    """In the order of their first events."""
    open: tuple[KeptEvent, ...] = ()
    """Those that still wait for the other half."""


def join_events(
    events: Iterable[KeptEvent],
    moment: int,
    *,
    patience: float = PATIENCE,
    most_open: int = MOST_OPEN,
) -> JoinedEvents:
    """Join events, which come in the order of their sequences. Those without the other half wait until
    `patience` seconds after they were stored; of more than `most_open`, the oldest wait no longer."""
    joined = JoinedEvents()
    waiting: dict[tuple[str, str], dict[Side, deque[KeptEvent]]] = defaultdict(
        lambda: {"request": deque(), "answer": deque()}
    )
    for event in events:
        sides = waiting[event.release, event.request]
        match event.side:
            case "request" if sides["answer"]:
                joined.exchanges.append(Exchange(event, sides["answer"].popleft()))
            case "answer" if sides["request"]:
                joined.exchanges.append(Exchange(sides["request"].popleft(), event))
            case "request" | "answer":
                sides[event.side].append(event)
            case "label":
                # labels wait in files of their own
                continue
            case _:
                assert_never(event.side)
    single = sorted(
        (event for sides in waiting.values() for queue in sides.values() for event in queue),
        key=lambda event: event.sequence,
    )
    since = moment - round(patience * SECOND)
    recent = [event for event in single if event.stored > since]
    joined.open = tuple(recent[-most_open:]) if most_open else ()
    kept = {event.sequence for event in joined.open}
    for event in single:
        if event.sequence not in kept:
            alone = Exchange(event) if event.side == "request" else Exchange(answer=event)
            joined.exchanges.append(alone)
    joined.exchanges.sort(key=lambda exchange: exchange.sequence)
    return joined
