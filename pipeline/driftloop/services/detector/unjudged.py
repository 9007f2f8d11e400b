"""Windows that are not judged: requests of a release that this detector has no reference of, or
whose rows it can't read.

The former are kept under their own release, for the detector that is fitted for it, and score
nothing here. Each window is counted, and stored beside that release's verdicts where people look.
"""

import json
import logging
from collections import defaultdict
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.clients.events import Event
from driftloop.clients.jetstream import Publisher
from driftloop.contract.documents import to_json
from driftloop.contract.events import PROTOCOL
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.times import format_time
from driftloop.contract.verdicts import UnjudgedRecord
from driftloop.errors import StoreError
from driftloop.services.detector.payload import EventDecoder
from driftloop.services.detector.values import RowFaults

log = logging.getLogger("detector")


class UnjudgedWindows:
    """Counts the rows of other releases than the reference's, and stores each full window."""

    def __init__(
        self,
        publisher: Publisher,
        names: DetectorStreams,
        registry: CollectorRegistry,
        *,
        reference: str,
        window: int,
        decoder: EventDecoder,
    ) -> None:
        self.reference = reference
        self._publisher = publisher
        self._names = names
        self._window = window
        self._decoder = decoder
        self._told = 0
        self._rows: defaultdict[str, int] = defaultdict(int)
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

    async def add_event(self, release: str, event: Event) -> None:
        """Count an event's rows; a window that is full is stored."""
        # the rows of another release may have other columns: they wait for its detector as well
        self._rows[release] += self._decoder.count_rows(event.body, event.get(PROTOCOL))
        size = self._rows[release]
        if size < self._window:
            return
        self._rows[release] = 0
        await self._store_window(release, size, event.key)

    async def add_rejected(self, faults: RowFaults, sequence: int) -> None:
        """Take the rows of the reference's own release that can't be judged since the last verdict, up to
        an event of the stream: told at the first, whenever there are twice as many, and for every window
        of them."""
        rows = sum(faults.rejected.values())
        if rows < self._told:
            self._told = 0
        if not rows or rows < min(2 * self._told, self._told + self._window):
            return
        full = rows // self._window > self._told // self._window
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
