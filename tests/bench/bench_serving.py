"""What the way through the gateway costs a prediction, and what logging every request and answer costs on top, and
recording them on top of that.

    python tests/bench/bench_serving.py [--seconds 15] [--clients 8] [--rounds 3] [--niceness 5]

One run, four ways to the same real model (the digits example, seldon-core-microservice), in turns, so that a busy
machine is busy for all: direct; through Envoy; through Envoy with the logger, which posts both bodies as CloudEvents to
the broker, which stores them on JetStream; the same with a recorder behind the broker, which writes both bodies as Parquet.
The recorder has the settings that a spec has without more words: a part is of 20,000 events, or five minutes old.
Nothing may be lost: the stored events are counted at the end, and the recorded rows, when a recorder that is started
with less patience has written what waited. Prints predictions/s, p50, p99, the ratios, the CPU that each part took for a
prediction, and how far the recorder was behind when a round ended.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import psutil
import uvloop

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import monitor  # noqa: E402
from support.processes import Process, free_port, nats, tell_nats, until, url  # noqa: E402
from support.recorder import PIPELINE, RecorderWorld  # noqa: E402

from driftloop.clients.nats import open_connection  # noqa: E402
from driftloop.contract.events import INFERENCE  # noqa: E402
from driftloop.contract.names import CLUSTER_DOMAIN  # noqa: E402
from driftloop.contract.recorders import NICENESS  # noqa: E402
from driftloop.contract.streams import RecorderStreams  # noqa: E402
from driftloop.local.ground import binaries  # noqa: E402
from driftloop.local.istio import envoy  # noqa: E402
from driftloop.local.istio.routes import EnvoyRoutes, LoggerSidecar, ServiceEndpoints  # noqa: E402
from driftloop.local.kubelet.environments import build_environment  # noqa: E402
from driftloop.local.up.supervisor import RECORDER_NICENESS  # noqa: E402
from driftloop.resources.serving.logger import RequestLogger, envoy_bootstrap  # noqa: E402

DIGITS = ROOT / "examples" / "digits"
BENCH = ROOT / ".driftloop" / "bench"
TARGET, RECORDED_TARGET = 0.7, 0.9
HOST = "digits-bench.bench.svc.cluster.local"
BROKER = "broker-ingress.knative-eventing.svc.cluster.local"
ENVS = ROOT / ".driftloop" / "envs"
STREAM = "KN_BENCH__DEFAULT"
RECORDED = "record"
"""Namespace of the recorder, which has a broker of its own there."""
WAYS = ("direct", "envoy", "logged", "recorded")


@dataclass(frozen=True)
class Round:
    """One way, measured once: latencies in seconds of all answers, and how long it took."""

    latencies: tuple[float, ...]
    seconds: float
    cpu: Mapping[str, float] = field(default_factory=dict)
    """Seconds of CPU by part."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, q: float) -> float:
        return sorted(self.latencies)[int(q * (len(self.latencies) - 1))]


