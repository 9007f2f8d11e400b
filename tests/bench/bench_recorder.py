"""What the recorder holds on one core, and what its memory is meanwhile.

    python tests/bench/bench_recorder.py [--events 40000] [--rate 2000] [--clients 32]

The recorder, and the process that writes its parts, may run on one core only; NATS, the object store and the load
have the others. Requests and answers of the digits model (64 numbers, 10 probabilities) are posted as the broker
posts them, at a rate, or as fast as they are acknowledged (`--rate 0`). Prints events a second that were
acknowledged, how long the last of them took to be in a file, and the largest resident memory of both processes
together. Exit code 1 when an event is in no file, or memory is above the target.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import monitor  # noqa: E402
from support.processes import until  # noqa: E402
from support.recorder import RecorderWorld, make_answer, make_request  # noqa: E402

from driftloop.clients import events  # noqa: E402

RATE_TARGET, MEMORY_TARGET = 2000.0, 300.0
"""Events a second on one core, and MiB."""
WIDTH, CLASSES = 64, 10


@dataclass
class MemoryWatch:
    """The largest resident memory of a process and its children together, in MiB."""

    pid: int
    largest: float = 0.0
    alone: list[float] = field(default_factory=list)
    """Of the process without children."""

    async def watch(self) -> None:
        """Look until cancelled."""
        own = psutil.Process(self.pid)
        while True:
            with contextlib.suppress(psutil.Error):
                first = own.memory_info().rss
                others = 0
                for child in own.children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        others += child.memory_info().rss
                self.largest = max(self.largest, (first + others) / 2**20)
                if not others:
                    self.alone.append(first / 2**20)
            await asyncio.sleep(0.05)


def encode(event: events.Event, port: int) -> bytes:
    """An event as it goes over the wire."""
    fields = {
        "Host": f"127.0.0.1:{port}",
        "Content-Length": str(len(event.body)),
        **events.to_http(event),
    }
    head = "\r\n".join(f"{name}: {value}" for name, value in fields.items())
    return f"POST / HTTP/1.1\r\n{head}\r\n\r\n".encode() + event.body


def make_messages(count: int, port: int) -> Iterator[bytes]:
    """Requests, each followed by its answer."""
    chance = random.Random(0)
    for number in range(count // 2):
        row = [float(chance.randrange(17)) for _ in range(WIDTH)]
        answer = [round(chance.random(), 6) for _ in range(CLASSES)]
        yield encode(make_request(f"id-{number}", [row]), port)
        yield encode(make_answer(f"id-{number}", [answer]), port)


async def send(messages: list[bytes], port: int, clients: int, rate: float) -> float:
    """Seconds until all are acknowledged; RuntimeError when one is not."""
    started = time.perf_counter()
    waiting = iter(enumerate(messages))

    async def post() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, message in waiting:
            if rate and (early := started + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 202"):
                raise RuntimeError(f"answered {head[:100]!r}")
        writer.close()

    await asyncio.gather(*(post() for _ in range(clients)))
    return time.perf_counter() - started


async def run(arguments: argparse.Namespace) -> bool:
    """Measure, print, and say whether the targets were met and nothing was lost."""
    releases = [{"id": "r1", "role": "production"}]
    with tempfile.TemporaryDirectory(prefix="bench-recorder-") as folder:
        settings = {"every": 5.0, "releases": releases}
        world = RecorderWorld(Path(folder), monitor.python(), settings, 512 * 2**20)
        world.start()
        try:
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(world.recorder.pid, {cores[-1]})
            for each in (world.nats.pid, world.s3.pid, os.getpid()):
                os.sched_setaffinity(each, set(cores[:-1] or cores))
            messages = list(make_messages(arguments.events, world.recorder.port))
            memory = MemoryWatch(world.recorder.pid)
            watching = asyncio.create_task(memory.watch())
            idle = psutil.Process(world.recorder.pid).memory_info().rss / 2**20
            before = psutil.Process(world.recorder.pid).cpu_times()
            took = await send(messages, world.recorder.port, arguments.clients, arguments.rate)
            started = time.perf_counter()
            await until(lambda: is_done(world, len(messages)), within=300, every=0.2)
            lag = time.perf_counter() - started
            after = psutil.Process(world.recorder.pid).cpu_times()
            watching.cancel()
            rows = world.read_rows()
            size = sum(file.stat().st_size for _, file in world.list_files())
        finally:
            world.kill()
    cpu = sum(after[:4]) - sum(before[:4])
    return show(len(messages), took, lag, cpu, memory, idle, len(rows), size)


async def is_done(world: RecorderWorld, count: int) -> bool:
    state = await world.read_state()
    return bool(state["counts"].get("events", 0) >= count and state["waiting"] == 0)


def show(
    count: int,
    took: float,
    lag: float,
    cpu: float,
    memory: MemoryWatch,
    idle: float,
    rows: int,
    size: int,
) -> bool:
    """The figures."""
    print(f"recorder: {count} events of requests with {WIDTH} numbers, one core")
    each = cpu / count * 1e6
    print(
        f"  acknowledged   {count / took:7.0f} events/s (target {RATE_TARGET:.0f}), {each:.0f} µs of CPU each"
    )
    print(f"  written        {lag:7.1f} s after the last of them")
    print(
        f"  memory         {idle:7.0f} MB idle, {memory.largest:.0f} MB at most with the writer (target {MEMORY_TARGET:.0f})"
    )
    print(f"  rows           {rows:7d} of {count // 2}, {size / max(1, rows):.0f} bytes each")
    return rows == count // 2 and memory.largest <= MEMORY_TARGET


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; 0: any")
    parser.add_argument("--clients", type=int, default=32)
    arguments, _ = parser.parse_known_args()
    print(json.dumps({"cores": os.cpu_count()}))
    sys.exit(0 if uvloop.run(run(arguments)) else 1)


if __name__ == "__main__":
    main()
