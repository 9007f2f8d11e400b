"""The main loop: read events after the last verdict, cut windows, score them, store verdicts.

The stored verdicts are the only cursor. A verdict is published on condition that the verdict
before it is still the last one, so of two processes that score the same window (a rolling
update, a process taken for dead) one is refused and starts over from what the other has stored.
"""

import asyncio
import json
import logging
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry, Gauge

from driftloop.clients import events
from driftloop.clients.nats import (
    MessagePosition,
    WrongLastSequenceError,
    publish_message,
)
from driftloop.contract.documents import parse_json, to_json
from driftloop.contract.events import PROTOCOL, REQUEST_ID, inference_type, verdict_id
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.labels import LABELS, LabelCounts, read_counts
from driftloop.contract.privacy import hide_values
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.contract.times import SECOND, format_now
from driftloop.contract.verdicts import (
    NOT_JUDGED,
    WindowRecord,
    describe_changes,
    read_changes,
)
from driftloop.errors import StoreError
from driftloop.services.detector.rows.payload import DecodedRows, EventDecoder
from driftloop.services.detector.rows.values import RowFaults
from driftloop.services.detector.stream.joined import JoinedEvents, JoinedRoom
from driftloop.services.detector.stream.judging import WindowJudge, WindowJudgement
from driftloop.services.detector.stream.labelled import OTHER_EVENT
from driftloop.services.detector.stream.pace import PACE, TrafficPace
from driftloop.services.detector.stream.room import EventRoom
from driftloop.services.detector.stream.telemetry import (
    OpenWindowMetrics,
    VerdictMetrics,
    format_moment,
)
from driftloop.services.detector.stream.unjudged import UnjudgedWindows
from driftloop.services.detector.stream.windows import EventWindow, WindowCutter, WindowRule
from driftloop.services.reading import GRACE, LONGEST_WAIT, CaughtUp, EventReader, StoredMessage

log = logging.getLogger("detector")

MOST_REQUESTS = 100
MOST_LOGGED = 5
"""Columns of an alarm in the log."""


