"""The console with many pipelines: time and size of each page, and memory, while twenty people look.

    .venv/bin/python tests/bench/bench_console.py

Pipelines, releases and windows are stored records in a real repository and object store; what a running platform
would say of them is made up. The console is a process of its own. Its targets are 200 ms and 300 KB a page, and
120 MB (proportional set size). Exit code 1 when one is missed.
"""

import argparse
import asyncio
import contextlib
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.console_world import StoredSource, make_window, recent, tell_verdicts  # noqa: E402

from driftloop.console.access import AccessKey  # noqa: E402
from driftloop.console.serving import build_console, listen, serve  # noqa: E402
from driftloop.contract.outcomes import RunOutcome  # noqa: E402
from driftloop.contract.verdicts import WindowRecord  # noqa: E402
from driftloop.local.ground import memory  # noqa: E402
from driftloop.local.ground.binaries import find_rclone  # noqa: E402
from driftloop.local.ground.state import StateFolder, free_port  # noqa: E402
from driftloop.operations.watching.verdict_windows import (  # noqa: E402
    JudgedWindow,
    ReadWindows,
    shorten_window,
)
from driftloop.release import record  # noqa: E402
from driftloop.release.record import Release  # noqa: E402

if TYPE_CHECKING:
    from support.stored_runs import Shelf

SECONDS, SIZE, MEMORY = 0.2, 300_000, 120.0
COLUMNS = 12
RUNS = 100


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pipelines", type=int, default=50)
    parser.add_argument("--windows", type=int, default=200, help="of each pipeline")
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve_world(arguments)
        return 0
    with tempfile.TemporaryDirectory() as folder, run_store(Path(folder)) as url:
        began = time.monotonic()
        shelf = build_world(Path(folder), url, arguments.pipelines)
        print(f"  {arguments.pipelines} pipelines made in {time.monotonic() - began:.0f} s")
        return measure(shelf.home, arguments)


@contextlib.contextmanager
def run_store(folder: Path) -> Iterator[str]:
    """An object store for the length of a `with`."""
    from tests.steps.conftest import KEY, SECRET, start, stop

    address = f"127.0.0.1:{(port := free_port())}"
    (folder / "s3").mkdir()
    keys = ["--auth-key", f"{KEY},{SECRET}"]
    process = start(
        [str(find_rclone()), "serve", "s3", "--addr", address, *keys, str(folder / "s3")], port
    )
    try:
        yield f"http://{address}"
    finally:
        stop(process)


def build_world(folder: Path, url: str, pipelines: int) -> "Shelf":
    """Pipelines with a release each, and runs of the first."""
    from support.stored_runs import Shelf

    from driftloop.operations.commits import releases
    from driftloop.operations.commits.releases import TransitionMessage
    from tests.pipelines import SPEC, version

    (folder / "home").mkdir()
    shelf = Shelf.open(folder / "home", url)
    repository = shelf.repository
    for number in range(1, pipelines):
        text = SPEC.replace("name: digits", f"name: {name_pipeline(number)}")
        releases.commit_spec(repository, text)
    for number in range(pipelines):
        made = version(f"{name_pipeline(number)}-1111")

        def release_first(release: Release, made: record.Version = made) -> Release:
            return record.release_first(release, made)

        message = TransitionMessage(
            "Release", made, "person eve", outcome=RunOutcome.now("released", "first")
        )
        releases.commit_transition(
            repository, name_pipeline(number), release_first, lambda _, __, why=message: why
        )
    for number in range(min(RUNS, 2 * pipelines)):
        shelf.put_run(f"digits-{number:04x}", outcome=RunOutcome.now("refused", "accuracy 0.6"))
    return shelf


def name_pipeline(number: int) -> str:
    """The name of a pipeline."""
    return "digits" if number == 0 else f"pipeline-{number}"


def make(name: str, window: int, windows: int) -> WindowRecord:
    """A window of a pipeline."""
    columns = {f"column-{each}": 0.01 * each + 0.1 * (window % 7 == 0) for each in range(COLUMNS)}
    return make_window(window, at=recent(windows - window), alarm=window % 50 == 0, columns=columns)


