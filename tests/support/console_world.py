"""A console over stored records: a real repository, a real object store, and what a running platform would say."""

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftloop.clients.events import Event, pack_event
from driftloop.clients.nats import ensure_contract_stream, open_connection, publish_message
from driftloop.console.access import AccessKey
from driftloop.console.answers import Console
from driftloop.console.serving import build_console
from driftloop.console.source import LocalSource, RepositoryPicture
from driftloop.contract.accounts import NatsRole
from driftloop.contract.documents import to_json
from driftloop.contract.events import INFERENCE_REQUEST, PROTOCOL, REQUEST_ID
from driftloop.contract.platform import NATS_ROLES
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.contract.times import format_time
from driftloop.contract.verdicts import ColumnChange, WindowRecord
from driftloop.errors import LocalError, StoreError
from driftloop.local.ground.state import StateFolder
from driftloop.operations.runs.run_store import ListedRun
from driftloop.operations.watching.status import PlatformStatus
from driftloop.operations.watching.verdict_windows import ReadWindows, shorten_window
from driftloop.operations.watching.why import LoopAnswer

if TYPE_CHECKING:
    from support.stored_runs import Shelf

HOSTILE = (
    "<script>document.title='taken'</script>\"'><img src=x onerror=\"document.title='taken'\">"
)
"""A name that would take the page over, were it not escaped."""
PORT = 4711
PICTURES: dict[Path, RepositoryPicture] = {}
RUNS: dict[Path, Mapping[str, ListedRun]] = {}
"""What was read of a world, by its state folder."""


class StoredSource(LocalSource):
    """A state folder whose platform says what a test wants it to say."""

    def __init__(self, state: StateFolder, nats_url: str | None = None) -> None:
        """With `nats_url` windows are those that this server keeps."""
        super().__init__(
            state,
            {NATS_ROLES[NatsRole.READER].environment: nats_url} if nats_url is not None else {},
        )
        self._nats_url = nats_url
        self.status: dict[str, Any] | None = build_status()
        self.records: list[tuple[str, str, WindowRecord]] = []
        self.reads = 0
        """How often the status was read."""

    def read_repository(self, before: RepositoryPicture) -> RepositoryPicture:
        """What a world has in git is read once for all its tests."""
        kept = before if before.tip is not None else PICTURES.get(self.state.root, before)
        PICTURES[self.state.root] = picture = super().read_repository(kept)
        return picture

    def read_runs(self, known: Mapping[str, ListedRun]) -> tuple[ListedRun, ...]:
        kept = {**RUNS.get(self.state.root, {}), **known}
        found = super().read_runs(kept)
        RUNS[self.state.root] = {run.report.run: run for run in found}
        return found

    def read_status(self) -> PlatformStatus:
        self.reads += 1
        if self.status is None:
            raise LocalError("nothing runs here", hint="start it with `driftloop up`")
        return PlatformStatus.from_json(self.status)

    def read_windows(self, after: int, most: int) -> ReadWindows:
        if self._nats_url is not None:
            return super().read_windows(after, most)
        found = [
            shorten_window(record, number, namespace=namespace, pipeline=pipeline)
            for number, (namespace, pipeline, record) in enumerate(self.records, 1)
            if number > after
        ]
        return ReadWindows(tuple(found[-most:]), len(self.records))

    def read_window(self, sequence: int) -> WindowRecord:
        if self._nats_url is not None:
            return super().read_window(sequence)
        if not 0 < sequence <= len(self.records):
            raise StoreError("the verdict on this window is not kept any more")
        return self.records[sequence - 1][2]

    def explain(self, namespace: str, pipeline: str) -> LoopAnswer:
        return LoopAnswer(
            pipeline,
            "idle",
            "waits",
            "waits for 2 alarms in a row of drift.",
            ("drift: window 8 is open",),
        )


