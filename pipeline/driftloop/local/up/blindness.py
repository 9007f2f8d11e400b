"""Blind spots of the loop: predictions that are answered and not logged, a broker or subscriber
that takes nothing, dead letters, a detector that is behind, traffic that is not written. Said with since when
and why."""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from driftloop.contract.documents import DocumentError
from driftloop.contract.recorders import RecorderState
from driftloop.contract.streams import DEAD_LETTERS, RECORDERS, DetectorStreams, RecorderStreams
from driftloop.contract.times import format_time
from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.istio.xds import EnvoyFront
from driftloop.local.knative.troubles import TROUBLES_FILE
from driftloop.local.up.history import RunHistory

log = logging.getLogger("up")

PERIOD = 2.0
"""Seconds between two looks."""
PATIENCE = 10.0
"""Seconds that something is wrong before it is said: a restart takes no longer."""
BEHIND_PATIENCE = 30.0
"""Seconds that a detector may be behind."""
RECENT = 30.0
"""Seconds without a new loss after which losses are over."""

_LOSSES = r"^cluster\..*/(broker|unlogged)\."
_LOSS = re.compile(
    r"cluster\.(?P<predictor>.+)/(broker\.(upstream_rq_retry_limit_exceeded|upstream_rq_timeout|"
    r"upstream_rq_pending_overflow|upstream_rq_4xx)|unlogged\.upstream_cx_none_healthy): (?P<count>\d+)"
)
_PREFIX = DEAD_LETTERS.subjects[0].removesuffix(">")


@dataclass(frozen=True)
class BlindSpot:
    """Something that is not seen."""

    since: datetime
    text: str
    patience: float
    told: bool = False


