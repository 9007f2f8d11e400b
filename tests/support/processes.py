"""Real servers for tests: a NATS server on a free port, and the programs under test as child processes."""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from driftloop.contract.platform import NATS
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import PARTS, StateFolder, is_free

NATS_SERVER = Path(sys.executable).with_name("nats-server")

PATIENCE = 90.0
"""Seconds in which something must have happened that takes an instant: ten times what a program of ours takes
to start on a busy machine. It costs nothing where it happens."""


_ports = itertools.count(os.getpid())


def free_port() -> int:
    """A port nobody listens on now, and no test that runs beside asks for.

    The kernel gives its own choice (port 0) to the next connection that leaves the machine, too, so a
    server that starts a moment later may find it taken. These lie below its range and `up`'s, and
    each of pytest's workers has its own thousand of them.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 9
    while True:
        port = 11000 + worker * 1000 + next(_ports) % 1000
        if is_free(port):
            return port


def place_ports(state: StateFolder) -> None:
    """Write ports into a state folder that no `up` of a test beside it has chosen; its own takes them over."""
    state.ports_file.write_text(json.dumps({part: free_port() for part in PARTS}))


@dataclass
class Process:
    """A child that can be killed and started again with the same arguments."""

    argv: list[str]
    log: Path
    port: int
    health: str | None = None
    """Path that answers 200 when it is ready; None: an open port is enough."""
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """Working folder; None: that of the test."""
    _child: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def start(self, wait: float = PATIENCE) -> "Process":
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.argv,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + wait
        while not self._ready():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.argv} did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def beside(self, log: Path) -> "Process":
        """The same program once more, on a port of its own (`--port`)."""
        port, argv = free_port(), list(self.argv)
        argv[argv.index("--port") + 1] = str(port)
        return Process(argv, log, port, self.health, self.environment, self.folder)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """SIGTERM, and wait until it is gone; its exit code, None when it never ran."""
        self._end(signal.SIGTERM)
        return self._child.returncode if self._child is not None else None

    def _end(self, number: int) -> None:
        if self._child is not None and self._child.poll() is None:
            os.killpg(self._child.pid, number)
            self._child.wait(PATIENCE)

    def _ready(self) -> bool:
        if self.health is None:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        try:
            opener = build_opener(ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{self.port}{self.health}", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


def nats(folder: Path) -> Process:
    """A NATS server with JetStream whose store survives its restarts; `url(process)` is its address."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    argv = [
        str(NATS_SERVER),
        "-js",
        "-sd",
        str(folder / "store"),
        "-a",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    return Process(argv, folder / "nats.log", port)


def url(server: Process) -> str:
    """Return the URL of a NATS server."""
    return f"nats://127.0.0.1:{server.port}"


def tell_nats(folder: Path, server: Process) -> None:
    """Write the URL of a NATS server into the settings of a state folder, for programs of ours."""
    state = StateFolder.open_folder(folder)
    state.run.mkdir(exist_ok=True)
    LocalSettings({NATS.key: url(server)}, {}).save(state)


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(
    condition, *, within: float = PATIENCE, every: float = 0.02, what: str = "it"
) -> None:  # type: ignore[no-untyped-def]
    """Wait until `condition()` (plain or async) is true."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < deadline, f"{what} did not happen within {within} s"
        await asyncio.sleep(every)