def build_status(**changes: Any) -> dict[str, Any]:
    """The status of a platform on which `digits` runs."""
    return {
        "state": "/somewhere/.driftloop", "gateway": "http://127.0.0.1:1", "tip": "a" * 40, "applied": "a" * 40,
        "refused": None, "stuck": None, "waiting": [], "processes": [], "memory": None, "releases": {},
        "verdicts": {}, "decisions": {"digits.digits": "idle"}, "runs": {},
        "loops": {"digits.digits": "waits for 2 alarms in a row of drift"}, **changes,
    }  # fmt: skip


def make_window(
    number: int, *, at: datetime, alarm: bool = False, detector: str = "drift", release: str = "r12345678",
    columns: Mapping[str, float] | None = None, **details: Any,
) -> WindowRecord:  # fmt: skip
    """A judged window; `columns` are effects by name."""
    changes = [
        ColumnChange(
            column=name, type="number", kind="shift", of="median", before=1.0, after=1.0 + effect, effect=effect,
            score=9.0 if alarm else 0.4, alarm=alarm,
        )
        for name, effect in (columns or {"hue": 0.02}).items()
    ]  # fmt: skip
    return WindowRecord(
        detector=detector, release=release, window=number, size=200, first=number * 200 + 1, last=number * 200 + 200,
        alarm=alarm, score=12.0 if alarm else 0.6, threshold=3.0, time=format_time(at),
        details={
            "columns": [to_json(change) for change in changes],
            "from": format_time(at - timedelta(seconds=55)), "to": format_time(at), **details,
        },
        requests=(),
    )  # fmt: skip


def store_windows(url: str, records: Sequence[tuple[str, str, WindowRecord]]) -> None:
    """Let a NATS server keep windows, as detectors do."""

    async def store() -> None:
        async with open_connection(url, name="test") as js:
            await ensure_contract_stream(js, VERDICTS)
            for namespace, pipeline, record in records:
                streams = DetectorStreams(namespace, pipeline, record.detector, record.release)
                await publish_message(js, streams.verdicts, json.dumps(to_json(record)).encode())

    _run_aside(store())


def store_events(url: str, streams: DetectorStreams, bodies: Sequence[bytes]) -> None:
    """Let a NATS server keep requests to the release of a detector."""

    async def store() -> None:
        async with open_connection(url, name="test") as js:
            await ensure_contract_stream(js, streams.events_stream)
            for number, body in enumerate(bodies):
                event = Event(
                    {
                        "specversion": "1.0", "id": f"e{number}", "source": "urn:test",
                        "type": INFERENCE_REQUEST, REQUEST_ID: f"id-{number}", PROTOCOL: "seldon",
                    },
                    body,
                )  # fmt: skip
                subject = streams.event_subject(streams.release)
                await publish_message(js, subject, pack_event(event))

    _run_aside(store())


def tell_verdicts(source: StoredSource) -> None:
    """Let the status say what the last windows say."""
    if source.status is None:
        return
    for namespace, pipeline, record in source.records:
        source.status["verdicts"][f"{namespace}/{pipeline}/{record.detector}"] = {
            "release": record.release, "window": record.window, "alarm": record.alarm, "score": record.score,
            "threshold": record.threshold, "time": record.time, "size": record.size,
            "changes": "hue median 1 -> 2" if record.alarm else "",
        }  # fmt: skip


def open_console(shelf: "Shelf", source: StoredSource, *, port: int = PORT) -> Console:
    """A console of it that has looked once."""
    console = build_console(
        source, AccessKey(port, "k" * 43), state=shelf.state, place=("--state", str(shelf.state.root)), environment={}
    )  # fmt: skip
    _run_aside(console.collector.refresh())
    return console


def _run_aside(work: Coroutine[Any, Any, None]) -> None:
    """Run in a thread of its own: Playwright's loop may be running in this one."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, work).result()


def recent(minutes: float) -> datetime:
    """A moment so many minutes ago."""
    return datetime.now(UTC) - timedelta(minutes=minutes)


def keep(source: StoredSource, **changes: Any) -> None:
    """Change what the platform says."""
    source.status = (
        build_status(**changes) if source.status is None else {**source.status, **changes}
    )
