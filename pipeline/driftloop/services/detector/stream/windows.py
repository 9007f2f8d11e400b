"""Cutting a stream of events into windows: by order in the stream and by the times at which the
events were stored, never by the time at which somebody looks, so that a restart, or another process,
cuts them the same way.

A window closes with the event that brings its rows to `rows`; before the first event that was stored
`at_most` after its first row, once it has `least` rows; with fewer it stays open, and closes with the
event that brings them. Nobody has to wait for that next event: whoever knows that all was read that
was stored before the window's end may close it (`close_due`), and cuts what that event would cut.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.times import SECOND
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.rows.repeats import RepeatedRows
from driftloop.services.detector.rows.values import RowFaults, Rows, drop_noise

WindowEnd = Literal["rows", "time"]


@dataclass(frozen=True)
class WindowRule:
    """Rule by which a window closes."""

    rows: int
    least: int
    """Rows of the smallest window."""
    at_most: int | None = None
    """Nanoseconds after its first row; None: only by rows."""

    @classmethod
    def from_settings(cls, settings: DetectorSettings) -> "WindowRule":
        """Return the rule of a detector."""
        time = settings.at_most
        return cls(
            settings.window, settings.least_rows, None if time is None else round(time * SECOND)
        )

    def find_end(self, rows: int, since: int, time: int) -> WindowEnd | None:
        """Return what closes a window of so many rows, the first stored `since`, at a time; None:
        nothing does."""
        if rows >= self.rows:
            return "rows"
        if self.at_most is None or rows < self.least or time - since < self.at_most:
            return None
        return "time"


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
    since: int
    """Time at which the event of its first row was stored, in nanoseconds since 1970; 0: events
    have no times."""
    until: int
    """Time at which its last event was stored."""
    end: WindowEnd
    """What closed it."""
    full: int
    """Rows at which it would have closed."""
    repeated: int
    """Rows that came before, and are not in it."""


@dataclass(frozen=True)
class TakenEvent:
    """Rows and answers that an event brought."""

    windows: list[EventWindow] = field(default_factory=list)
    """Those that closed before it, and with it."""
    repeated: int = 0
    """Rows of it that came before."""
    faults: RowFaults = field(default_factory=RowFaults)
    """What was wrong with it; nothing when all of its rows came before."""
    ends_window: bool = False
    """The last of the windows closed with it."""


@dataclass
class WindowCutter:
    """Collects events until a window closes. `number` is the last window cut, `last` its last
    event."""

    rule: WindowRule
    number: int = 0
    last: int = 0
    since: int = 0
    """Time at which the open window's first row was stored; 0: it has none."""
    repeated: int = 0
    """Rows since the last window that came before."""
    faults: RowFaults = field(default_factory=RowFaults)
    """Those since the last window."""
    _parts: list[Rows] = field(default_factory=list)
    _requests: list[str] = field(default_factory=list)
    _first: int = 0
    _first_row: int = 0
    _newest: int = 0
    _until: int = 0
    _events: int = 0

    def __post_init__(self) -> None:
        self._repeats = RepeatedRows(self.rule.rows)

    @property
    def waiting(self) -> int:
        """Rows of the window that is not closed yet."""
        return len(self._requests)

    @property
    def first_row(self) -> int:
        """Event of its first row; without one, the event that comes next."""
        return self._first_row or max(self.last, self._newest) + 1

    @property
    def due(self) -> int | None:
        """Time from which the open window closes without another row; None: it needs rows."""
        if self.rule.at_most is None or not self.since or self.waiting < self.rule.least:
            return None
        return self.since + self.rule.at_most

    def add_event(self, sequence: int, time: int, decoded: DecodedRows, request: str) -> TakenEvent:
        """Take the next event of the stream and the time at which it was stored. An event of the
        window before the open one is remembered only."""
        if sequence <= self.last:
            if not decoded.requests:
                self._repeats.recall_event(request, decoded.rows)
            return TakenEvent()
        before = self.close_due(time)
        self._first = self._first or sequence
        self._newest, self._until = sequence, time
        self._events += 1
        repeated, faults = self._collect_rows(time, decoded, request)
        if self.waiting:
            self._first_row = self._first_row or sequence
        end = self.rule.find_end(self.waiting, self.since, time)
        closed = None if end is None else self._close_window(end)
        windows = [window for window in (before, closed) if window is not None]
        return TakenEvent(windows, repeated, faults, closed is not None)

    def close_due(self, time: int) -> EventWindow | None:
        """Close the open window when it is due at a time before which everything was added."""
        if self.due is None or time < self.due:
            return None
        return self._close_window("time")

    def _collect_rows(self, time: int, decoded: DecodedRows, request: str) -> tuple[int, RowFaults]:
        """Take the rows of an event that did not come before; the number of the others, and the
        faults that count."""
        count = len(decoded.rows)
        if decoded.requests:
            new, names = [True] * count, list(decoded.requests)
        else:
            new = self._repeats.find_new(request, decoded.rows)
            names = [request] * sum(new)
        fresh = sum(new)
        self.repeated += count - fresh
        if count and not fresh:
            return count, RowFaults()
        self.faults.add_faults(decoded.faults)
        if fresh:
            # a clock that is set back must not keep the window open
            self.since = min(self.since or time, time)
            self._parts.append(decoded.rows if fresh == count else decoded.rows[new])
            self._requests += names
        return count - fresh, decoded.faults

    def _close_window(self, end: WindowEnd) -> EventWindow:
        window = EventWindow(
            number=self.number + 1,
            first=self._first,
            last=self._newest,
            rows=drop_noise(np.concatenate(self._parts)),
            requests=tuple(self._requests),
            events=self._events,
            faults=self.faults,
            since=self.since,
            until=self._until,
            end=end,
            full=self.rule.rows,
            repeated=self.repeated,
        )
        self.number, self.last = window.number, window.last
        self._parts, self._requests = [], []
        self._first = self._first_row = self._events = self.since = self.repeated = 0
        self.faults = RowFaults()
        self._repeats.close_window()
        return window