def model() -> Path:
    """A folder with a really trained model.onnx, made on first use."""
    out = BENCH / "model"
    if not (out / "model.onnx").exists():
        out.mkdir(parents=True, exist_ok=True)
        data = BENCH / "batches"
        uv = Path(sys.executable).with_name("uv")
        command = [
            uv,
            "run",
            "--quiet",
            "--no-project",
            DIGITS / "batches.py",
            "labelled",
            "--to",
            data,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        env = build_environment(
            ENVS, [DIGITS / "trainer" / "requirements.txt"], python="3.11", name="trainer"
        )
        code = "from pathlib import Path; import sys, train; train.train(12, 0.001, Path(sys.argv[1]), Path(sys.argv[2]))"
        with (BENCH / "train.log").open("wb") as log:
            command = [env / "bin" / "python", "-c", code, data, out]
            subprocess.run(command, check=True, cwd=DIGITS / "trainer", stdout=log, stderr=log)
    return out


@dataclass(frozen=True)
class ServingPlatform:
    """URLs of each way, of NATS and of the recorder's state; processes by part."""

    addresses: Mapping[str, str]
    processes: Mapping[str, int]
    world: RecorderWorld

    def read_cpu(self) -> dict[str, float]:
        """Seconds of CPU so far by part, with those of its children that have ended."""
        found = {"load": sum(os.times()[:2])}
        for name, pid in self.processes.items():
            own = psutil.Process(pid)
            found[name] = sum(own.cpu_times()[:4])
            for child in own.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found[name] += sum(child.cpu_times()[:4])
        return found


@contextlib.contextmanager
def platform(folder: Path, niceness: str) -> Iterator[ServingPlatform]:
    """Everything running."""
    server = build_environment(
        ENVS, [DIGITS / "server" / "requirements.txt"], python="3.11", name="server"
    )
    parameters = [{"name": "model_uri", "value": str(model()), "type": "STRING"}]
    ports = {
        name: free_port()
        for name in ("model", "metrics", "broker", "gateway", "proxy", "logger", "recording")
    }
    stream = nats(folder / "nats")
    (folder / "run").mkdir()
    write(folder / "run" / "ports.json", {"nats": stream.port, "broker": ports["broker"]})
    tell_nats(folder, stream)
    broker = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "default", "namespace": "bench"},
    }
    write(
        folder / "run" / "objects.json",
        {"revision": "bench", "objects": [broker, *recorded_objects(broker)]},
    )
    configure(folder, ports)
    world = RecorderWorld(folder, monitor.python(), {}, 256 * 2**20, RECORDED)
    world.nats = stream
    recorder = f"digits-recorder.{RECORDED}.{CLUSTER_DOMAIN}:80"
    write(folder / "run" / "addresses.json", {recorder: f"127.0.0.1:{world.recorder.port}"})
    world.recorder.environment = {**world.environment, NICENESS: niceness}
    parts = {
        "nats": stream,
        "s3": world.s3,
        "recorder": world.recorder,
        "model": Process(
            [str(server / "bin" / "seldon-core-microservice"), "Digits", "--service-type", "MODEL"],
            folder / "model.log",
            ports["model"],
            "/health/status",
            {
                "PYTHONPATH": str(DIGITS / "server"),
                "GRPC_WORKERS": "0",
                "SELDON_LOG_LEVEL": "WARNING",
                "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(ports["model"]),
                "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(ports["metrics"]),
                "PREDICTIVE_UNIT_PARAMETERS": json.dumps(parameters),
            },
        ),
        "broker": Process(
            [sys.executable, "-m", "driftloop.local.knative", "--state", str(folder)],
            folder / "broker.log",
            ports["broker"],
        ),
        "envoy": Process(
            [
                *(
                    binaries.find_envoy(),
                    "-c",
                    str(folder / "envoy.json"),
                    "-l",
                    "warning",
                    "--use-dynamic-base-id",
                ),
                *("--concurrency", str(min(2, os.cpu_count() or 1))),
            ],
            folder / "envoy.log",
            ports["gateway"],
            folder=folder,
        ),
    }
    with contextlib.ExitStack() as stack:
        for part in parts.values():
            part.start()
            stack.callback(part.kill)
        gateway = f"http://127.0.0.1:{ports['gateway']}"
        addresses = {
            "direct": f"http://127.0.0.1:{ports['model']}/api/v1.0/predictions",
            "envoy": f"{gateway}/plain/api/v1.0/predictions",
            "logged": f"{gateway}/logged/api/v1.0/predictions",
            "recorded": f"{gateway}/recorded/api/v1.0/predictions",
            "nats": url(stream),
            "state": f"{world.address}/state",
        }
        yield ServingPlatform(addresses, {name: part.pid for name, part in parts.items()}, world)


def recorded_objects(broker: dict[str, object]) -> list[dict[str, object]]:
    """A Broker of a namespace of its own, and the recorder's Triggers."""

    def trigger(side: str) -> dict[str, object]:
        return {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": f"digits-recorder-{side}", "namespace": RECORDED},
            "spec": {
                "broker": "default",
                "filter": {"attributes": {"type": f"{INFERENCE}{side}"}},
                "subscriber": {
                    "ref": {"apiVersion": "v1", "kind": "Service", "name": "digits-recorder"}
                },
                "delivery": {
                    "retry": 8,
                    "backoffPolicy": "linear",
                    "backoffDelay": "PT0.5S",
                    "timeout": "PT10S",
                },
            },
        }

    own = {**broker, "metadata": {"name": "default", "namespace": RECORDED}}
    return [own, trigger("request"), trigger("response")]


def configure(folder: Path, ports: dict[str, int]) -> None:
    """The runtime's own Envoy configuration, with one route to the model and one to the logger before it."""
    loggers = {
        namespace: RequestLogger(
            service="digits-bench",
            namespace=namespace,
            deployment="digits",
            predictor="bench",
            node="model",
            protocol="seldon",
            broker_host=BROKER,
            broker_port=80,
            broker_path=f"/{namespace}/default",
            port=8000,
            model_port=9000,
            timeout=60,
        )
        for namespace in ("bench", RECORDED)
    }
    routes = EnvoyRoutes(
        services=(
            ServiceEndpoints(HOST, 8000, (ports["logger"],)),
            ServiceEndpoints(HOST, 8001, (ports["recording"],)),
            ServiceEndpoints(HOST, 9000, (ports["model"],)),
        ),
        virtual_services=(route("plain", 9000), route("logged", 8000), route("recorded", 8001)),
        loggers=tuple(
            LoggerSidecar(
                f"{namespace}/digits-bench",
                envoy_bootstrap(logger),
                ports["logger" if namespace == "bench" else "recording"],
                {9000: (ports["model"],)},
            )
            for namespace, logger in loggers.items()
        ),
        aliases={f"{BROKER}:80": ports["broker"]},
    )
    xds = folder / "xds"
    xds.mkdir()
    for name, resources in envoy.build_files(routes).items():
        (xds / f"{name}.json").write_text(envoy.format_document(resources)[0])
    found = envoy.build_bootstrap(str(xds), gateway=ports["gateway"], proxy=ports["proxy"])
    write(folder / "envoy.json", found)


