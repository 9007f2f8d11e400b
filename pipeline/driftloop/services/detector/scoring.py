"""The main loop: read events after the last verdict, cut windows, score them, store verdicts.

The stored verdicts are the only cursor. A verdict is published on condition that the verdict
before it is still the last one, so of two processes that score the same window (a rolling
update, a process taken for dead) one is refused and starts over from what the other has stored.
"""

import asyncio
import json
import logging
import secrets
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from prometheus_client import CollectorRegistry, Gauge

from driftloop.clients import events
from driftloop.clients.jetstream import Puller
from driftloop.clients.nats import (
    DUPLICATE_WINDOW,
    MessagePosition,
    WrongLastSequenceError,
    publish_message,
    read_position,
)
from driftloop.contract.documents import parse_json, to_json
from driftloop.contract.events import PROTOCOL, REQUEST_ID, inference_type, verdict_id
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.contract.times import format_now
from driftloop.contract.verdicts import WindowRecord, describe_changes, read_changes
from driftloop.errors import StoreError
from driftloop.services.detector.detectors import WindowDetector, WindowVerdict
from driftloop.services.detector.payload import DecodedRows, EventDecoder
from driftloop.services.detector.telemetry import VerdictMetrics
from driftloop.services.detector.unjudged import UnjudgedWindows
from driftloop.services.detector.values import RowFaults
from driftloop.services.detector.windows import EventWindow, WindowCutter

log = logging.getLogger("detector")

BATCH = 500
QUIET = 12
"""Empty answers in a row after which the consumer is made anew, in case the server has lost it."""
MOST_REQUESTS = 100
MOST_LOGGED = 5
"""Columns of an alarm in the log."""
OTHER_EVENT = "the event is not one that the detector reads"


@dataclass(frozen=True)
class VerdictCursor:
    """The last verdict that is stored."""

    window: int = 0
    last: int = 0
    """The last event it covers."""
    revision: int = 0
    """Its own sequence in the verdict stream; 0: there is none."""


