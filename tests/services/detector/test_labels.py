"""Labels through the door, the broker, the detector and the decision, on a real NATS server: what they say of a release is
what they say offline, and worse answers start a run."""

import asyncio
import json
import random
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.detector import write_answers
from support.processes import Process, free_port, nats, tell_nats, until, url

from driftloop.clients import events
from driftloop.contract.events import INFERENCE_RESPONSE, LABELS_GIVEN, RUN_FINISHED, detector_type
from driftloop.contract.windows import OpenWindow

TOKEN = "s3cret"
CLASSES = 10
WINDOW = 50


def trigger(name: str, service: str, type_: str) -> dict[str, Any]:
    delivery = {"retry": 50, "backoffPolicy": "linear", "backoffDelay": "PT0.1S", "timeout": "PT5S"}
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name, "namespace": "n"},
        "spec": {
            "broker": "default",
            "filter": {"attributes": {"type": type_, "inferenceservicename": "digits"}},
            "subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": service}},
            "delivery": delivery,
        },
    }


OBJECTS: list[dict[str, Any]] = [
    {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "default", "namespace": "n"},
        "spec": {},
    },
    trigger("digits-quality", "digits-quality", INFERENCE_RESPONSE),
    trigger("digits-quality-labels", "digits-quality", LABELS_GIVEN),
    trigger("digits-decision-quality", "digits-decision", detector_type("quality")),
    trigger("digits-decision-runs", "digits-decision", RUN_FINISHED),
]


class Loop:
    """NATS, broker, detector and decision as processes; the webhook is here."""

    def __init__(self, folder: Path, start: Callable[..., Process]) -> None:
        self.random = random.Random(3)
        self.fired: list[dict[str, Any]] = []
        self.sent: dict[str, int] = {}
        """Request -> answer."""
        self.truth: dict[str, int] = {}
        rehearsed = [self.random.randrange(CLASSES) for _ in range(400)]
        write_answers(
            folder / "answers.jsonl",
            [{"data": {"ndarray": [value]}} for value in rehearsed],
            labels=[self.blur(value, 0.05) for value in rehearsed],
        )
        self.server = nats(folder / "nats").start()
        self.broker_port, self.decision_port = free_port(), free_port()
        self.webhook_port = free_port()
        self.detector = start(
            self.server,
            kind="quality",
            on="label",
            detector="quality",
            window=WINDOW,
            broker=self.address,
        )
        self.decision = Process(
            [
                *(sys.executable, "-m", "driftloop.services.decision"),
                *("--port", str(self.decision_port), "--namespace", "n", "--pipeline", "digits"),
                *("--webhook", f"http://127.0.0.1:{self.webhook_port}/retrain"),
                *("--broker", self.address, "--labels", "--policy"),
                json.dumps({"consecutive": 1, "budget": None, "on": ["quality"]}),
            ],
            folder / "decision.log",
            self.decision_port,
            "/healthz",
            {
                "NATS_URL": url(self.server),
                "NATS_READER_URL": url(self.server),
                "DRIFTLOOP_WEBHOOK_TOKEN": TOKEN,
                "NO_PROXY": "127.0.0.1",
            },
        ).start()
        self._start_broker(folder)

    def _start_broker(self, folder: Path) -> None:
        run = folder / "run"
        run.mkdir()
        ports = {"nats": self.server.port, "broker": self.broker_port}
        (run / "ports.json").write_text(json.dumps(ports))
        tell_nats(folder, self.server)
        addresses = {
            "digits-quality.n.svc.cluster.local:80": f"127.0.0.1:{self.detector.port}",
            "digits-decision.n.svc.cluster.local:80": f"127.0.0.1:{self.decision_port}",
        }
        (run / "addresses.json").write_text(json.dumps(addresses))
        (run / "objects.json").write_text(json.dumps({"revision": "1", "objects": OBJECTS}))
        argv = [sys.executable, "-m", "driftloop.local.knative", "--state", str(folder)]
        self.broker = Process(argv, folder / "broker.log", self.broker_port, "/healthz").start()
        self.report = run / "broker.json"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.broker_port}/n/default"

    def blur(self, value: int, share: float) -> int:
        """Another class in so many cases."""
        if self.random.random() >= share:
            return value
        return (value + self.random.randrange(1, CLASSES)) % CLASSES

    async def take_decision(self, request: web.BaseRequest) -> web.StreamResponse:
        self.fired.append(json.loads(await request.read()))
        return web.Response(text="success")

    def choose(self, count: int) -> list[str]:
        """Return the ids of new requests, whose answers are chosen."""
        requests = [str(uuid.uuid4()) for _ in range(count)]
        self.sent.update((request, self.random.randrange(CLASSES)) for request in requests)
        return requests

    async def answer(self, session: aiohttp.ClientSession, request: str) -> None:
        """Log the answer to a request, twice in a tenth of the cases, under another event id."""
        for _ in range(1 + (self.random.random() < 0.1)):
            event = events.make_event(
                INFERENCE_RESPONSE,
                "test",
                {"data": {"ndarray": [self.sent[request]]}},
                inferenceservicename="digits",
                endpoint="r1",
                requestid=request,
            )
            await events.post_event(session, self.address, event)

    async def label(self, session: aiohttp.ClientSession, labels: list[tuple[str, int]]) -> None:
        """Post labels through the door; the last one of a request is the truth."""
        body = {"labels": [{"request": request, "label": label} for request, label in labels]}
        async with session.post(
            f"http://127.0.0.1:{self.decision_port}/labels",
            json=body,
            headers={"Authorization": f"Bearer {TOKEN}"},
        ) as answer:
            assert answer.status == 202, await answer.text()
        self.truth.update(labels)

    async def window(self) -> OpenWindow:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.detector.port}/window") as answer,
        ):
            return OpenWindow.read(await answer.json(content_type=None))

    def offline(self) -> tuple[int, int]:
        joined = self.sent.keys() & self.truth.keys()
        return len(joined), sum(self.sent[request] == self.truth[request] for request in joined)

    async def counted(self) -> bool:
        try:
            labels = (await self.window()).labels
        except aiohttp.ClientError:
            return False
        nobodys = len(self.truth.keys() - self.sent.keys())
        found = labels and (labels.rows, labels.right, labels.early)
        return found == (*self.offline(), nobodys)


