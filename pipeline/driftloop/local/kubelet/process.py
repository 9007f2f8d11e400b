"""One child process: in its own session and marked, probed, restarted when it dies, stopped with
all it started.
"""

import asyncio
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, assert_never

from driftloop.errors import LocalError
from driftloop.local.ground import child, logs
from driftloop.local.ground.addresses import short_path
from driftloop.local.ground.state import MARK

BACK_OFF = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Seconds before each restart; the last one repeats. One that was ready for a while starts over."""


@dataclass(frozen=True)
class HttpProbe:
    """Ready when GET answers 2xx or 3xx, or, with `refused`, at all."""

    port: int
    path: str = "/"
    timeout: float = 2.0
    refused: bool = False


@dataclass(frozen=True)
class TcpProbe:
    """Ready when the port accepts a connection."""

    port: int
    timeout: float = 2.0


@dataclass(frozen=True)
class SocketProbe:
    """Ready when GET at a Unix socket answers 2xx or 3xx."""

    socket: Path
    path: str
    timeout: float = 2.0


Probe = HttpProbe | TcpProbe | SocketProbe


@dataclass(frozen=True)
class LivenessCheck:
    """A program that answers no more, though it runs, is killed and started again."""

    probe: Probe
    period: float = 10.0
    """Seconds between two questions."""
    failures: int = 3
    """Unanswered ones in a row until it counts as dead."""


@dataclass(frozen=True)
class ProcessSpec:
    """One program to run.

    `once` is a program that ends (an init container): ready when it has ended with 0.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    probe: Probe | None = None
    liveness: LivenessCheck | None = None
    once: bool = False
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    steady: float = 10.0
    """Seconds that it must have been ready for its next death to count as the first."""


Phase = Literal["starting", "ready", "waiting", "done", "stopped"]


class SupervisedProcess:
    """A Program kept running. `on_event(name, what)` hears of starts, deaths and readiness."""

    def __init__(
        self,
        program: ProcessSpec,
        *,
        mark: str,
        on_event: Callable[[str, str], None] = lambda name, what: None,
    ) -> None:
        self.program = program
        self.restarts = 0
        self.phase: Phase = "starting"
        self.last_exit: str | None = None
        self._mark = mark
        self._on_event = on_event
        self._popen: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._ready_since: float | None = None
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return (
            self._popen.pid
            if self._popen is not None and self.phase in ("starting", "ready")
            else None
        )

    @property
    def uptime(self) -> float:
        """Seconds since the last start; 0 while it does not run."""
        return time.monotonic() - self._started if self.pid is not None else 0.0

    @property
    def ready(self) -> bool:
        """True while the probe answers (for `once`: after it ended with 0)."""
        return self.phase in ("ready", "done")

    def start_process(self) -> None:
        """Begin; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(
                self._keep_running(), name=f"process {self.program.name}"
            )

    async def wait_ready(self) -> None:
        """Return when it is ready for the first time."""
        await self._ready.wait()

    async def stop_process(self) -> None:
        """SIGTERM to the group, SIGKILL after the grace; returns when all of it is gone."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if (popen := self._popen) is not None:
            await child.end_session(popen, grace=self.program.grace)
        self.phase = "stopped"

    async def _keep_running(self) -> None:
        attempt = 0
        while not self._stopping:
            self.phase = "starting"
            self._ready_since = None
            try:
                popen = self._spawn_child()
            except OSError as error:
                self.last_exit = f"can't be started: {error.strerror or error}"
            except LocalError as error:
                self.last_exit = f"can't be started: {error.message}"
            else:
                probing = asyncio.create_task(self._run_probes())
                try:
                    code = await child.wait_exited(popen)
                finally:
                    probing.cancel()
                    await asyncio.gather(probing, return_exceptions=True)
                # what the dead one started must not keep its port
                await child.end_session(popen, grace=1.0)
                self.last_exit = child.describe_exit(code)
                if code > 0 and (last_line := logs.last_line(self.program.log)):
                    self.last_exit += f" after: {last_line[:400]}"
                if code == 0 and self.program.once:
                    self.phase = "done"
                    self._ready.set()
                    return
                if self._was_steady():
                    attempt = 0
            self.phase = "waiting"
            delay = BACK_OFF[min(attempt, len(BACK_OFF) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311
            attempt += 1
            self._on_event(self.program.name, f"{self.last_exit}; restart in {delay:.1f} s")
            await asyncio.sleep(delay)
            self.restarts += 1

    def _was_steady(self) -> bool:
        since = self._ready_since
        return since is not None and time.monotonic() - since >= self.program.steady

    def _spawn_child(self) -> subprocess.Popen[bytes]:
        program = self.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        logs.bound_log(program.log)
        program.cwd.mkdir(parents=True, exist_ok=True)
        with logs.open_log(program.log) as log:
            log.write(
                f"--- {time.strftime('%Y-%m-%dT%H:%M:%S%z')} start {program.argv[0]}\n".encode()
            )
            log.flush()
            env = {**program.env, MARK: self._mark}
            self._popen = child.spawn_child(program.argv, env=env, cwd=program.cwd, log=log)
        self._started = time.monotonic()
        return self._popen

    async def _run_probes(self) -> None:
        probe = self.program.probe
        if self.program.once:
            return
        while probe is not None and not await probe_answers(probe):  # noqa: ASYNC110
            await asyncio.sleep(0.1 if time.monotonic() - self._started < 10 else 0.5)
        self.phase = "ready"
        self._ready_since = time.monotonic()
        self._ready.set()
        self._on_event(self.program.name, f"ready after {time.monotonic() - self._started:.1f} s")
        if (liveness := self.program.liveness) is None:
            return
        failures = 0
        asked = time.monotonic()
        while failures < liveness.failures:
            await asyncio.sleep(max(0.0, asked + liveness.period - time.monotonic()))
            asked = time.monotonic()
            failures = 0 if await probe_answers(liveness.probe) else failures + 1
        if self._popen is not None:
            self._on_event(
                self.program.name, f"does not answer any more; killed after {failures} questions"
            )
            self._popen.kill()


async def probe_answers(probe: Probe) -> bool:
    """Return True when a probe succeeds now."""
    try:
        async with asyncio.timeout(probe.timeout):
            match probe:
                case TcpProbe(port=port):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return True
                case HttpProbe(port=port, path=path):
                    connection = await asyncio.open_connection("127.0.0.1", port)
                    host = f"localhost:{port}"
                    return await _answers_get(*connection, host, path, refused=probe.refused)
                case SocketProbe(socket=socket, path=path):
                    with short_path(socket) as short:
                        connection = await asyncio.open_unix_connection(short)
                    return await _answers_get(*connection, "localhost", path)
                case _:
                    assert_never(probe)
    except (OSError, TimeoutError, ValueError):
        return False


async def _answers_get(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    path: str,
    *,
    refused: bool = False,
) -> bool:
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status = (await reader.readline()).split()
        return len(status) > 1 and (refused or status[1][:1] in (b"2", b"3"))
    finally:
        writer.close()
