"""Logged requests, answers and verdicts as NATS still keeps them: found by request id, or by window."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.aio.msg import Msg

from driftloop.clients import cancellation, events
from driftloop.clients.nats import open_connection, read_stored
from driftloop.contract.accounts import NatsRole
from driftloop.contract.documents import DocumentError, parse_json
from driftloop.contract.events import INFERENCE, RELEASE, REQUEST_ID
from driftloop.contract.platform import NATS_ROLES
from driftloop.contract.runs import RunAlarm
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.contract.times import format_time
from driftloop.contract.verdicts import WindowRecord, describe_verdict
from driftloop.errors import PipelineError
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder

MOST_CHANGES = 5


@dataclass(frozen=True)
class KeptEvent:
    """A logged request or answer that a stream still has."""

    side: str
    """`request` or `response`."""
    release: str
    time: str
    """When it was stored."""
    keeper: str
    """Monitor whose stream has it."""


@dataclass(frozen=True)
class KeptRequest:
    """Events of a request in the streams, and the time since when they have any."""

    events: tuple[KeptEvent, ...]
    since: dict[str, str]
    """Monitor to the time of the oldest event that its stream keeps; none of an empty stream."""


def find_request(url: str, request: str, monitors: Iterable[DetectorStreams]) -> KeptRequest:
    """Look for a request id in the streams of monitors; StoreError when NATS is away."""
    return cancellation.run(_find_request(url, request, tuple(monitors)))


async def _find_request(
    url: str, request: str, monitors: tuple[DetectorStreams, ...]
) -> KeptRequest:
    found: list[KeptEvent] = []
    since: dict[str, str] = {}
    needle = request.encode()
    async with open_connection(url, name="driftloop-trace") as js:
        for streams in monitors:
            async for message in read_stored(js, streams.stream, streams.event_subject(">")):
                if streams.detector not in since:
                    since[streams.detector] = _read_time(message)
                # most messages are others': no need to parse them
                if needle not in message.data:
                    continue
                try:
                    event = events.unpack_event(message.data)
                except PipelineError:
                    continue
                if event.get(REQUEST_ID) == request:
                    side = event.type.removeprefix(INFERENCE)
                    release = event.get(RELEASE) or message.subject.rpartition(".")[2]
                    found.append(KeptEvent(side, release, _read_time(message), streams.detector))
    return KeptRequest(tuple(found), since)


def _read_time(message: Msg) -> str:
    return format_time(message.metadata.timestamp.astimezone(UTC))


def read_windows(
    url: str, namespace: str, pipeline: str, alarm: RunAlarm
) -> tuple[dict[str, Any], ...]:
    """Return the verdicts on the windows of an alarm as far as they are kept; StoreError when NATS
    is away."""
    streams = DetectorStreams(namespace, pipeline, alarm.monitor, alarm.release)
    return cancellation.run(_read_windows(url, streams.verdicts, alarm))


async def _read_windows(url: str, subject: str, alarm: RunAlarm) -> tuple[dict[str, Any], ...]:
    windows = []
    async with open_connection(url, name="driftloop-trace") as js:
        async for message in read_stored(js, VERDICTS.name, subject):
            try:
                verdict = WindowRecord.read(parse_json(message.data, label="the stored verdict"))
            except DocumentError:
                continue
            if alarm.first <= verdict.window <= alarm.last:
                windows.append(_describe_window(verdict))
    return tuple(windows)


def _describe_window(verdict: WindowRecord) -> dict[str, Any]:
    return {
        "window": verdict.window,
        "alarm": verdict.alarm,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "rows": verdict.size,
        "from": verdict.details.get("from"),
        "to": verdict.details.get("to") or verdict.time,
        "changes": describe_verdict(verdict.details, MOST_CHANGES),
    }


def find_nats(state: StateFolder, environment: Mapping[str, str]) -> str | None:
    """Return the URL by which verdicts and events are read: of the running `up`, or of the environment;
    None without."""
    setting = NATS_ROLES[NatsRole.READER]
    if state.platform.exists() and state.find_holder() is not None:
        return LocalSettings.load(state)[setting]
    return environment.get(setting.environment) or None


def to_moment(time: str) -> float:
    """Return a time of a record in seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()
