"""Kills and freezes of the parts of a running instance, and what becomes of each: when it answers again, and how long
`status` says that all is well though it does not."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

import aiohttp
import psutil

from driftloop.demo.platform import DemoPlatform
from driftloop.local.ground.state import StateFolder

UP, MASTER, WORKER = "up", "model server's master", "model server's worker"
"""Parts that `status` does not list among its processes."""
EVERY = 1.0
"""Seconds between two looks at all parts."""
PATIENCE = 3.0
"""Seconds that a part may take to answer."""
PLATFORM = {
    "nats": ("nats-monitor", "/healthz"),
    "s3": ("s3", "/"),
    "envoy": ("gateway", "/"),
    "broker": ("broker", "/healthz"),
    "argo": ("webhook", "/health"),
}
"""Part -> name of its port, and a path that it answers whatever becomes of the others."""

MODEL_PORT = "PREDICTIVE_UNIT_HTTP_SERVICE_PORT"

How = Literal["kill", "freeze"]
SIGNALS: Mapping[How, signal.Signals] = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}


@dataclass
class Fault:
    """What was done to a part; times in seconds of `time.monotonic`."""

    part: str
    how: How
    pid: int
    time: float
    back: float | None = None
    """Seconds until another process of it answered; None: not yet."""


@dataclass
class Silence:
    """Stretches in which a part did not answer, and `status` said that it was ready."""

    since: dict[str, float] = field(default_factory=dict)
    longest: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    beyond: float = 0.0
    """Seconds of all stretches together that were over `bound`."""
    bound: float = 30.0

    def note(self, part: str, *, silent: bool, now: float, passed: float) -> None:
        """Count one look at a part, `passed` seconds after the one before."""
        if not silent:
            self.since.pop(part, None)
            return
        length = now - self.since.setdefault(part, now)
        self.longest[part] = max(self.longest[part], length)
        if length > self.bound:
            self.beyond += passed


def plan_faults(
    parts: Iterable[str], random: Random, *, kills: int, freezes: int, once: Iterable[str]
) -> list[tuple[str, How]]:
    """Return what is done to whom, in random order: every part as often as any other, those in `once` one time."""
    killed = [*once][:kills]
    names = sorted(set(parts) - set(once))
    killed += _draw(names, random, kills - len(killed))
    turns: list[tuple[str, How]] = [(part, "kill") for part in killed]
    turns += [(part, "freeze") for part in _draw(names, random, freezes)]
    random.shuffle(turns)
    return turns


def _draw(names: list[str], random: Random, count: int) -> list[str]:
    """Each name as often as any other, as far as the count goes."""
    rounds = [random.sample(names, len(names)) for _ in range(-(-count // len(names)))]
    return [name for each in rounds for name in each][:count]


class Instance:
    """What is seen of an instance from outside, whichever `up` runs it."""

    def __init__(self, platform: DemoPlatform, release: str) -> None:
        self.platform = platform
        self.status: dict[str, Any] | None = None
        self.faults: list[Fault] = []
        self.silence = Silence()
        self.answers: dict[str, bool] = {}
        self.blind: set[str] = set()
        """What `status` said that the loop does not see."""
        self._model = f"{platform.namespace}/{platform.name}-{release}"
        self._release = release

    @property
    def state(self) -> StateFolder:
        return self.platform.state

    def serves(self, part: str) -> bool:
        """Whether predictions go through a part."""
        return part in ("envoy", UP, MASTER, WORKER, self._model)

    def find_pids(self) -> dict[str, int]:
        """Return the process id of each part that runs now."""
        if self.status is None:
            return {}
        pids = {each["name"]: each["pid"] for each in self.status["processes"] if each["pid"]}
        pids[UP] = self.status["pid"]
        if self._model in pids:
            pids |= _find_workers(pids[self._model])
        return pids

    def injure(self, part: str, how: How) -> Fault | None:
        """Kill or freeze a part; None when it does not run just now."""
        pid = self.find_pids().get(part)
        if pid is None:
            return None
        try:
            os.kill(pid, SIGNALS[how])
        except ProcessLookupError:
            return None
        self.faults.append(fault := Fault(part, how, pid, time.monotonic()))
        return fault

    async def wait_back(self, within: float) -> None:
        """Wait until all that was hurt answers again, and wake what is still frozen after that."""
        for _ in range(round(within / EVERY)):
            if all(fault.back for fault in self.faults):
                return
            await asyncio.sleep(EVERY)
        for fault in self.faults:
            if fault.back is None and fault.how == "freeze":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(fault.pid, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look at all parts every second inside the `with`."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self) -> None:
        last = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        while True:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                await self._look(session, last)
            now = time.monotonic()
            await asyncio.sleep(max(0.0, last + EVERY - now))
            last = now

    async def _look(self, session: aiohttp.ClientSession, last: float) -> None:
        doors = self._list_doors()
        answers, self.status = await asyncio.gather(
            asyncio.gather(*(_is_answered(session, url) for url in doors.values())),
            self._read_status(session),
        )
        self.answers = dict(zip(doors, answers, strict=True))
        self.blind |= set((self.status or {}).get("blind", ()))
        now, pids = time.monotonic(), self.find_pids()
        for fault in self.faults:
            part = self._door_of(fault.part)
            if (
                fault.back is None
                and self.answers.get(part)
                and pids.get(fault.part) not in (None, fault.pid)
            ):
                fault.back = now - fault.time
        phases = (
            {}
            if self.status is None
            else {each["name"]: each["phase"] for each in self.status["processes"]}
        )
        for part, answered in self.answers.items():
            silent = not answered and phases.get(part) == "ready"
            self.silence.note(part, silent=silent, now=now, passed=now - last)

    def _door_of(self, part: str) -> str:
        """The part whose answer shows that this one is back."""
        if part == UP:
            return "envoy"
        return self._model if part in (MASTER, WORKER) else part

    def _list_doors(self) -> dict[str, str]:
        """Return an URL of each part that answers while it can."""
        ports = self.state.known_ports()
        doors = {
            part: f"http://127.0.0.1:{ports[port]}{path}" for part, (port, path) in PLATFORM.items()
        }
        try:
            addresses: dict[str, str] = json.loads(self.state.addresses.read_text())
        except FileNotFoundError:
            addresses = {}
        for each in (self.status or {}).get("processes", ()):
            name = each["name"].partition("/")[2]
            address = addresses.get(f"{name}.{self.platform.namespace}.svc.cluster.local:80")
            if address is not None:
                doors[each["name"]] = f"http://{address}/healthz"
            elif each["name"] == self._model and each["pid"]:
                with contextlib.suppress(psutil.Error, KeyError):
                    port = psutil.Process(each["pid"]).environ()[MODEL_PORT]
                    doors[each["name"]] = f"http://127.0.0.1:{port}/health/ping"
        return doors

    async def _read_status(self, session: aiohttp.ClientSession) -> dict[str, Any] | None:
        try:
            async with session.get(
                f"http://127.0.0.1:{self.platform.read_port('api')}/status"
            ) as answer:
                status: dict[str, Any] = await answer.json()
                return status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None


def _find_workers(pid: int) -> dict[str, int]:
    """Return the process of a model server that answers requests, and the one that starts it anew."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return {}
    parents = {child.pid: child.ppid() for child in children if child.is_running()}
    for child, parent in parents.items():
        if parent in parents:
            return {MASTER: parent, WORKER: child}
    return {}


async def _is_answered(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether somebody answers, whatever the answer is."""
    try:
        async with session.get(url) as answer:
            await answer.read()
            return True
    except (aiohttp.ClientError, TimeoutError):
        return False
