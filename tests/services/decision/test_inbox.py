"""Files of labels in a folder of a real object store: read once, wherever the reading is interrupted."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from support.processes import Process, free_port, nats, until, url
from support.recorder import BUCKET, KEY, SECRET, object_store

from driftloop.clients import events
from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.contract.documents import to_json
from driftloop.contract.inboxes import InboxResult, InboxStatus
from driftloop.contract.labels import LabelBatch
from driftloop.services.decision.inbox import InboxFolder, InboxWatch
from driftloop.services.decision.labels import LabelDoor, LabelsRefusedError

PIPELINE = "digits"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = object_store(tmp_path_factory.mktemp("store") / "s3", free_port()).start()
    yield process
    process.kill()


class Broker:
    """Keeps the labels that it is sent; takes no more after so many events."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []
        self.most = 10**6
        self.port = free_port()

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        if len(self.events) >= self.most:
            return web.Response(status=503)
        self.events.append(events.from_http(request.headers, await request.read()))
        return web.Response(status=202)

    @property
    def batches(self) -> dict[str, LabelBatch]:
        """What was sent, by the events' ids: those of the same id are the same."""
        found: dict[str, LabelBatch] = {}
        for event in self.events:
            batch = LabelBatch.read(event.parse_json())
            assert found.setdefault(event.id, batch) == batch
        return found

    @property
    def labels(self) -> list[tuple[str, Any]]:
        """Labels in the order in which they were given."""
        batches = sorted(self.batches.values(), key=lambda batch: batch.given)
        return [(each.request, each.label) for batch in batches for each in batch.labels]


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    it = Broker()
    runner = web.ServerRunner(web.Server(it.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", it.port).start()
    yield it
    await runner.cleanup()


class Inbox:
    """A pipeline's inbox, and what reads it."""

    def __init__(
        self, store: Process, pipeline: str, session: aiohttp.ClientSession, broker: Broker
    ):
        self.store = ObjectStore.from_endpoint(
            f"http://127.0.0.1:{store.port}", access_key=KEY, secret_key=SECRET
        )
        self.bucket = StoreLocation(BUCKET)
        self.pipeline = pipeline
        registry = CollectorRegistry()
        door = LabelDoor(
            session,
            namespace="n",
            pipeline=pipeline,
            broker=f"http://127.0.0.1:{broker.port}/n/default",
            registry=registry,
        )
        self.registry, self.door = registry, door
        self.watch = InboxWatch(InboxFolder(self.store, self.bucket, pipeline), door, registry)

    def put(self, name: str, data: bytes) -> None:
        self.store.write_object(self.bucket / f"labels/{self.pipeline}/inbox/{name}", data)

    def names(self, folder: str) -> list[str]:
        found = self.store.list_folder(self.bucket / f"labels/{self.pipeline}/{folder}")
        return sorted(Path(entry.key).name.rpartition("-")[2] for entry in found)

    def result(self, folder: str, name: str) -> InboxResult:
        found = self.store.list_folder(self.bucket / f"labels/{self.pipeline}/{folder}")
        key = next(entry.key for entry in found if entry.key.endswith(f"{name}.json"))
        return InboxResult.read(self.store.read_json(StoreLocation(BUCKET, key)))

    def count(self, result: str) -> float | None:
        return self.registry.get_sample_value(
            "driftloop_decision_label_files_total", {"result": result}
        )


@pytest.fixture
async def inbox(
    store: Process, broker: Broker, request: pytest.FixtureRequest
) -> AsyncIterator[Inbox]:
    async with aiohttp.ClientSession() as session:
        yield Inbox(store, f"p{abs(hash(request.node.name)) % 10**8}", session, broker)


def lines(count: int) -> bytes:
    """Labels as JSON Lines."""
    return b"".join(b'{"request": "q%d", "label": %d}\n' % (n, n % 7) for n in range(count))


async def test_files_of_each_kind_are_read_and_moved(inbox: Inbox, broker: Broker) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"request": ["p1", "p2"], "label": [1.5, 2.5]}), sink)
    inbox.put("a.csv", b"request,label\nc1,cat\nc2,\nc3,dog\n")
    inbox.put("b.jsonl", lines(250))
    inbox.put("c.parquet", bytes(sink.getvalue()))
    await inbox.watch.read_files()
    told = dict(broker.labels)
    assert told == {f"q{n}": n % 7 for n in range(250)} | {
        "c1": "cat", "c3": "dog", "p1": 1.5, "p2": 2.5,
    }  # fmt: skip
    assert inbox.names("read") == [
        "a.csv", "a.csv.json", "b.jsonl", "b.jsonl.json", "c.parquet", "c.parquet.json",
    ]  # fmt: skip
    result = inbox.result("read", "a.csv")
    assert (result.accepted, result.malformed, result.refused) == (2, 1, "")
    assert "a.csv, line 3: the row: `label` is `null`" in result.reasons[0]
    assert inbox.count("read") == 3
    count = len(broker.events)
    await inbox.watch.read_files()
    assert len(broker.events) == count


