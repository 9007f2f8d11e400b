"""Room of a release's own events in the detector's stream: which of them are still needed, and what
happens when they fill it.

Needed are those of the open window, those of the window before (a reader that starts again learns
from them what is a repeat), and those that were scored a moment ago: JetStream knows repeats by the
messages it still has. When the stream is three quarters full, only the open window is needed, and of
it not what comes before its first row: events whose rows can't be read have been counted.

Nothing else is given up: a full stream refuses, the broker tries again for hours, and both say so.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry, Gauge

from driftloop.clients.nats import DUPLICATE_WINDOW
from driftloop.contract.streams import DetectorStreams

log = logging.getLogger("detector")

LOOKS = 64
"""Looks at the stream while its room fills up once."""
KIB = 1024
PAUSE = 30.0
"""Seconds between two looks while nothing comes."""
SHORT = 0.75
FULL = 0.9
"""Shares of the room."""


class EventRoom:
    """Purges what is needed no more, and tells when the stream is full."""

    def __init__(
        self, js: JetStreamContext, names: DetectorStreams, registry: CollectorRegistry
    ) -> None:
        self._js = js
        self._names = names
        self._subjects: tuple[str, ...] = (names.event_subject(names.release),)
        self._scored: deque[tuple[float, int]] = deque()
        self._first, self._last = 1, 0
        self._purged = 0
        self._since_look, self._looked = 0, 0.0
        self._told = False
        self._bytes = Gauge(
            "driftloop_detector_stream_bytes", "Bytes of the stream of events", registry=registry
        )
        self._most = Gauge(
            "driftloop_detector_stream_room_bytes",
            "Bytes that the stream of events has room for",
            registry=registry,
        )

    async def add_scored(self, first: int, last: int, *, age: float = 0.0) -> None:
        """Take the first and last event of the last window, scored so many seconds ago; purge what
        is needed no more."""
        self._first, self._last = first, last
        self._scored.append((time.monotonic() - age, last))
        await self._purge_old()

    async def look_at_stream(self, size: int, first_row: int, describe: Callable[[], str]) -> None:
        """Count the bytes of an event that was read (0: none came); now and then, look whether the
        stream is full. The open window's first row is in event `first_row`."""
        if not self.is_due(size):
            return
        await self._purge_old()
        if await self.measure() < SHORT:
            self._told = False
            return
        await self._purge_before(self._last + 1)
        if await self.measure() >= SHORT and first_row > self._last + 1:
            await self._purge_before(first_row)
        if await self.measure() >= FULL and not self._told:
            self._told = True
            log.error(
                "the stream of events is almost full (%d KiB); a full one refuses until the window "
                "closes (%s): raise `events.detector`, or lower `window`",
                self._names.max_bytes // KIB,
                describe(),
            )

    def is_due(self, size: int) -> bool:
        """Count the bytes of an event that was read; True when it is time for a look."""
        self._since_look += size
        now = time.monotonic()
        if self._since_look * LOOKS < self._names.max_bytes and (
            size or now < self._looked + PAUSE
        ):
            return False
        self._since_look, self._looked = 0, now
        return True

    async def measure(self) -> float:
        """Return how much of the stream's room is taken, between 0 and 1."""
        info = await self._js.stream_info(self._names.stream)
        most = info.config.max_bytes or self._names.max_bytes
        self._bytes.set(info.state.bytes)
        self._most.set(most)
        return info.state.bytes / most

    async def _purge_old(self) -> None:
        """Purge the windows before the last one, when they were scored longer ago than a repeat
        can arrive."""
        now, old = time.monotonic(), 0
        while self._scored and self._scored[0][0] < now - 2 * DUPLICATE_WINDOW:
            old = self._scored.popleft()[1]
        if old:
            await self._purge_before(min(old + 1, self._first))

    async def _purge_before(self, sequence: int) -> None:
        if sequence <= self._purged:
            return
        for subject in self._subjects:
            await self._js.purge_stream(self._names.stream, seq=sequence, subject=subject)
        self._purged = sequence
