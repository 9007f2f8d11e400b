"""Room for events that are kept for the detectors of other releases: what a candidate answers in a
canary, and what a new production is asked before its own detectors have followed.

They may fill half of the stream, so that the events to be judged here are never refused because
of them. Beyond that the oldest are given up, those of releases that are asked no more first. A release
that was asked nothing for a month is not waited for: with its events goes its window that never closed.
"""

import asyncio
import logging
import time

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry, Counter

from driftloop.contract.streams import DAY, HOUR, DetectorStreams

log = logging.getLogger("detector")

SHARE = 2
LOOKS = 64
"""Looks at the stream while the room fills up once."""
LONGEST = 30 * DAY
"""Seconds since the last event of a release after which its events are given up."""


class KeptEvents:
    """Counts the bytes of other releases' events, and gives up the oldest when they are too many."""

    def __init__(
        self,
        js: JetStreamContext,
        names: DetectorStreams,
        registry: CollectorRegistry,
        *,
        reference: str,
    ) -> None:
        self._js = js
        self._names = names
        own = {names.event_subject(release) for release in (reference, names.release)}
        self._own = own | {names.labels}
        self._room = names.max_bytes // SHARE
        self._since_look = 0
        self._given_up = Counter(
            "driftloop_detector_events_given_up",
            "Events that were kept for another release's detector, and given up for want of room, or after a month",
            registry=registry,
        )

    async def add_event(self, release: str, size: int) -> None:
        """Count an event that was stored; now and then, look whether there are too many."""
        self._since_look += size
        if self._since_look * LOOKS < self._room:
            return
        self._since_look = 0
        try:
            await self._make_room(self._names.event_subject(release))
        except (nats.errors.Error, nats.js.errors.APIError, TimeoutError) as error:
            log.warning(
                "the room of kept events can't be looked at: %s", error or type(error).__name__
            )

    async def watch_age(self) -> None:
        """Give up the events of releases that were asked nothing for a month, for ever."""
        while True:
            try:
                await self._give_up_old()
            except (nats.errors.Error, nats.js.errors.APIError, TimeoutError) as error:
                log.warning(
                    "the age of kept events can't be read: %s", error or type(error).__name__
                )
            await asyncio.sleep(HOUR)

    async def _give_up_old(self) -> None:
        stream = self._names.stream
        info = await self._js.stream_info(stream, subjects_filter=self._names.event_subject("*"))
        for subject, count in (info.state.subjects or {}).items():
            if subject in self._own:
                continue
            last = await self._js.get_last_msg(stream, subject)
            if last.time is None or last.time.timestamp() > time.time() - LONGEST:
                continue
            await self._js.purge_stream(stream, seq=(last.seq or 0) + 1, subject=subject)
            self._given_up.inc(count)
            log.warning(
                "%d events of %s are given up: it was asked nothing for %d days",
                count,
                subject.rpartition(".")[2],
                LONGEST // DAY,
            )

    async def _make_room(self, newest: str) -> None:
        stream = self._names.stream
        info = await self._js.stream_info(stream, subjects_filter=self._names.event_subject("*"))
        counts = {
            subject: count
            for subject, count in (info.state.subjects or {}).items()
            if subject not in self._own
        }
        allowed = self._room * info.state.messages // max(1, info.state.bytes)
        surplus = sum(counts.values()) - allowed
        for subject in sorted(counts, key=lambda subject: (subject == newest, subject)):
            count = min(counts[subject], surplus)
            if count <= 0:
                continue
            surplus -= count
            left = counts[subject] - count
            await self._js.purge_stream(stream, subject=subject, keep=left or None)
            self._given_up.inc(count)
            log.warning(
                "%d events of %s, the oldest, are given up: its detector has not come, and they fill "
                "half of the stream",
                count,
                subject.rpartition(".")[2],
            )