async def test_a_file_that_was_begun_is_read_on_from_there(inbox: Inbox, broker: Broker) -> None:
    """Its labels have the same ids and times as before, so those that come twice are one."""
    inbox.put("many.jsonl", lines(2550))
    for most in (3, 12, 19):
        broker.most = most
        with pytest.raises(LabelsRefusedError):
            await inbox.watch.read_files()
    broker.most = 10**6
    await inbox.watch.read_files()
    assert broker.labels == [(f"q{n}", n % 7) for n in range(2550)]
    assert len(broker.batches) == 26
    # of the three attempts two had to begin with what had not been kept as done
    assert len(broker.events) < 3 * 26
    result = inbox.result("read", "many.jsonl")
    assert (result.accepted, result.malformed) == (2550, 0)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("x.csv", b"id,label\na,1\n", "x.csv has no column `request`, its columns are: id, label"),
        ("x.txt", b"hello", "x.txt is of kind `.txt`, must be one of: .csv, .jsonl, .parquet"),
        ("x.jsonl", lines(120) + b"{\n", "x.jsonl, line 121 is not JSON"),
        ("x.parquet", b"PAR1", "x.parquet is not a .parquet file"),
    ],
)
async def test_what_is_no_file_of_labels_is_put_aside_with_the_reason(
    inbox: Inbox, broker: Broker, name: str, data: bytes, says: str
) -> None:
    inbox.put(name, data)
    inbox.put("y.jsonl", lines(1))
    await inbox.watch.read_files()
    assert inbox.names("refused") == [name, f"{name}.json"]
    result = inbox.result("refused", name)
    assert says in result.refused
    assert result.accepted == (100 if name == "x.jsonl" else 0)
    assert inbox.names("read") == ["y.jsonl", "y.jsonl.json"]
    assert (inbox.count("read"), inbox.count("refused")) == (1, 1)


async def test_a_parquet_file_without_pyarrow_is_refused_where_people_look(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in driftloop's image, which has none."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    inbox.put("may.parquet", b"PAR1")
    await inbox.watch.read_files()
    status = InboxStatus.read(to_json(inbox.watch.status))
    assert (status.waiting, status.refused) == (0, 1)
    assert status.file.endswith("-may.parquet")
    assert status.text.startswith(
        f"1 file of labels refused, the last one labels/{inbox.pipeline}/refused/"
    )
    for words in ("may.parquet needs pyarrow, which is not installed", "as .csv or .jsonl"):
        assert words in status.text
    # another process knows it, too, and once it is deleted nothing is to be done
    again = InboxWatch(
        InboxFolder(inbox.store, inbox.bucket, inbox.pipeline), inbox.door, CollectorRegistry()
    )
    await again.read_files()
    assert again.status == status
    for key in (status.file, f"{status.file}.json"):
        inbox.store.delete_object(StoreLocation(BUCKET, key))
    await again.read_files()
    assert again.status.text == ""


async def test_the_decision_service_reads_the_inbox(
    inbox: Inbox, broker: Broker, store: Process, tmp_path: Path
) -> None:
    inbox.put("first.jsonl", lines(3))
    inbox.put("second.csv", b"id,label\na,1\n")
    server = nats(tmp_path / "nats").start()
    port = free_port()
    argv = [sys.executable, "-m", "driftloop.services.decision", "--port", str(port)]
    argv += ["--namespace", "n", "--pipeline", inbox.pipeline, "--labels"]
    argv += ["--policy", json.dumps({"on": ["quality"]}), "--webhook", "http://127.0.0.1:9/retrain"]
    argv += ["--broker", f"http://127.0.0.1:{broker.port}/n/default"]
    environment = {
        "NATS_URL": url(server),
        "NATS_READER_URL": url(server),
        "DRIFTLOOP_WEBHOOK_TOKEN": "t",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "DRIFTLOOP_BUCKET": BUCKET,
        "NO_PROXY": "127.0.0.1",
        "PATH": os.environ["PATH"],
    }
    decision = Process(argv, tmp_path / "decision.log", port, "/healthz", environment)
    try:
        await asyncio.to_thread(decision.start)
        await until(lambda: inbox.names("read") != [])
        told: dict[str, Any] = {}
        while not told.get("refused"):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/labels") as answer,
            ):
                told = await answer.json()
            await asyncio.sleep(0.2)
        assert "second.csv has no column `request`" in told["reason"]
    finally:
        decision.kill()
        server.kill()
    assert broker.labels == [("q0", 0), ("q1", 1), ("q2", 2)]
