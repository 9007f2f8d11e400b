"""Cutting a stream of events into windows: by order in the stream, never by time, so that a
restart cuts them the same way."""

from dataclasses import dataclass, field

import numpy as np

from driftloop.services.detector.payload import DecodedRows
from driftloop.services.detector.values import RowFaults, Rows


@dataclass(frozen=True)
class EventWindow:
    """Consecutive events of one release with at least as many rows as a window needs."""

    number: int
    first: int
    """Sequence of its first event in the detector's stream."""
    last: int
    rows: Rows
    requests: tuple[str, ...]
    """The request id of each row."""
    events: int
    faults: RowFaults
    """Counts of what was wrong with its rows, and of the rows that are not in it."""


@dataclass
class WindowCutter:
    """Collects events until a window is full. `number` is the last window cut, `last` its last
    event."""

    size: int
    number: int = 0
    last: int = 0
    _parts: list[Rows] = field(default_factory=list)
    _requests: list[str] = field(default_factory=list)
    _first: int = 0
    _events: int = 0
    faults: RowFaults = field(default_factory=RowFaults)
    """Those since the last window."""

    @property
    def waiting(self) -> int:
        """Rows of the window that is not full yet."""
        return len(self._requests)

    def add_event(self, sequence: int, decoded: DecodedRows, request: str) -> EventWindow | None:
        """Take the next event of the stream; the window that it fills, or None."""
        if sequence <= self.last:
            return None
        self._first = self._first or sequence
        self._events += 1
        self.faults.add_faults(decoded.faults)
        if len(decoded.rows):
            self._parts.append(decoded.rows)
            self._requests += [request] * len(decoded.rows)
        if len(self._requests) < self.size:
            return None
        window = EventWindow(
            number=self.number + 1,
            first=self._first,
            last=sequence,
            rows=np.concatenate(self._parts),
            requests=tuple(self._requests),
            events=self._events,
            faults=self.faults,
        )
        self.restart_window(window.number, sequence)
        return window

    def restart_window(self, number: int, last: int) -> None:
        """Forget what is collected; the next window is `number + 1` and begins after event
        `last`."""
        self.number, self.last = number, last
        self._parts, self._requests = [], []
        self._first = self._events = 0
        self.faults = RowFaults()