class ManyWindows(StoredSource):
    """Windows that are made when they are read: a console holds none of them in full."""

    def __init__(self, state: StateFolder, pipelines: int, windows: int) -> None:
        super().__init__(state)
        self._pipelines, self._windows = pipelines, windows

    def read_windows(self, after: int, most: int) -> ReadWindows:
        last = self._pipelines * self._windows
        found = [self._shorten(number) for number in range(max(after, last - most) + 1, last + 1)]
        return ReadWindows(tuple(found), last)

    def _shorten(self, number: int) -> JudgedWindow:
        name = name_pipeline((number - 1) % self._pipelines)
        record = make(name, (number - 1) // self._pipelines + 1, self._windows)
        return shorten_window(record, number, namespace=name, pipeline=name)


def serve_world(arguments: argparse.Namespace) -> None:
    """Serve the world with its windows; `reads` counts how often the platform was asked."""
    state = StateFolder.open_folder(arguments.serve / ".driftloop")
    source = ManyWindows(state, arguments.pipelines, arguments.windows)
    assert source.status is not None
    for number in range(arguments.pipelines):
        name = name_pipeline(number)
        source.status["decisions"][f"{name}.{name}"] = "idle"
        source.status["loops"][f"{name}.{name}"] = "waits for 2 alarms in a row of drift"
        source.records = [(name, name, make(name, arguments.windows, arguments.windows))]
        tell_verdicts(source)
    key = AccessKey(arguments.port, "k" * 43)
    console = build_console(source, key, state=state, place=(), environment={})
    with listen(arguments.port) as listener:
        asyncio.run(serve(console, listener, ready=lambda: print("ready", flush=True)))


def measure(home: Path, arguments: argparse.Namespace) -> int:
    """Measure pages and memory of a console in a process of its own; its exit code."""
    port = free_port()
    words = ["--serve", str(home), "--port", str(port), "--pipelines", str(arguments.pipelines)]
    command = [sys.executable, __file__, *words, "--windows", str(arguments.windows)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ.copy()
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "ready"
        alone = weigh(child.pid)
        try:
            return report(child.pid, port, alone, arguments)
        finally:
            child.terminate()


def report(pid: int, port: int, alone: float, arguments: argparse.Namespace) -> int:
    """Print the figures; 1 when a target is missed."""
    cookie = open_session(port)
    done = threading.Event()
    threads = [
        threading.Thread(target=listen_to, args=(port, cookie, done))
        for _ in range(arguments.visitors)
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    while get(port, "/", cookie).count(b'id="pipeline-') < arguments.pipelines:
        time.sleep(0.5)
    print(f"  first look at everything: {time.monotonic() - began:.1f} s")
    ok = True
    home = f"/pipelines/{name_pipeline(arguments.pipelines - 1)}"
    for path in (
        "/",
        home,
        f"{home}/drift?monitor=drift",
        f"{home}/releases",
        f"{home}/rollout",
        "/runs",
        "/events",
    ):
        get(port, path, cookie)
        times, size = [], 0
        for _ in range(arguments.rounds):
            began = time.monotonic()
            size = len(get(port, path, cookie))
            times.append(time.monotonic() - began)
        median = statistics.median(times)
        good = median <= SECONDS and size <= SIZE
        ok = ok and good
        print(
            f"  {path:<36} {1000 * median:6.0f} ms ({1000 * max(times):.0f} at most) {size / 1000:7.0f} KB"
            f"{'' if good else '   missed'}"
        )
    used = weigh(pid)
    done.set()
    good = used <= MEMORY
    print(
        f"  memory  {alone:.0f} MB before anybody looked, {used:.0f} MB with {arguments.visitors} visitors (target {MEMORY:.0f})"
    )
    return 0 if ok and good else 1


def weigh(pid: int) -> float:
    """The proportional set size of a process in MB."""
    return memory.measure_shares([pid])[pid]


def open_session(port: int) -> str:
    """Open the printed address; the session's cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/enter?key={'k' * 43}")
    cookie = connection.getresponse().headers["set-cookie"]
    return cookie.partition(";")[0]


def get(port: int, path: str, cookie: str) -> bytes:
    """A page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return body


def listen_to(port: int, cookie: str, done: threading.Event) -> None:
    """Follow the stream of changes, as an open page does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/live", headers={"Cookie": cookie})
    answer = connection.getresponse()
    while not done.is_set() and answer.readline():
        pass


if __name__ == "__main__":
    sys.exit(main())