@pytest.fixture
async def loop(tmp_path: Path, start: Callable[..., Process]) -> AsyncIterator[Loop]:
    it = Loop(tmp_path, start)
    runner = web.ServerRunner(web.Server(it.take_decision))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", it.webhook_port).start()
    yield it
    await runner.cleanup()
    for process in (it.broker, it.decision, it.server):
        process.kill()


@pytest.mark.timeout(600)
async def test_live_accuracy_is_the_offline_one_through_kills_and_a_loss_starts_a_run(
    loop: Loop,
) -> None:
    await until(loop.report.exists)
    async with aiohttp.ClientSession() as session:
        for part in range(3):
            requests = loop.choose(80)
            # some labels are there before their answers
            await loop.label(session, [(each, loop.sent[each]) for each in requests[:10]])
            await asyncio.gather(*(loop.answer(session, request) for request in requests))
            labels = [(request, loop.blur(loop.sent[request], 0.05)) for request in requests]
            loop.random.shuffle(labels)
            await loop.label(session, labels)
            # a tenth comes again, a tenth is corrected, and some are of nobody
            again = loop.random.sample(labels, 6)
            corrected = [(each, loop.sent[each]) for each, _ in loop.random.sample(labels, 6)]
            await loop.label(session, [*again, *corrected, (f"nobody-{part}", 1)])
            loop.detector.kill()
            await asyncio.sleep(0.2)
            await asyncio.to_thread(loop.detector.start)
        await until(loop.counted, every=0.3, what="all labels")
        counts = (await loop.window()).labels
        assert counts is not None
        assert counts.rows == 240
        assert counts.early == 3
        assert (counts.waiting, counts.foreign, counts.expired) == (0, 0, 0)
        assert counts.contradicting > 0
        assert loop.fired == []
        # the answers stay as they are, and are wrong now
        requests = loop.choose(2 * WINDOW)
        await asyncio.gather(*(loop.answer(session, request) for request in requests))
        await loop.label(session, [(each, (loop.sent[each] + 1) % CLASSES) for each in requests])
        await until(lambda: loop.fired != [], what="a run")
        await until(loop.counted, every=0.3, what="all labels")
    cause = loop.fired[0]["cause"]
    assert "accuracy 0.9" in cause
    assert "over " in cause
    assert len({each["decision"] for each in loop.fired}) == 1
