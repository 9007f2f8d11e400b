"""One child process: in its own session and marked, probed, restarted when it dies, stopped with all it started."""

import asyncio
import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, assert_never

from pipeline.runtimes.local.state import MARK

LARGEST_LOG = 8 * 1024 * 1024
"""Bytes after which a log file is moved aside; one older file is kept."""

BACK_OFF = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Seconds before each restart; the last one repeats. Running for a minute starts over."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class HttpProbe:
    """Ready when GET answers 2xx or 3xx."""

    port: int
    path: str = "/"
    timeout: float = 2.0


@dataclass(frozen=True)
class TcpProbe:
    """Ready when the port accepts a connection."""

    port: int
    timeout: float = 2.0


Probe = HttpProbe | TcpProbe


@dataclass(frozen=True)
class Liveness:
    """A program that answers no more, though it runs, is killed and started again."""

    probe: Probe
    period: float = 10.0
    """Seconds between two questions."""
    failures: int = 3
    """Unanswered ones in a row until it counts as dead."""


@dataclass(frozen=True)
class Program:
    """What to run. `once` is a program that ends (an init container): ready when it has ended with 0."""

    name: str
    argv: tuple[str, ...]
    log: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    probe: Probe | None = None
    liveness: Liveness | None = None
    once: bool = False
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""


Phase = Literal["starting", "ready", "waiting", "done", "stopped"]


class Process:
    """A Program kept running. `on_event(name, what)` hears of starts, deaths and readiness."""

    def __init__(
        self, program: Program, *, mark: str, on_event: Callable[[str, str], None] = lambda name, what: None
    ) -> None:
        self.program = program
        self.restarts = 0
        self.phase: Phase = "starting"
        self.last_exit: str | None = None
        self._mark = mark
        self._on_event = on_event
        self._popen: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._popen.pid if self._popen is not None and self.phase in ("starting", "ready") else None

    @property
    def uptime(self) -> float:
        """Seconds since the last start; 0 while it does not run."""
        return time.monotonic() - self._started if self.pid is not None else 0.0

    @property
    def ready(self) -> bool:
        """Whether the probe answers (for `once`: whether it ended well)."""
        return self.phase in ("ready", "done")

    def start(self) -> None:
        """Begin; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_running(), name=f"process {self.program.name}")

    async def wait_ready(self) -> None:
        """Return when it is ready for the first time."""
        await self._ready.wait()

    async def stop(self) -> None:
        """SIGTERM to the group, SIGKILL after the grace; returns when all of it is gone."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if (popen := self._popen) is not None:
            await _end(popen, self.program.grace)
        self.phase = "stopped"

    async def _keep_running(self) -> None:
        attempt = 0
        while not self._stopping:
            self.phase = "starting"
            try:
                popen = self._spawn()
            except OSError as error:
                self.last_exit = f"can't be started: {error.strerror or error}"
            else:
                probing = asyncio.create_task(self._probe())
                try:
                    await _exited(popen)
                finally:
                    probing.cancel()
                    await asyncio.gather(probing, return_exceptions=True)
                code = popen.wait()
                # what the dead one started must not keep its port
                await _end(popen, 1.0)
                self.last_exit = _described(code)
                if code == 0 and self.program.once:
                    self.phase = "done"
                    self._ready.set()
                    return
                if time.monotonic() - self._started > 60:
                    attempt = 0
            self.phase = "waiting"
            delay = BACK_OFF[min(attempt, len(BACK_OFF) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311
            attempt += 1
            self._on_event(self.program.name, f"{self.last_exit}; restart in {delay:.1f} s")
            await asyncio.sleep(delay)
            self.restarts += 1

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = self.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        bound_log(program.log)
        program.cwd.mkdir(parents=True, exist_ok=True)
        parent = os.getpid()
        with program.log.open("ab") as log:
            log.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%S%z')} start {program.argv[0]}\n".encode())
            log.flush()
            self._popen = subprocess.Popen(
                program.argv,
                env={**program.env, MARK: self._mark},
                cwd=program.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509 - no threads hold locks that it takes
            )
        self._started = time.monotonic()
        return self._popen

    async def _probe(self) -> None:
        probe = self.program.probe
        if self.program.once:
            return
        while probe is not None and not await answers(probe):  # noqa: ASYNC110
            await asyncio.sleep(0.1 if time.monotonic() - self._started < 10 else 0.5)
        self.phase = "ready"
        self._ready.set()
        self._on_event(self.program.name, f"ready after {time.monotonic() - self._started:.1f} s")
        if (liveness := self.program.liveness) is None:
            return
        failures = 0
        while failures < liveness.failures:
            await asyncio.sleep(liveness.period)
            failures = 0 if await answers(liveness.probe) else failures + 1
        if self._popen is not None:
            self._on_event(self.program.name, f"does not answer any more; killed after {failures} questions")
            self._popen.kill()


async def answers(probe: Probe) -> bool:
    """Whether a probe succeeds now."""
    try:
        async with asyncio.timeout(probe.timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", probe.port)
            try:
                match probe:
                    case TcpProbe():
                        return True
                    case HttpProbe(path=path):
                        request = f"GET {path} HTTP/1.1\r\nHost: localhost:{probe.port}\r\nConnection: close\r\n\r\n"
                        writer.write(request.encode())
                        status = (await reader.readline()).split()
                        return len(status) > 1 and status[1][:1] in (b"2", b"3")
                    case _:
                        assert_never(probe)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False


def bound_log(log: Path) -> None:
    """Move a log that has grown too large aside; a writer that appends goes on in the emptied file."""
    try:
        if log.stat().st_size > LARGEST_LOG:
            # on a full disk the old half is not worth keeping
            with contextlib.suppress(OSError):
                shutil.copyfile(log, log.with_suffix(log.suffix + ".1"))
            os.truncate(log, 0)
    except FileNotFoundError:
        pass


def group_members(group: int) -> list[int]:
    """Living processes of a process group (a session leader's session, here)."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _die_with(parent: int) -> None:
    """In the child, before exec: end when the supervisor ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


async def _exited(popen: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a child without a thread."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(popen.pid)
    ended = loop.create_future()

    def set_result() -> None:
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(descriptor, set_result)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _end(popen: subprocess.Popen[bytes], grace: float) -> None:
    """Stop a child and everything in its session."""
    sent = signal.SIGTERM
    deadline = time.monotonic() + grace
    while True:
        members = group_members(popen.pid)
        if not members:
            break
        if sent is signal.SIGTERM or time.monotonic() > deadline:
            for pid in members:
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    pass
            if time.monotonic() > deadline + 5:
                break
        if sent is signal.SIGTERM:
            sent = signal.SIGKILL
        await asyncio.sleep(0.05)
        popen.poll()
    popen.poll()


def _described(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"killed by {signal.Signals(-code).name}"
