"""Streams whose rows are joined of several events: what a reader of one offers, and the room of its events."""

import logging
from collections.abc import Callable
from typing import Protocol

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry

from driftloop.clients.nats import MessagePosition
from driftloop.contract.labels import LabelCounts
from driftloop.contract.streams import DetectorStreams
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.stream.room import FULL, KIB, EventRoom

log = logging.getLogger("detector")

GIVEN_UP = 0.25
"""Share of what is remembered that is given up at once, when the stream is full."""


class JoinedEvents(Protocol):
    """Reads the events of a detector's stream as joined rows."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects of its own events, which are purged."""
        ...

    @property
    def given_up(self) -> str:
        """What it means that the oldest requests are given up, and what helps."""
        ...

    @property
    def subject(self) -> str:
        """Subject of all that it reads."""
        ...

    @property
    def counts(self) -> LabelCounts | None:
        """Counts of labels, and of those that wait; None of events without labels."""
        ...

    def restart(self, judged: int, counts: LabelCounts) -> None:
        """Forget all; the stream is read from its beginning, and counted from the event after `judged` on."""
        ...

    def find_needed(self) -> int:
        """Return the first event that is still needed."""
        ...

    def close_window(self) -> None:
        """Take note that all rows so far are judged."""
        ...

    def give_up_oldest(self) -> int:
        """Give up the oldest requests for want of room; how many these are."""
        ...

    def count_all(self) -> None:
        """Begin to count, when there is nothing after the last verdict."""
        ...

    def read_event(self, message: Msg, where: MessagePosition) -> tuple[str, DecodedRows]:
        """Return the rows that an event joins, and their request where a repeat of it is told by that."""
        ...


class JoinedRoom(EventRoom):
    """Purges what is needed no more, and makes room by giving up what has waited longest."""

    def __init__(
        self,
        js: JetStreamContext,
        names: DetectorStreams,
        registry: CollectorRegistry,
        joined: JoinedEvents,
    ) -> None:
        super().__init__(js, names, registry)
        self._subjects = joined.subjects
        self._joined = joined

    async def add_scored(self, first: int, last: int, *, age: float = 0.0) -> None:
        """Keep what was scored: more may come of its requests."""

    async def look_at_stream(self, size: int, first_row: int, describe: Callable[[], str]) -> None:
        """Count the bytes of an event that was read (0: none came); now and then, purge what is needed no
        more."""
        if not self.is_due(size):
            return
        await self._purge_before(self._joined.find_needed())
        if await self.measure() < FULL:
            self._told = False
            return
        count = self._joined.give_up_oldest()
        await self._purge_before(self._joined.find_needed())
        if not self._told:
            self._told = True
            log.error(
                "the stream of events is almost full (%d KiB): the oldest %d requests are given up, %s (%s)",
                self._names.max_bytes // KIB,
                count,
                self._joined.given_up,
                describe(),
            )
