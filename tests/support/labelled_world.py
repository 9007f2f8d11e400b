"""A recorder and a monitor of labels behind the broker, on a real NATS server and a real object store."""

import json
import sys
from random import Random
from typing import Any

import aiohttp
from support.detector import start_detector, write_answers
from support.processes import Process, free_port, tell_nats
from support.recorder import DATA, NAMESPACE, PIPELINE, RecorderWorld, read_whole

from driftloop.contract.events import INFERENCE_REQUEST, INFERENCE_RESPONSE, LABELS_GIVEN
from driftloop.contract.labels import LabelCounts
from driftloop.contract.windows import OpenWindow

CLASSES = 10
BATCHES = {"uri": f"s3://{DATA}/batches", "target": "y", "least": 1, "every": 1.0}
TAKEN = {
    f"{PIPELINE}-recorder": (INFERENCE_REQUEST, INFERENCE_RESPONSE, LABELS_GIVEN),
    f"{PIPELINE}-quality": (INFERENCE_RESPONSE, LABELS_GIVEN),
}
"""Types of events by the Service that takes them."""


class LabelledWorld(RecorderWorld):
    """Five processes, which can be killed and started again."""

    def __post_init__(self) -> None:
        self.settings = {"batches": BATCHES, **self.settings}
        super().__post_init__()
        self.broker_port = free_port()
        self.detector: Process
        self.broker: Process

    @property
    def ingress(self) -> str:
        return f"http://127.0.0.1:{self.broker_port}/{self.namespace}/default"

    @property
    def parts(self) -> dict[str, Process]:
        return {**super().parts, "broker": self.broker, "detector": self.detector}

    def start(self) -> "LabelledWorld":
        super().start()
        random = Random(0)
        answers = [random.randrange(CLASSES) for _ in range(400)]
        write_answers(
            self.folder / "answers.jsonl",
            [{"data": {"ndarray": [answer]}} for answer in answers],
            labels=[answer if random.random() > 0.1 else 0 for answer in answers],
        )
        self.detector = start_detector(
            self.python,
            self.folder,
            self.nats,
            kind="quality",
            on="label",
            detector="quality",
            window=200,
            broker=self.ingress,
        )
        self._start_broker()
        return self

    def _start_broker(self) -> None:
        run = self.folder / "run"
        run.mkdir()
        ports = {"nats": self.nats.port, "broker": self.broker_port}
        (run / "ports.json").write_text(json.dumps(ports))
        tell_nats(self.folder, self.nats)
        near = {"recorder": self.recorder.port, "quality": self.detector.port}
        addresses = {
            f"{PIPELINE}-{name}.{NAMESPACE}.svc.cluster.local:80": f"127.0.0.1:{port}"
            for name, port in near.items()
        }
        (run / "addresses.json").write_text(json.dumps(addresses))
        objects = [_make_broker(), *(_make_trigger(name, t) for name in TAKEN for t in TAKEN[name])]
        (run / "objects.json").write_text(json.dumps({"revision": "1", "objects": objects}))
        argv = [sys.executable, "-m", "driftloop.local.knative", "--state", str(self.folder)]
        self.broker = Process(argv, self.folder / "broker.log", self.broker_port, "/healthz")
        self.broker.start()

    def kill(self) -> None:
        for name in ("broker", "detector"):
            if (process := getattr(self, name, None)) is not None:
                process.kill()
        super().kill()

    async def read_labels(self) -> LabelCounts | None:
        """What the monitor has counted; None while it does not answer."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.detector.port}/window") as answer,
            ):
                return OpenWindow.read(await answer.json(content_type=None)).labels
        except aiohttp.ClientError:
            return None

    def read_batches(self) -> list[dict[str, Any]]:
        """Every row of every labelled batch."""
        return [row for file in self.list_batches() for row in read_whole(file)]


def _make_broker() -> dict[str, Any]:
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "default", "namespace": NAMESPACE},
        "spec": {},
    }


def _make_trigger(service: str, type: str) -> dict[str, Any]:
    side = type.rpartition(".")[2]
    delivery = {
        "retry": 500,
        "backoffPolicy": "linear",
        "backoffDelay": "PT0.1S",
        "timeout": "PT5S",
    }
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": f"{service}-{side}", "namespace": NAMESPACE},
        "spec": {
            "broker": "default",
            "filter": {"attributes": {"type": type, "inferenceservicename": PIPELINE}},
            "subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": service}},
            "delivery": delivery,
        },
    }
