"""A recorder on a real NATS server and a real object store, and what it has written."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq
from support.processes import PATIENCE, Process, free_port, nats, url

from driftloop.clients import events
from driftloop.contract.batches import LABELLED
from driftloop.contract.captures import TrafficPart, traffic_key
from driftloop.contract.documents import to_json
from driftloop.contract.events import INFERENCE_REQUEST, INFERENCE_RESPONSE, LABELS_GIVEN
from driftloop.contract.labels import LabelBatch, RequestLabel

ROOT = Path(__file__).parents[2]
RCLONE = Path(sys.executable).with_name("rclone")
BUCKET, NAMESPACE, PIPELINE = "driftloop", "n", "digits"
KEY, SECRET = "user", "secret"
DATA = "data"
"""Bucket of the pipeline's data, whose batches are in `s3://data/batches`."""


def object_store(folder: Path, port: int, keys: tuple[str, str] = (KEY, SECRET)) -> Process:
    """An S3 server whose objects are the files of a folder."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    argv = [str(RCLONE), "serve", "s3", f"--addr=127.0.0.1:{port}", "--dir-cache-time=2s"]
    argv += [f"--auth-key={','.join(keys)}", "--no-cleanup", str(folder)]
    return Process(
        argv, folder.with_name("s3.log"), port, environment={"RCLONE_CONFIG": "/dev/null"}
    )


@dataclass
class RecorderWorld:
    """The three processes; each can be killed and started again."""

    folder: Path
    python: Path
    settings: dict[str, Any] = field(default_factory=dict)
    stream_bytes: int = 64 * 1024 * 1024
    namespace: str = NAMESPACE

    def __post_init__(self) -> None:
        self.nats = nats(self.folder / "nats")
        self.s3 = object_store(self.folder / "s3", free_port())
        port = free_port()
        argv = [str(self.python), "-m", "driftloop.services.recorder", "serve"]
        argv += ["--port", str(port), "--host", "127.0.0.1"]
        argv += ["--namespace", self.namespace, "--pipeline", PIPELINE]
        argv += ["--config", json.dumps(self.settings), "--stream-bytes", str(self.stream_bytes)]
        self.recorder = Process(
            argv, self.folder / "recorder.log", port, "/healthz", self.environment
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "NATS_URL": url(self.nats),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.s3.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "DRIFTLOOP_BUCKET": BUCKET,
            "PYTHONPATH": str(ROOT / "pipeline"),
            "NO_PROXY": "127.0.0.1",
        }

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.recorder.port}"

    @property
    def ingress(self) -> str:
        """Where events are posted to: the recorder itself, or what delivers to it."""
        return self.address

    @property
    def parts(self) -> dict[str, Process]:
        """What can be killed and started again, by name."""
        return {"recorder": self.recorder, "nats": self.nats, "s3": self.s3}

    @property
    def traffic(self) -> Path:
        """Folder of the files, as the store has them."""
        return self.folder / "s3" / BUCKET / traffic_key(PIPELINE)

    def start(self) -> "RecorderWorld":
        (self.folder / "s3" / DATA).mkdir(parents=True, exist_ok=True)
        for process in (self.nats, self.s3, self.recorder):
            process.start()
        return self

    def kill(self) -> None:
        for process in (self.recorder, self.s3, self.nats):
            process.kill()

    def find_writers(self) -> list[int]:
        """Processes that write a part now."""
        found = subprocess.run(
            ["pgrep", "-g", str(self.recorder.pid), "-f", "recorder write"],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(pid) for pid in found.stdout.split()]

    def kill_writer(self) -> bool:
        """Kill the writer alone, if there is one."""
        pids = self.find_writers()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def list_files(self) -> list[tuple[TrafficPart, Path]]:
        found = []
        for file in self.traffic.rglob("*.parquet"):
            part = TrafficPart.parse(file.relative_to(self.traffic).as_posix())
            assert part is not None, file
            found.append((part, file))
        return sorted(found)

    def read_rows(self) -> list[dict[str, Any]]:
        """Every row of every file, with its release and day."""
        rows = []
        for part, file in self.list_files():
            listed = read_whole(file)
            assert len(listed) == part.rows
            rows += [{**row, "release": part.release, "day": part.day} for row in listed]
        return rows

    def list_batches(self) -> list[Path]:
        """Labelled batches in the folder of the data."""
        return sorted((self.folder / "s3" / DATA / "batches" / LABELLED).glob("*.parquet"))

    async def read_state(self) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.address}/state") as answer,
        ):
            return dict(await answer.json())

    async def post(self, made: Iterable[events.Event]) -> list[int]:
        """Post events one after the other; the status of each."""
        statuses = []
        async with aiohttp.ClientSession() as session:
            for event in made:
                statuses.append(await post_event(session, self.address, event, patience=PATIENCE))
        return statuses


def read_whole(file: Path) -> list[dict[str, Any]]:
    """The rows of a file of the store, which has no end while it is being written."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return list(pq.ParquetFile(file).read().to_pylist())
        except pa.ArrowInvalid:
            assert time.monotonic() < deadline, f"{file} is not whole"
            time.sleep(0.05)


async def post_event(
    session: aiohttp.ClientSession, address: str, event: events.Event, *, patience: float = 5.0
) -> int:
    """The status that an event is answered with; 0 without an answer."""
    try:
        async with session.post(
            address,
            data=event.body,
            headers=events.to_http(event),
            timeout=aiohttp.ClientTimeout(patience),
        ) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


def make_request(
    id: str,
    rows: Any = ((1.0, 2.0),),
    *,
    names: Sequence[str] = (),
    release: str = "r1",
    pipeline: str = PIPELINE,
    body: bytes | None = None,
    **attributes: str,
) -> events.Event:
    """A logged request, or what came instead of one."""
    return _make(INFERENCE_REQUEST, id, rows, names, release, pipeline, body, attributes)


def make_labels(given: int, labels: Mapping[str, Any], *, id: str | None = None) -> events.Event:
    """Labels of requests that were given together."""
    rows = tuple(RequestLabel(request=request, label=label) for request, label in labels.items())
    batch = LabelBatch(given=given, labels=rows)
    own = {"inferenceservicename": PIPELINE, "namespace": NAMESPACE}
    return events.make_event(LABELS_GIVEN, "test", to_json(batch), id=id, **own)


def make_answer(
    id: str,
    rows: Any = ((0.25, 0.75),),
    *,
    names: Sequence[str] = (),
    release: str = "r1",
    pipeline: str = PIPELINE,
    body: bytes | None = None,
    **attributes: str,
) -> events.Event:
    """A logged answer."""
    return _make(INFERENCE_RESPONSE, id, rows, names, release, pipeline, body, attributes)


def _make(
    type: str,
    id: str,
    rows: Any,
    names: Sequence[str],
    release: str,
    pipeline: str,
    body: bytes | None,
    attributes: dict[str, str],
) -> events.Event:
    data = {"data": {"names": list(names), "ndarray": rows}}
    own = {
        "inferenceservicename": pipeline,
        "endpoint": release,
        "requestid": id,
        "namespace": NAMESPACE,
    }
    event = events.make_event(type, "test", data, id=str(uuid.uuid4()), **{**own, **attributes})
    return event if body is None else events.Event(event.attributes, body)