class WindowScorer:
    """Scores one release's events until it is cancelled."""

    def __init__(
        self,
        js: JetStreamContext,
        names: DetectorStreams,
        config: DetectorSettings,
        detector: WindowDetector,
        *,
        decoder: EventDecoder,
        registry: CollectorRegistry,
        unjudged: UnjudgedWindows,
    ) -> None:
        self._js = js
        self._names = names
        self._config = config
        self._detector = detector
        self._decoder = decoder
        self._unjudged = unjudged
        self._type = inference_type(config.on)
        self._judged: deque[tuple[float, int]] = deque()
        self._metrics = VerdictMetrics(registry)
        self._waiting = Gauge(
            "driftloop_detector_waiting_rows",
            "Rows of the window that is not full yet",
            registry=registry,
        )
        self._behind = Gauge(
            "driftloop_detector_behind_events",
            "Events of this release that wait to be read",
            registry=registry,
        )
        self._took = Gauge(
            "driftloop_detector_scoring_seconds",
            "How long the last judgement took",
            registry=registry,
        )

    async def run(self) -> None:
        """Score for ever; after a failure of NATS, start over from the last stored verdict."""
        while True:
            try:
                await self._follow_events(await self.read_cursor())
            except WrongLastSequenceError:
                log.warning("another process stored the next verdict; going on after it")
            except (nats.errors.Error, StoreError, TimeoutError) as error:
                log.warning("%s; again in 0.5 s", error or type(error).__name__)
                await asyncio.sleep(0.5)

    async def read_cursor(self) -> VerdictCursor:
        """The last stored verdict."""
        try:
            last = await self._js.get_last_msg(VERDICTS.name, self._names.verdicts)
        except nats.js.errors.NotFoundError:
            return VerdictCursor()
        verdict = WindowRecord.read(
            parse_json(last.data or b"", label=f"the last verdict of {self._names.verdicts}")
        )
        self._metrics.show_verdict(verdict)
        return VerdictCursor(verdict.window, verdict.last, last.seq or 0)

    async def _follow_events(self, cursor: VerdictCursor) -> None:
        cutter = WindowCutter(self._config.window, cursor.window, cursor.last)
        revision = cursor.revision
        self._metrics.show_faults(cutter.faults)
        async for message, where in self._read_messages(cursor.last):
            sequence = where.stream
            self._behind.set(where.pending)
            event, decoded = self._read_event(message)
            self._metrics.count_rejected(decoded.rejected)
            window = cutter.add_event(sequence, decoded, event)
            self._waiting.set(cutter.waiting)
            if window is not None or decoded.faults.list_counts():
                self._metrics.show_faults(cutter.faults)
            if decoded.rejected:
                faults = cutter.faults if window is None else window.faults
                await self._unjudged.add_rejected(faults, sequence)
            if window is not None:
                revision = await self._score_window(window, revision)

    async def _read_messages(self, after: int) -> AsyncIterator[tuple[Msg, MessagePosition]]:
        """The release's events after a sequence with their places, in order and without a gap, for
        ever.

        The consumer keeps nothing for us: it is made anew at the right place when the server
        lost it or a delivery is missing.
        """
        while True:
            consumer = await self._js.add_consumer(
                self._names.stream,
                ConsumerConfig(
                    name=f"judge_{secrets.token_hex(8)}",
                    filter_subject=self._names.event_subject(self._names.release),
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=after + 1,
                    ack_policy=AckPolicy.NONE,
                    inactive_threshold=60,
                    mem_storage=True,
                ),
            )
            puller = await Puller(
                self._js._nc, self._names.stream, consumer.name, batch=BATCH
            ).start()
            expected, quiet = 1, 0
            try:
                while quiet < QUIET:
                    messages = await puller.next_batch()
                    quiet = 0 if messages else quiet + 1
                    for message in messages:
                        where = read_position(message)
                        if where.consumer != expected:
                            quiet = QUIET
                            break
                        expected += 1
                        after = where.stream
                        yield message, where
            except StoreError as error:
                log.warning("%s", error.message)
                await asyncio.sleep(0.2)
            finally:
                await puller.stop()
            log.info("reading the stream again from event %d", after + 1)

    def _read_event(self, message: Msg) -> tuple[str, DecodedRows]:
        """The request id and the rows of an event; of another type (a Trigger that lets too much
        through): no rows."""
        event = events.unpack_event(message.data)
        if event.type != self._type:
            return "", DecodedRows(self._decoder.no_rows(), RowFaults(Tally({OTHER_EVENT: 1})))
        decoded = self._decoder.decode_rows(event.body, event.get(PROTOCOL))
        return event.get(REQUEST_ID) or event.id, decoded

    async def _score_window(self, window: EventWindow, revision: int) -> int:
        """Score a window and store its verdict; return its sequence in the verdict stream."""
        started = time.monotonic()
        judgement = await asyncio.to_thread(self._detector.score_window, window.rows)
        self._took.set(time.monotonic() - started)
        verdict = build_verdict(self._names, window, judgement)
        stored = await publish_message(
            self._js,
            self._names.verdicts,
            json.dumps(to_json(verdict), separators=(",", ":")).encode(),
            message_id=verdict_id(
                self._names.namespace,
                self._names.pipeline,
                self._names.detector,
                self._names.release,
                window.number,
            ),
            expected_last=revision,
        )
        self._metrics.count_window(len(window.rows), alarm=judgement.alarm)
        self._metrics.show_verdict(verdict)
        if judgement.alarm:
            changes = describe_changes(read_changes(verdict.details), MOST_LOGGED)
            log.warning(
                "window %d: alarm, score %.4g, threshold %.4g%s",
                window.number,
                judgement.score,
                judgement.threshold,
                f": {changes}" if changes else "",
            )
        await self._purge_scored(window.last)
        return stored.seq

    async def _purge_scored(self, last: int) -> None:
        """Purge what was judged longer ago than a repeat can arrive: JetStream knows repeats by
        the messages it still has."""
        now = time.monotonic()
        self._judged.append((now, last))
        old = 0
        while self._judged and self._judged[0][0] < now - 2 * DUPLICATE_WINDOW:
            old = self._judged.popleft()[1]
        if old:
            await self._js.purge_stream(
                self._names.stream,
                seq=old + 1,
                subject=self._names.event_subject(self._names.release),
            )


def build_verdict(
    names: DetectorStreams, window: EventWindow, judgement: WindowVerdict
) -> WindowRecord:
    """Return what is stored of a window."""
    outliers = list(dict.fromkeys(window.requests[i] for i in judgement.outliers))
    return WindowRecord(
        detector=names.detector,
        release=names.release,
        window=window.number,
        size=len(window.rows),
        first=window.first,
        last=window.last,
        alarm=judgement.alarm,
        score=judgement.score,
        threshold=judgement.threshold,
        time=format_now(),
        details={
            **judgement.details,
            "events": window.events,
            "rejected": sum(window.faults.rejected.values()),
            **window.faults.list_counts(),
        },
        requests=tuple(outliers[:MOST_REQUESTS]),
    )