def route(name: str, port: int) -> dict[str, object]:
    """A VirtualService for one way."""
    destination = {"destination": {"host": HOST, "port": {"number": port}}}
    http = {
        "match": [{"uri": {"prefix": f"/{name}/"}}],
        "rewrite": {"uri": "/"},
        "route": [destination],
    }
    return {
        "metadata": {"name": name, "namespace": "bench"},
        "spec": {"hosts": ["*"], "http": [http]},
    }


def write(file: Path, value: object) -> None:
    file.write_text(json.dumps(value))


class Caller:
    """One request in flight, the next one as soon as it is answered.

    A sync gunicorn closes each connection after its answer; a new one is then part of what the next request costs.
    """

    def __init__(self, address: tuple[str, int], request: bytes, until: float) -> None:
        self.latencies: list[float] = []
        self._address, self._request, self._until = address, request, until

    async def run(self) -> None:
        """Call until the time is over; RuntimeError on an answer that is not 200."""
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while (sent := time.perf_counter()) < self._until:
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection(*self._address)
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"answered {head[:200]!r}")
            fields = dict(line.split(b": ", 1) for line in head.lower().rstrip().split(b"\r\n")[1:])
            await reader.readexactly(int(fields[b"content-length"]))
            self.latencies.append(time.perf_counter() - sent)
            if fields.get(b"connection") == b"close":
                writer.close()
                reader = writer = None
        if writer is not None:
            writer.close()


async def measure(address: str, body: bytes, *, clients: int, seconds: float) -> Round:
    """`clients` callers, each with one request in flight, for `seconds`."""
    host, _, path = address.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    head = f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    request = head.encode() + b"\r\n\r\n" + body
    started = time.perf_counter()
    callers = [Caller((name, int(port)), request, started + seconds) for _ in range(clients)]
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(caller.run() for caller in callers))
    latencies = tuple(latency for caller in callers for latency in caller.latencies)
    return Round(latencies, time.perf_counter() - started)


async def stored(address: str) -> int:
    """Events on the broker's stream."""
    async with open_connection(address, name="bench") as js:
        return (await js.stream_info(STREAM)).state.messages


def one_row() -> list[float]:
    """The pixels of a real digit."""
    rows = BENCH / "clean.jsonl"
    if not rows.exists():
        BENCH.mkdir(parents=True, exist_ok=True)
        command = [
            Path(sys.executable).with_name("uv"),
            "run",
            "--quiet",
            "--no-project",
            DIGITS / "batches.py",
        ]
        subprocess.run([*command, "traffic", "--to", BENCH], check=True, stdout=subprocess.DEVNULL)
    pixels: list[float] = json.loads(rows.read_text().splitlines()[0])["x"]
    return pixels


async def run(seconds: float, clients: int, rounds: int, niceness: str) -> bool:
    """Measure, print, and say whether the target was met and nothing was lost."""
    pixels = await asyncio.to_thread(one_row)
    body = json.dumps({"data": {"ndarray": [pixels]}}).encode()
    found: dict[str, list[Round]] = {way: [] for way in WAYS}
    asked = late = 0
    with (
        tempfile.TemporaryDirectory(prefix="driftloop-bench-") as folder,
        platform(Path(folder), niceness) as running,
    ):
        addresses = running.addresses
        for way in WAYS:
            warm = await measure(addresses[way], body, clients=clients, seconds=1)
        asked = len(warm.latencies)
        await catch_up(running, 2 * asked)
        before = await stored(addresses["nats"])
        behind: list[tuple[int, float]] = []
        for _ in range(rounds):
            for way in WAYS:
                cpu = running.read_cpu()
                measured = await measure(addresses[way], body, clients=clients, seconds=seconds)
                if way == "recorded":
                    # what is left is taken before the next way is measured, and is this one's CPU
                    asked += len(measured.latencies)
                    late = 2 * asked - await taken(addresses["nats"])
                    behind.append((late, await catch_up(running, 2 * asked)))
                spent = {part: after - cpu[part] for part, after in running.read_cpu().items()}
                found[way].append(replace(measured, cpu=spent))
        expected = 2 * sum(len(measured.latencies) for measured in found["logged"])
        for _ in range(50):
            if (arrived := await stored(addresses["nats"]) - before) >= expected:
                break
            await asyncio.sleep(0.1)
        rows = await write_rest(running.world, asked)
    shown = show(found, clients=clients, seconds=seconds)
    show_cpu(found)
    late, took = max(behind)
    print(f"  at the end of a round {late} events were not taken yet, {took:.1f} s later all")
    print(f"  rows: {rows} recorded of {asked} expected")
    print(f"  events: {arrived} stored of {expected} expected")
    return shown and rows == asked and arrived == expected