@dataclass(frozen=True)
class VerdictCursor:
    """The last verdict that is stored."""

    window: int = 0
    first: int = 1
    """The first event it covers."""
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
        judge: WindowJudge,
        *,
        decoder: EventDecoder,
        registry: CollectorRegistry,
        unjudged: UnjudgedWindows,
        joined: JoinedEvents | None = None,
    ) -> None:
        """`joined` reads the events of a detector whose rows are of several."""
        self._js = js
        self._names = names
        self._config = config
        self._judge = judge
        self._decoder = decoder
        self._unjudged = unjudged
        self._type = inference_type(config.on)
        self._rule = WindowRule.from_settings(config)
        self._joined = joined
        own = names.event_subject(names.release) if joined is None else joined.subject
        self._reader = EventReader(js, names.stream, own)
        self._room = (
            EventRoom(js, names, registry)
            if joined is None
            else JoinedRoom(js, names, registry, joined)
        )
        self._private = config.private or ()
        self._metrics = VerdictMetrics(registry)
        self.open = OpenWindowMetrics(registry, config, names.release, judge.find_pending)
        self._pace = TrafficPace()
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
            await self._unjudged.recall_rejected(self._js, None)
            self._keep_pace(TrafficPace())
            self._restart_labels(0, LabelCounts())
            return VerdictCursor()
        verdict = WindowRecord.read(
            parse_json(last.data or b"", label=f"the last verdict of {self._names.verdicts}")
        )
        self._metrics.show_verdict(verdict)
        self._keep_pace(TrafficPace.read(verdict.details))
        await self._room.add_scored(verdict.first, verdict.last, age=_measure_age(verdict))
        await self._unjudged.recall_rejected(self._js, verdict.time)
        await self._recall_windows(last.seq or 0)
        self._restart_labels(verdict.last, read_counts(verdict.details) or LabelCounts())
        return VerdictCursor(verdict.window, verdict.first, verdict.last, last.seq or 0)

    def _restart_labels(self, judged: int, counts: LabelCounts) -> None:
        if self._joined is not None:
            self._joined.restart(judged, counts)

    def _keep_pace(self, pace: TrafficPace) -> None:
        self._pace = pace
        self.open.show_pace(pace.rate)

    async def _recall_windows(self, sequence: int) -> None:
        """Let the judge know the last stored verdicts, up to the one of a sequence; StoreError when that can't be read."""
        last: deque[WindowRecord] = deque(maxlen=self._judge.remembers)
        if not self._judge.remembers:
            return
        label = f"a verdict of {self._names.verdicts}"
        reader = EventReader(self._js, VERDICTS.name, self._names.verdicts)
        async with aclosing(reader.read_stored(sequence)) as reads:
            async for read in reads:
                last.append(WindowRecord.read(parse_json(read.message.data, label=label)))
        known = self._judge.recall_windows(last)
        log.info("%d of the last %d windows are judged together with the next", known, len(last))

    async def _follow_events(self, cursor: VerdictCursor) -> None:
        cutter = WindowCutter(self._rule, cursor.window, cursor.last)
        revision = cursor.revision
        self._metrics.show_faults(cutter.faults)
        self.open.follow_cutter(cutter)
        # the window before the open one is read again, for what of it is repeated
        after = cursor.first - 1 if self._joined is None else 0
        reads = self._reader.read_events(after, lambda: _measure_wait(cutter.due))
        async for read in reads:
            caught_up = isinstance(read, CaughtUp)
            moment = read.moment if isinstance(read, CaughtUp) else read.where.time
            # before the event is read: what it brings is not of the window that ends before it
            if (due := cutter.close_due(moment)) is not None:
                revision = await self._score_window(due, revision)
            size = 0
            if not isinstance(read, CaughtUp):
                size = len(read.message.data)
                for window in await self._take_event(cutter, read):
                    revision = await self._score_window(window, revision)
            self._show_labels(caught_up=caught_up)
            await self._room.look_at_stream(size, cutter.first_row, self.open.describe_window)

    def _show_labels(self, *, caught_up: bool) -> None:
        if self._joined is None:
            return
        if caught_up:
            self._joined.count_all()
        if self._joined.counts is not None:
            self.open.show_labels(self._joined.counts)

    async def _take_event(self, cutter: WindowCutter, read: StoredMessage) -> list[EventWindow]:
        where = read.where
        self._behind.set(where.pending)
        request, decoded = self._read_event(read.message, where)
        taken = cutter.add_event(where.stream, where.time, decoded, request)
        rejected = sum(taken.faults.rejected.values())
        self._metrics.count_left_out(rejected, taken.repeated)
        if taken.windows or taken.faults.found:
            self._metrics.show_faults(cutter.faults)
        if rejected:
            faults = taken.windows[-1].faults if taken.ends_window else cutter.faults
            await self._unjudged.add_rejected(faults, where.stream)
        return taken.windows

    def _read_event(self, message: Msg, where: MessagePosition) -> tuple[str, DecodedRows]:
        """The request id and the rows of an event; of another type (a Trigger that lets too much
        through): no rows."""
        if self._joined is not None:
            return self._joined.read_event(message, where)
        event = events.unpack_event(message.data)
        if event.type != self._type:
            return "", DecodedRows(self._decoder.no_rows(), RowFaults(Tally({OTHER_EVENT: 1})))
        decoded = self._decoder.decode_rows(event.body, event.get(PROTOCOL))
        return event.get(REQUEST_ID) or event.id, decoded

    async def _score_window(self, window: EventWindow, revision: int) -> int:
        """Score a window and store its verdict; return its sequence in the verdict stream."""
        started = time.monotonic()
        judged = await asyncio.to_thread(self._judge.judge_window, window)
        self._took.set(time.monotonic() - started)
        pace = self._pace.add_window(len(window.rows), window.since, window.until)
        judgement = judged.verdict
        kept: dict[str, object] = {PACE: pace.to_json()}
        if self._joined is not None:
            if self._joined.counts is not None:
                kept[LABELS] = to_json(self._joined.counts)
            self._joined.close_window()
        verdict = build_verdict(self._names, window, judged, kept, self._private)
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
        self._metrics.count_window(
            len(window.rows), alarm=judgement.alarm, failed=bool(judgement.failure)
        )
        self._metrics.show_verdict(verdict)
        self._keep_pace(pace)
        if judgement.failure:
            log.error("window %d is not judged: %s", window.number, judgement.failure)
        if judgement.alarm:
            changes = describe_changes(read_changes(verdict.details), MOST_LOGGED)
            log.warning(
                "window %d: alarm, score %.4g, threshold %.4g%s",
                window.number,
                judgement.score,
                judgement.threshold,
                f": {changes}" if changes else "",
            )
        await self._room.add_scored(window.first, window.last)
        return stored.seq


def _measure_age(verdict: WindowRecord) -> float:
    """Return how many seconds ago a verdict was stored; 0 when it does not say."""
    if verdict.time is None:
        return 0.0
    return time.time() - datetime.fromisoformat(verdict.time).timestamp()


def _measure_wait(due: int | None) -> float:
    """Return how long to wait for events before the window may be due, in seconds."""
    return LONGEST_WAIT if due is None else (due + GRACE) / SECOND - time.time()


def build_verdict(
    names: DetectorStreams,
    window: EventWindow,
    judged: WindowJudgement,
    kept: Mapping[str, object] | None = None,
    private: Collection[str] = (),
) -> WindowRecord:
    """Return what is stored of a window, with details that the next one goes on with, and without the values of
    `private` columns."""
    judgement = judged.verdict
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
        details=hide_values(
            {
                **judgement.details,
                **({NOT_JUDGED: judgement.failure} if judgement.failure else {}),
                "events": window.events,
                **_describe_times(window),
                "closedBy": window.end,
                "full": window.full,
                "rejected": sum(window.faults.rejected.values()),
                "repeated": window.repeated,
                **window.faults.list_counts(),
                **(kept or {}),
            },
            private,
        ),
        requests=tuple(outliers[:MOST_REQUESTS]),
        lasting=judgement.lasting,
        counts=judged.counts,
    )


def _describe_times(window: EventWindow) -> dict[str, str]:
    """Return the time span of a window; nothing when its events have no times."""
    if not window.since:
        return {}
    return {"from": format_moment(window.since), "to": format_moment(window.until)}
