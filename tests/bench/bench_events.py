"""How many events a second get from the ingress to a stored verdict, and how soon drift reaches the webhook.

    python tests/bench/bench_events.py [--events 20000] [--window 200] [--connections 64] [--kind ks]

One run: the raw rate of nats-py on this machine (publish acknowledged, then fetch and acknowledge, 256 at a time,
same bodies, same event loop), then the whole way with the real processes: HTTP ingress -> JetStream -> Trigger ->
detector's door -> JetStream -> windows -> alibi-detect -> verdict stored. Raw is measured before and after, so a busy
machine shows on both sides. Last, clean traffic turns: the time from the event that fills the deciding window to the
webhook's POST. Exit 0 when both targets hold.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psutil
import uvloop
from aiohttp import web
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.processes import Process, free_port, nats, tell_nats, until, url  # noqa: E402

from driftloop.clients.nats import open_connection  # noqa: E402
from driftloop.local.kubelet.environments import build_environment  # noqa: E402

NAMESPACE, NAME, RELEASE, WIDTH = "bench", "digits", "r1", 64
SHARE_TARGET, DELAY_TARGET = 0.25, 1.0
TOKEN = "bench"


def monitor_python() -> Path:
    """The interpreter of the monitor image's environment, built once below .driftloop/."""
    requirements = ROOT / "pipeline" / "driftloop" / "images" / "monitor" / "requirements.txt"
    return (
        build_environment(
            ROOT / ".driftloop" / "envs", [requirements], python="3.11", name="monitor"
        )
        / "bin"
        / "python"
    )