class BlindnessWatch:
    """Looks again and again; `list_spots` has what is wrong now."""

    def __init__(
        self,
        run: Path,
        *,
        js: JetStreamContext,
        front: EnvoyFront,
        history: RunHistory,
        timeline: EventTimeline,
    ) -> None:
        self._troubles = run / TROUBLES_FILE
        self._js = js
        self._front = front
        self._history = history
        self._timeline = timeline
        self._spots: dict[str, BlindSpot] = {}
        self._lost: dict[str, int] = {}
        self._losing: dict[str, tuple[datetime, datetime, int]] = {}
        """Predictor -> first and last loss of a row, and how many there were in it."""

    def list_spots(self) -> list[str]:
        """Return one line for each spot that was told."""
        return [
            f"since {format_time(spot.since)}: {spot.text}"
            for spot in self._spots.values()
            if spot.told
        ]

    async def watch_forever(self) -> None:
        """Look until cancelled, whatever becomes of NATS and Envoy meanwhile."""
        while True:
            now = datetime.now(UTC)
            found = self._read_troubles(now)
            found |= await self._read_losses(now)
            try:
                found |= await self._read_letters(now)
                found |= await self._read_detectors(now)
                found |= await self._read_recorders()
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
                # NATS is away, which its process tells: what it said last is kept
                found |= {
                    key: spot
                    for key, spot in self._spots.items()
                    if key.startswith(("letters ", "detector ", "recorder "))
                }
            self._tell_changes(found, now)
            await asyncio.sleep(PERIOD)

    def _tell_changes(self, found: Mapping[str, BlindSpot], now: datetime) -> None:
        for key, spot in self._spots.items():
            if key not in found and spot.told:
                self._timeline.add_entry("blind", f"over: {spot.text}")
        spots: dict[str, BlindSpot] = {}
        for key, spot in found.items():
            before = self._spots.get(key)
            since = before.since if before is not None else spot.since
            told = before is not None and before.told
            if not told and (now - since).total_seconds() >= spot.patience:
                told = True
                self._timeline.add_entry("blind", spot.text, f"since {format_time(since)}")
            spots[key] = replace(spot, since=since, told=told)
        self._spots = spots

    def _read_troubles(self, now: datetime) -> dict[str, BlindSpot]:
        try:
            document: Any = json.loads(files.read_text(self._troubles))
            return {
                f"broker {name}": BlindSpot(
                    datetime.fromisoformat(trouble["since"]), f"{name}: {trouble['why']}", PATIENCE
                )
                for name, trouble in document.items()
            }
        except FileNotFoundError:
            return {}
        except (LocalError, ValueError, KeyError, TypeError, AttributeError) as error:
            text = f"{self._troubles.name} of the broker can't be read: {error}"
            return {"broker file": BlindSpot(now, text, PATIENCE)}

    async def _read_losses(self, now: datetime) -> dict[str, BlindSpot]:
        """Predictions whose request or answer was not logged, by the counters of their loggers."""
        totals: dict[str, int] = {}
        for line in (await self._front.read_statistics(_LOSSES)).splitlines():
            if (match := _LOSS.fullmatch(line.strip())) is not None:
                totals[match["predictor"]] = totals.get(match["predictor"], 0) + int(match["count"])
        for predictor, total in totals.items():
            # counters begin anew with Envoy
            before = self._lost.get(predictor, 0)
            more = total - before if total >= before else total
            self._lost[predictor] = total
            if more:
                first, _, count = self._losing.get(predictor, (now, now, 0))
                self._losing[predictor] = (first, now, count + more)
        self._losing = {
            predictor: row
            for predictor, row in self._losing.items()
            if (now - row[1]).total_seconds() < RECENT
        }
        return {
            f"unlogged {predictor}": BlindSpot(
                first, f"{predictor} answers, and {count} requests or answers were not logged", 0.0
            )
            for predictor, (first, _, count) in self._losing.items()
        }

    async def _read_letters(self, now: datetime) -> dict[str, BlindSpot]:
        try:
            info = await self._js.stream_info(DEAD_LETTERS.name, subjects_filter=f"{_PREFIX}>")
        except nats.js.errors.NotFoundError:
            return {}
        spots = {}
        for subject, count in (info.state.subjects or {}).items():
            pipeline = subject.rpartition(".")[2]
            text = f"{pipeline}: {count} events wait as dead letters, `driftloop events ls {pipeline}` lists them"
            spots[f"letters {subject}"] = BlindSpot(now, text, 0.0)
        return spots

    async def _read_recorders(self) -> dict[str, BlindSpot]:
        """Recorders that write nothing: what comes waits, and nothing is lost yet."""
        try:
            info = await self._js.stream_info(RECORDERS.name, subjects_filter=RECORDERS.subjects[0])
        except nats.js.errors.NotFoundError:
            return {}
        spots = {}
        for subject in info.state.subjects or {}:
            namespace, pipeline = subject.split(".")[2:]
            stored = await self._js.get_last_msg(RECORDERS.name, subject)
            try:
                state = RecorderState.parse(stored.data or b"")
                kept = await self._js.stream_info(
                    RecorderStreams(namespace, pipeline).events_stream.name
                )
            except (DocumentError, nats.js.errors.NotFoundError):
                continue
            for number, (since, text) in enumerate(
                state.list_troubles(pipeline, kept.state.messages)
            ):
                key = f"recorder {namespace}/{pipeline}/{number}"
                spots[key] = BlindSpot(datetime.fromisoformat(since), text, PATIENCE)
        return spots

    async def _read_detectors(self, now: datetime) -> dict[str, BlindSpot]:
        spots = {}
        for key, verdict in self._history.verdicts.items():
            namespace, pipeline, detector = key.split("/")
            if (judged := verdict.get("last")) is None:
                continue
            streams = DetectorStreams(namespace, pipeline, detector, verdict["release"])
            try:
                newest = await self._js.get_last_msg(
                    streams.stream, streams.event_subject(verdict["release"])
                )
            except nats.js.errors.NotFoundError:
                continue
            behind = (newest.seq or 0) - judged
            # a window that time closed says nothing of how many rows the next one may wait for
            if behind > 2 * max(verdict["size"], verdict.get("full", 0)):
                text = f"{pipeline}: detector {detector} is {behind} events behind"
                spots[f"detector {key}"] = BlindSpot(now, text, BEHIND_PATIENCE)
        return spots