async def taken(address: str) -> int:
    """Events that the recorder has taken: the broker delivers them no more."""
    name = RecorderStreams(RECORDED, PIPELINE).events_stream.name
    async with open_connection(address, name="bench") as js:
        return (await js.stream_info(name)).state.last_seq


async def catch_up(running: ServingPlatform, events: int, *, within: float = 120) -> float:
    """Seconds until so many events are taken and no part is being written; AssertionError after `within`."""
    started = time.perf_counter()
    address, world = running.addresses["nats"], running.world

    async def is_done() -> bool:
        return await taken(address) >= events and not await asyncio.to_thread(world.find_writers)

    await until(is_done, within=within, every=0.2)
    return time.perf_counter() - started


async def write_rest(world: RecorderWorld, asked: int, *, within: float = 120) -> int:
    """Have what waits written by a recorder with less patience; requests that are in a file with their answers."""
    argv = world.recorder.argv
    argv[argv.index("--config") + 1] = json.dumps({"every": 1.0})
    await asyncio.to_thread(world.recorder.kill)
    await asyncio.to_thread(world.recorder.start)
    state = f"{world.address}/state"

    async def is_done() -> bool:
        return await recorded(state) >= asked

    with contextlib.suppress(AssertionError):
        await until(is_done, within=within, every=0.2)
    return await recorded(state)


async def recorded(state: str) -> int:
    """Requests that the recorder has written with their answers."""
    async with aiohttp.ClientSession() as session, session.get(state) as answer:
        return int((await answer.json())["counts"].get("pairs", 0))


def show(found: dict[str, list[Round]], *, clients: int, seconds: float) -> bool:
    """The table; medians of the rounds."""
    rates = {
        way: statistics.median(measured.rate for measured in rounds)
        for way, rounds in found.items()
    }
    rounds = len(next(iter(found.values())))
    print(
        f"serving: digits model, {clients} clients, medians of {rounds} rounds of {seconds:g} s, {os.cpu_count()} cores"
    )
    names = {
        "direct": "direct to the model server",
        "envoy": "through Envoy",
        "logged": "through Envoy, events logged",
        "recorded": "the same, and recorded",
    }
    for way, name in names.items():
        p50 = 1000 * statistics.median(measured.quantile(0.5) for measured in found[way])
        p99 = 1000 * statistics.median(measured.quantile(0.99) for measured in found[way])
        print(
            f"  {name:<30} {rates[way]:7.0f} predictions/s   p50 {p50:5.1f} ms   p99 {p99:5.1f} ms"
        )
    kept = rates["logged"] / rates["envoy"]
    print(f"  Envoy keeps {rates['envoy'] / rates['direct']:.0%} of direct")
    print(f"  logging keeps {kept:.0%} of Envoy (target {TARGET:.0%})")
    recording = rates["recorded"] / rates["logged"]
    print(f"  recording keeps {recording:.0%} of logging (target {RECORDED_TARGET:.0%})")
    return kept >= TARGET and recording >= RECORDED_TARGET


def show_cpu(found: dict[str, list[Round]]) -> None:
    """CPU for a prediction, by part; of all rounds, with what was done after them."""
    parts = [part for part in found["direct"][0].cpu if part != "s3"]
    print(
        f"  {'µs of CPU for a prediction':<30}" + "".join(f"{part:>9}" for part in (*parts, "all"))
    )
    for way, rounds in found.items():
        count = sum(len(measured.latencies) for measured in rounds)
        each = [sum(measured.cpu[part] for measured in rounds) / count * 1e6 for part in parts]
        print(f"    {way:<28}" + "".join(f"{value:9.0f}" for value in (*each, sum(each))))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--niceness", default=RECORDER_NICENESS, help="of the recorder")
    args, _ = parser.parse_known_args()
    met = uvloop.run(run(args.seconds, args.clients, args.rounds, args.niceness))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