@dataclass
class Platform:
    """The real processes, wired as `driftloop up` wires them."""

    folder: Path
    window: int
    kind: str
    server: Process = field(init=False)
    broker: Process = field(init=False)
    detector: Process = field(init=False)
    decision: Process = field(init=False)

    @contextlib.contextmanager
    def running(self, webhook: int) -> Iterator["Platform"]:
        """Start all; kill all."""
        started: list[Process] = []
        try:
            self.server = nats(self.folder / "nats").start()
            started.append(self.server)
            self._fit()
            ports = {"nats": self.server.port, "broker": free_port()}
            detector, decision = free_port(), free_port()
            run = self.folder / "run"
            run.mkdir()
            (run / "ports.json").write_text(json.dumps(ports))
            tell_nats(self.folder, self.server)
            (run / "addresses.json").write_text(
                json.dumps(
                    {
                        f"{NAME}-drift.{NAMESPACE}.svc.cluster.local:80": f"127.0.0.1:{detector}",
                        f"{NAME}-decision.{NAMESPACE}.svc.cluster.local:80": f"127.0.0.1:{decision}",
                    }
                )
            )
            (run / "objects.json").write_text(
                json.dumps({"revision": "bench", "objects": objects()})
            )
            environment = {
                "NATS_URL": url(self.server),
                "NATS_READER_URL": url(self.server),
                "PYTHONPATH": str(ROOT / "pipeline"),
                "DRIFTLOOP_WEBHOOK_TOKEN": TOKEN,
                "NO_PROXY": "127.0.0.1",
            }
            self.broker = Process(
                [sys.executable, "-m", "driftloop.local.knative", "--state", str(self.folder)],
                self.folder / "broker.log",
                ports["broker"],
                "/healthz",
            ).start(120)
            started.append(self.broker)
            who = ["--namespace", NAMESPACE, "--pipeline", NAME]
            argv = [
                str(monitor_python()),
                "-m",
                "driftloop.services.detector",
                "serve",
                "--port",
                str(detector),
                *who,
            ]
            argv += ["--detector", "drift", "--release", RELEASE, "--config", self._config()]
            argv += ["--artifact", str(self.folder / "detector")]
            argv += ["--broker", f"http://127.0.0.1:{ports['broker']}/{NAMESPACE}/default"]
            self.detector = Process(
                argv, self.folder / "detector.log", detector, "/healthz", environment
            ).start(120)
            started.append(self.detector)
            argv = [
                sys.executable,
                "-m",
                "driftloop.services.decision",
                "--port",
                str(decision),
                *who,
            ]
            argv += ["--policy", json.dumps({"consecutive": 2, "on": ["drift"]})]
            argv += ["--webhook", f"http://127.0.0.1:{webhook}/retrain"]
            argv += ["--broker", f"http://127.0.0.1:{ports['broker']}/{NAMESPACE}/default"]
            self.decision = Process(
                argv, self.folder / "decision.log", decision, "/healthz", environment
            ).start(120)
            started.append(self.decision)
            deadline = time.monotonic() + 10
            while not (run / "broker.json").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            refused = json.loads((run / "broker.json").read_text())["refused"]
            assert not refused, refused
            yield self
        finally:
            for process in reversed(started):
                process.kill()

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU each process has used."""
        processes = {
            "nats": self.server.pid,
            "broker": self.broker.pid,
            "detector": self.detector.pid,
        }
        used = {
            name: psutil.Process(pid).cpu_times()
            for name, pid in {**processes, "load": os.getpid()}.items()
        }
        return {name: times.user + times.system for name, times in used.items()}

    def _config(self) -> str:
        return json.dumps(
            {"kind": self.kind, "window": self.window, "alarmRate": 0.001, "on": "request"}
        )

    def _fit(self) -> None:
        """What `driftloop-detector fit` leaves behind, without its process."""
        rows = np.random.default_rng(0).normal(size=(1000, WIDTH)).astype(np.float32)
        folder = self.folder / "detector"
        folder.mkdir()
        np.savez_compressed(folder / "reference.npz", rows=rows)
        (folder / "detector.json").write_text(
            json.dumps({"version": 1, **json.loads(self._config()), "seed": 0})
        )


def objects() -> list[dict[str, Any]]:
    """A Broker and the Triggers of one pipeline with one detector."""
    delivery = {
        "retry": 8,
        "backoffPolicy": "linear",
        "backoffDelay": "PT0.5S",
        "timeout": "PT10S",
    }

    def trigger(name: str, service: str, attributes: dict[str, str]) -> dict[str, Any]:
        subscriber = {"ref": {"apiVersion": "v1", "kind": "Service", "name": service}}
        return {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "broker": "default",
                "filter": {"attributes": attributes},
                "subscriber": subscriber,
                "delivery": delivery,
            },
        }

    wanted = {
        "type": "io.seldon.serving.inference.request",
        "inferenceservicename": NAME,
        "endpoint": RELEASE,
    }
    return [
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Broker",
            "metadata": {"name": "default", "namespace": NAMESPACE},
            "spec": {},
        },
        trigger(f"{NAME}-drift", f"{NAME}-drift", wanted),
        trigger(f"{NAME}-decision", f"{NAME}-decision", {"type": "dev.driftloop.drift"}),
    ]


class Traffic:
    """Requests as the logger posts them: keep-alive connections, one event at a time on each."""

    def __init__(self, port: int, connections: int, seed: int = 1) -> None:
        self._port = port
        self._connections = connections
        self._random = np.random.default_rng(seed)
        self._ids = Random(seed)

    def body(self, shift: float) -> bytes:
        row = np.round(self._random.normal(size=WIDTH) + shift, 3).tolist()
        return json.dumps({"data": {"ndarray": [row]}}, separators=(",", ":")).encode()

    def message(self, body: bytes) -> bytes:
        id = str(uuid.UUID(int=self._ids.getrandbits(128)))
        head = (
            f"POST /{NAMESPACE}/default HTTP/1.1\r\nhost: broker-ingress.knative-eventing.svc.cluster.local\r\n"
            f"content-type: application/json\r\nce-specversion: 1.0\r\nce-id: {id}\r\nce-source: http://:8000/\r\n"
            f"ce-type: io.seldon.serving.inference.request\r\nce-requestid: {id}\r\nce-namespace: {NAMESPACE}\r\n"
            f"ce-inferenceservicename: {NAME}\r\nce-endpoint: {RELEASE}\r\nce-modelid: model\r\nce-protocol: seldon\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def send(self, messages: list[bytes], *, rate: float | None = None) -> float:
        """Post them all (at `rate` a second); when the last one was posted. Every answer must be 202."""
        pending = iter(messages)
        started = time.monotonic()
        sent = 0
        last = started

        async def connection() -> None:
            nonlocal sent, last
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            for message in pending:
                number = sent
                sent += 1
                if rate is not None:
                    await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
                writer.write(message)
                last = time.monotonic()
                answer = await reader.readuntil(b"\r\n\r\n")
                assert b" 202 " in answer[:16], answer
                if b"Content-Length: 0" not in answer:
                    length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
            writer.close()

        await asyncio.gather(*(connection() for _ in range(self._connections)))
        return last


async def raw(js: JetStreamContext, bodies: list[bytes], label: str) -> float:
    """Messages a second that nats-py publishes with acknowledgement and then fetches and acknowledges."""
    await js.add_stream(name=f"RAW{label}", subjects=[f"raw.{label}"])
    gate = asyncio.Semaphore(256)

    async def one(body: bytes) -> None:
        async with gate:
            await js.publish(f"raw.{label}", body)

    started = time.monotonic()
    await asyncio.gather(*(one(body) for body in bodies))
    config = ConsumerConfig(max_ack_pending=2000)
    subscription = await js.pull_subscribe(
        f"raw.{label}", durable=f"raw{label}", stream=f"RAW{label}", config=config
    )
    left = len(bodies)
    while left:
        messages = await subscription.fetch(256, timeout=5)
        for message in messages:
            await message.ack()
        left -= len(messages)
    took = time.monotonic() - started
    await js.delete_stream(f"RAW{label}")
    return len(bodies) / took


async def judged(js: JetStreamContext) -> int:
    """Events covered by stored verdicts."""
    from nats.js.errors import NotFoundError

    try:
        last = await js.get_last_msg(
            "DRIFTLOOP_VERDICTS", f"driftloop.verdicts.{NAMESPACE}.{NAME}.drift.{RELEASE}"
        )
    except NotFoundError:
        return 0
    return int(json.loads(last.data or b"{}")["lastSequence"])


@contextlib.asynccontextmanager
async def webhook(calls: list[float]) -> AsyncIterator[int]:
    """Where the decision service posts; notes when."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        calls.append(time.monotonic())
        return web.Response(text="success")

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def main(arguments: argparse.Namespace) -> bool:
    """Measure and print; whether both targets hold."""
    calls: list[float] = []
    window = arguments.window
    with tempfile.TemporaryDirectory() as folder:
        async with webhook(calls) as port:
            platform = Platform(Path(folder), window, arguments.kind)
            with platform.running(port):
                async with open_connection(url(platform.server), name="bench") as js:
                    return await measure(arguments, platform, js, calls)


