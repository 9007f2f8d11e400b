"""Windows that are not judged: requests of a release that this detector has no reference of, or
whose rows it can't read.

The former are kept under their own release, for the detector that is fitted for it, and score
nothing here. Each window is counted, and stored beside that release's verdicts where people look. A
process that starts again counts the kept ones again, so half a window outlives it.
"""

import asyncio
import json
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.clients.events import Event, unpack_event
from driftloop.clients.jetstream import Publisher
from driftloop.contract.documents import parse_json, to_json
from driftloop.contract.events import PROTOCOL
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.contract.times import SECOND, format_time
from driftloop.contract.verdicts import UnjudgedRecord
from driftloop.errors import StoreError
from driftloop.services.detector.rows.payload import EventDecoder
from driftloop.services.detector.rows.values import RowFaults
from driftloop.services.detector.stream.windows import WindowRule
from driftloop.services.reading import EventReader

log = logging.getLogger("detector")

LOOK = 5.0
"""Seconds between two looks for windows whose time is over."""


@dataclass
class _Half:
    """The open window of another release."""

    rows: int
    since: int
    """Time of the first one, in nanoseconds since 1970."""
    key: str
    """Its last event."""


class UnjudgedWindows:
    """Counts the rows of other releases than the reference's, and stores each full window."""

    def __init__(
        self,
        publisher: Publisher,
        names: DetectorStreams,
        registry: CollectorRegistry,
        *,
        reference: str,
        rule: WindowRule,
        decoder: EventDecoder,
    ) -> None:
        self.reference = reference
        self._publisher = publisher
        self._names = names
        self._rule = rule
        self._decoder = decoder
        self._told = 0
        self._halves: dict[str, _Half] = {}
        self._counter = Counter(
            "driftloop_detector_windows_not_judged",
            "Windows of requests of another release than the reference's, or whose rows can't be read",
            registry=registry,
        )
        self._time = Gauge(
            "driftloop_detector_not_judged_time_seconds",
            "Time of the last such window, in seconds since 1970",
            ["reference", "requests"],
            registry=registry,
        )

    async def count_kept(self, js: JetStreamContext) -> None:
        """Count the events that are kept for other releases, when a process begins: what was stored
        by the one before is not stored again."""
        own = {self._names.event_subject(name) for name in (self.reference, self._names.release)}
        try:
            info = await js.stream_info(
                self._names.stream, subjects_filter=self._names.event_subject("*")
            )
            for subject in sorted((info.state.subjects or {}).keys() - own):
                await self._count_subject(js, subject)
        except (nats.errors.Error, nats.js.errors.APIError, StoreError, TimeoutError) as error:
            log.warning(
                "the events of other releases can't be counted: %s", error or type(error).__name__
            )

    async def _count_subject(self, js: JetStreamContext, subject: str) -> None:
        release = subject.rpartition(".")[2]
        try:
            last = (await js.get_last_msg(self._names.stream, subject)).seq or 0
        except nats.js.errors.NotFoundError:
            # given up since
            return
        reader = EventReader(js, self._names.stream, subject)
        async with aclosing(reader.read_stored(last)) as reads:
            async for read in reads:
                body = unpack_event(read.message.data)
                self._count_rows(release, body, read.where.time)
        told = await self._read_last(js, release)
        if told is not None:
            # a time of a record is to the second
            moment = datetime.fromisoformat(told.time).timestamp() + 1
            self._take_closed(release, round(moment * SECOND))

    async def recall_rejected(self, js: JetStreamContext, since: str | None) -> None:
        """Read how many rows of the reference's own release were told since its last verdict, when
        a process begins."""
        told = await self._read_last(js, self.reference)
        if told is None or (since is not None and told.time <= since):
            return
        self._told = told.size
        moment = datetime.fromisoformat(told.time).timestamp()
        self._time.labels(self.reference, self.reference).set(moment)

    async def _read_last(self, js: JetStreamContext, release: str) -> UnjudgedRecord | None:
        """The last record of a release that this reference has left."""
        subject = self._names.unjudged_subject(release)
        try:
            last = await js.get_last_msg(VERDICTS.name, subject)
        except nats.js.errors.NotFoundError:
            return None
        record = UnjudgedRecord.read(parse_json(last.data or b"", label=f"the last of {subject}"))
        return record if record.reference == self.reference else None

    async def add_event(self, release: str, event: Event) -> None:
        """Count an event's rows; a window that is full is stored."""
        for half in self._count_rows(release, event, time.time_ns()):
            await self._store_window(release, half.rows, half.key)

    async def store_due(self) -> None:
        """Store windows whose time is over, though no further event comes, for ever."""
        while True:
            await asyncio.sleep(LOOK)
            for release in tuple(self._halves):
                for half in self._take_closed(release, time.time_ns()):
                    await self._store_window(release, half.rows, half.key)

    def _count_rows(self, release: str, event: Event, moment: int) -> list[_Half]:
        """Count an event's rows; return the windows that close before it, and with it."""
        before = self._take_closed(release, moment)
        # the rows of another release may have other columns: they wait for its detector as well
        decoded = self._decoder.decode_rows(event.body, event.get(PROTOCOL))
        half = self._halves.setdefault(release, _Half(0, moment, event.key))
        half.rows += decoded.count
        half.since = min(half.since, moment)
        half.key = event.key
        return before + self._take_closed(release, moment)

    def _take_closed(self, release: str, moment: int) -> list[_Half]:
        half = self._halves.get(release)
        if half is None or self._rule.find_end(half.rows, half.since, moment) is None:
            return []
        return [self._halves.pop(release)]

    async def add_rejected(self, faults: RowFaults, sequence: int) -> None:
        """Take the rows of the reference's own release that can't be judged since the last verdict, up to
        an event of the stream: told at the first, whenever there are twice as many, and for every window
        of them."""
        rows = sum(faults.rejected.values())
        if rows < self._told:
            self._told = 0
        if not rows or rows < min(2 * self._told, self._told + self._rule.rows):
            return
        full = rows // self._rule.rows > self._told // self._rule.rows
        self._told = rows
        ((reason, _),) = faults.rejected.most_common(1)
        event_id = f"{self.reference}/{sequence}"
        await self._store_window(self.reference, rows, event_id, reason=reason, full=full)

    async def _store_window(
        self, release: str, size: int, event_id: str, *, reason: str = "", full: bool = True
    ) -> None:
        now = datetime.now(UTC)
        record = UnjudgedRecord(
            detector=self._names.detector,
            release=release,
            reference=self.reference,
            size=size,
            time=format_time(now),
            reason=reason,
        )
        if full:
            self._counter.inc()
        self._time.labels(self.reference, release).set(now.timestamp())
        log.warning("%s %s", f"{size} rows are" if reason else "a window is", record.text)
        payload = json.dumps(to_json(record), separators=(",", ":")).encode()
        try:
            await self._publisher.publish(
                self._names.unjudged_subject(release), payload, message_id=f"unjudged/{event_id}"
            )
        except StoreError as error:
            log.warning("the window that is not judged could not be stored: %s", error.message)
