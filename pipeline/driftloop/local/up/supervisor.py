"""`driftloop up`: one process that starts the platform, applies the branch, restarts what dies,
stops all in order.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from driftloop.clients.nats import connect
from driftloop.errors import LocalError
from driftloop.local.flux import source
from driftloop.local.flux.reconciler import Reconciler
from driftloop.local.ground import addresses, leftovers, logs
from driftloop.local.ground.state import State, write_json
from driftloop.local.ground.timeline import Timeline
from driftloop.local.istio.xds import Front
from driftloop.local.kubelet import images
from driftloop.local.kubelet.fleet import Fleet, pod_folders
from driftloop.local.kubelet.process import Process, Program
from driftloop.local.up import platform
from driftloop.local.up.api import Api
from driftloop.local.up.history import History
from driftloop.local.up.storage import Storage

START = 60.0
"""Seconds that a platform part may take until it answers."""

CHECKS = 10.0
"""Seconds between two looks at the logs' sizes."""

_TOLD_DEATHS = 5


@dataclass(frozen=True)
class Options:
    """Options of `driftloop up`."""

    cluster: str = "dev"
    ports: Mapping[str, int] | None = None


class Supervisor:
    """Everything one `up` runs. Use `running()`; the state folder's lock must be held."""

    def __init__(self, state: State, options: Options, *, timeline: Timeline, say: Callable[[str], None]) -> None:
        self._state = state
        self._options = options
        self._timeline = timeline
        self._say = say
        self._started = time.time()
        self._parts: list[Process] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._deaths: dict[str, int] = {}
        self.ports: Mapping[str, int] = {}
        self.reconciler: Reconciler
        self._fleet: Fleet
        self._storage: Storage
        self._history = History(state.run / "history.json", timeline)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Supervisor"]:
        """The platform for the length of a `with`; everything is stopped at its end, however it
        ends.
        """
        state = self._state
        if count := await asyncio.to_thread(leftovers.stop, state):
            self._say(f"stopped {count} processes that an earlier run left behind")
        shutil.rmtree(pod_folders(state), ignore_errors=True)
        images.register_driftloop(state)
        self.ports = state.ports(self._options.ports)
        settings = platform.settings(state, self.ports)
        front = Front(
            state.run / "envoy", gateway=self.ports["gateway"], proxy=self.ports["proxy"], admin=self.ports["admin"]
        )
        self._fleet = Fleet(state, environment=addresses.proxies(self.ports), on_event=self._on_event)
        self.reconciler = Reconciler(
            state,
            repository=source.Repository(state.repository, addresses.BRANCH, state.trees),
            cluster=self._options.cluster,
            fleet=self._fleet,
            front=front,
            ports=self.ports,
            settings=settings,
            timeline=self._timeline,
        )
        runner: web.AppRunner | None = None
        client = None
        try:
            await self._start(platform.programs(state, self.ports, envoy_bootstrap=front.bootstrap))
            client = await connect(f"nats://127.0.0.1:{self.ports['nats']}", name="driftloop up")
            js = client.jetstream()
            api = Api(reconciler=self.reconciler, fleet=self._fleet, js=js, status=self.status)
            runner = web.AppRunner(api.application(), access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self.ports["api"]).start()
            self._task(self._history.follow(js), "history")
            self._task(self._look_after(), "look after")
            self._storage = Storage(
                state, monitor=self.ports["nats-monitor"], restart=lambda: self._end("nats"), timeline=self._timeline
            )
            self._task(self._storage.watch(), "storage")
            services = asyncio.create_task(self._start(platform.services(state, self.ports)))
            self._task(self.reconciler.run(), "reconciler")
            await services
            yield self
        finally:
            await self._stop(runner, client)

    async def wait_current(self, timeout: float) -> list[str]:  # noqa: ASYNC109
        """Wait until all of the tip runs; returns what is still missing when the time is over."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            reconciler = self.reconciler
            if reconciler.refused is not None:
                return [reconciler.refused]
            if reconciler.looked and not reconciler.waiting() and reconciler.stuck is None:
                return []
            await self.check()
            await asyncio.sleep(0.1)
        return self.reconciler.waiting()

    async def check(self) -> None:
        """LocalError when the state folder is gone; else raise what ended a background task, which
        is a bug.
        """
        if not self._state.exists():
            raise LocalError(
                f"{self._state.root} was deleted while it was in use: everything is stopped",
                hint="`driftloop up` starts afresh; next time `driftloop down` first",
            )
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def serve(self) -> None:
        """Run until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(1)

    def status(self) -> dict[str, Any]:
        """Return the values that `driftloop status` prints, without memory, which it measures
        itself.
        """
        reconciler = self.reconciler
        return {
            "state": str(self._state.root),
            "pid": os.getpid(),
            "uptime": round(time.time() - self._started, 1),
            "ports": dict(self.ports),
            "tip": reconciler.tip,
            "applied": reconciler.revision,
            "refused": reconciler.refused,
            "stuck": reconciler.stuck,
            "disk": self._storage.troubles(),
            "waiting": reconciler.waiting(),
            "processes": [
                {
                    "name": process.program.name,
                    "pid": process.pid,
                    "phase": process.phase,
                    "uptime": round(process.uptime, 1),
                    "restarts": process.restarts,
                    "lastExit": process.last_exit,
                    "log": str(process.program.log),
                }
                for process in (*self._parts, *self._fleet.processes())
            ],
            "verdicts": self._history.verdicts,
            "runs": self._history.runs,
            "decisions": self._history.decisions,
        }

    async def _start(self, programs: Sequence[Program]) -> None:
        """Start parts side by side.

        LocalError with the end of its log when one does not come up.
        """
        processes = [Process(program, mark=str(self._state.root), on_event=self._on_event) for program in programs]
        self._parts += processes
        for process in processes:
            process.start()
        for process in processes:
            try:
                await asyncio.wait_for(process.wait_ready(), START)
            except TimeoutError:
                why = process.last_exit or "it runs but does not answer"
                raise LocalError(
                    f"{process.program.name} did not come up within {START:.0f} s ({why}); its log ends:\n"
                    + logs.tail(process.program.log),
                    hint=f"the whole log is {process.program.log}",
                ) from None

    async def _stop(self, runner: web.AppRunner | None, client: Any) -> None:
        self._say("stopping")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if runner is not None:
            await runner.cleanup()
        by_name = {process.program.name: process for process in self._parts}
        # what makes work stops before what does it, and the stores last
        if (argo := by_name.pop("argo", None)) is not None:
            self._say("stopping argo")
            await argo.stop()
        if processes := self._fleet.processes():
            self._say(f"stopping {len(processes)} processes of pods")
        await self._fleet.stop()
        if client is not None:
            await client.close()
        for process in reversed(list(by_name.values())):
            self._say(f"stopping {process.program.name}")
            await process.stop()
        await asyncio.to_thread(leftovers.stop, self._state)
        self._say("stopped")

    async def _look_after(self) -> None:
        """Bound the logs."""
        while True:
            await asyncio.sleep(CHECKS)
            for log in self._state.logs.rglob("*.log"):
                logs.bound(log)

    def _end(self, part: str) -> None:
        """SIGTERM for a platform part, which is then started again."""
        for process in self._parts:
            if process.program.name == part and process.pid is not None:
                os.kill(process.pid, signal.SIGTERM)

    def _task(self, coroutine: Any, name: str) -> None:
        self._tasks.append(asyncio.create_task(coroutine, name=name))

    def _on_event(self, name: str, event: str) -> None:
        if event.startswith("ready"):
            return
        self._deaths[name] = count = self._deaths.get(name, 0) + 1
        if count <= _TOLD_DEATHS or count % 10 == 0:
            self._timeline.add("process", f"{name} {event}")


def record(state: State, supervisor: Supervisor) -> None:
    """Leave a note of what ran last, for `status` after the end."""
    if state.exists():
        write_json(state.run / "last.json", supervisor.status())