async def measure(
    arguments: argparse.Namespace, platform: Platform, js: JetStreamContext, calls: list[float]
) -> bool:
    """All figures of one run."""
    window = arguments.window
    traffic = Traffic(platform.broker.port, arguments.connections)
    total = max(window, arguments.events // window * window)
    bodies = [traffic.body(0.0) for _ in range(total)]
    before = await raw(js, bodies, "before")
    warm = [traffic.message(traffic.body(0.0)) for _ in range(2 * window)]
    await traffic.send(warm)
    await until(lambda: _covered(js, len(warm)), within=30)
    rates = []
    done = len(warm)
    for _ in range(arguments.rounds):
        messages = [traffic.message(body) for body in bodies]
        used = platform.cpu()
        started = time.monotonic()
        await traffic.send(messages)
        ingress = total / (time.monotonic() - started)
        done += total
        await until(lambda: _covered(js, done), within=120)  # noqa: B023
        rates.append(total / (time.monotonic() - started))
        print(
            f"round: {rates[-1]:,.0f} events/s to the stored verdict ({ingress:,.0f}/s accepted by the ingress)"
        )
        spent = ", ".join(
            f"{name} {(now - used[name]) / total * 1e6:.0f}" for name, now in platform.cpu().items()
        )
        print(f"  CPU microseconds an event: {spent}")
    after = await raw(js, bodies, "after")
    baseline = statistics.mean([before, after])
    share = statistics.median(rates) / baseline
    print(f"raw nats-py publish, then fetch: {before:,.0f}/s before, {after:,.0f}/s after")
    print(
        f"ingress to stored verdict ({arguments.kind}, {WIDTH} features, window {window}): "
        f"{statistics.median(rates):,.0f} events/s, {share:.0%} of raw (target {SHARE_TARGET:.0%})"
    )
    delays = await delay(arguments, traffic, js, calls, done)
    print(f"drift to webhook beyond window fill: {delays:.2f} s (target under {DELAY_TARGET:g} s)")
    return share >= SHARE_TARGET and delays < DELAY_TARGET


async def delay(
    arguments: argparse.Namespace,
    traffic: Traffic,
    js: JetStreamContext,
    calls: list[float],
    done: int,
) -> float:
    """Seconds from posting the last event that the second alarming window needs to the webhook's call."""
    window = arguments.window
    assert not calls, "the webhook was called on clean traffic"
    clean = [traffic.message(traffic.body(0.0)) for _ in range(window)]
    await traffic.send(clean, rate=arguments.rate)
    await until(lambda: _covered(js, done + window), within=60)
    drifted = [traffic.message(traffic.body(2.0)) for _ in range(2 * window)]
    filled = await traffic.send(drifted, rate=arguments.rate)
    await until(lambda: calls != [], within=30)
    return calls[0] - filled


async def _covered(js: JetStreamContext, events: int) -> bool:
    await asyncio.sleep(0.01)
    return await judged(js) >= events


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--window", type=int, default=200)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--rate", type=float, default=200.0, help="requests a second while the traffic turns"
    )
    parser.add_argument("--kind", default="ks")
    found, _ = parser.parse_known_args()
    return found


if __name__ == "__main__":
    sys.exit(0 if uvloop.run(main(options())) else 1)
