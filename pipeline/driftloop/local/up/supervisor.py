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

from driftloop.clients.applications import build_runner
from driftloop.clients.nats import connect_client
from driftloop.contract.integrity import find_mismatch
from driftloop.contract.platform import NATS
from driftloop.contract.recorders import NICENESS
from driftloop.errors import LocalError
from driftloop.local.flux import source
from driftloop.local.flux.reconciler import Reconciler
from driftloop.local.ground import addresses, leftovers, logs
from driftloop.local.ground.kept import KeptFile
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder, write_json
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.istio.xds import EnvoyFront
from driftloop.local.kubelet import images
from driftloop.local.kubelet.fleet import PodFleet, pods_folder
from driftloop.local.kubelet.process import ProcessSpec, SupervisedProcess
from driftloop.local.up import platform
from driftloop.local.up.api import StandInApi
from driftloop.local.up.blindness import BlindnessWatch
from driftloop.local.up.history import RunHistory
from driftloop.local.up.notices import WebhookNotifier
from driftloop.local.up.storage import StorageWatch

START = 60.0
"""Seconds that a platform part may take until it answers."""

CHECKS = 10.0
"""Seconds between two looks at the logs' sizes."""

KEEP = 1.0
"""Seconds between two looks at the files that programs find the parts by."""

RECORDER_NICENESS = "5"
"""Recording waits for predictions, and catches up."""

_TOLD_DEATHS = 5


@dataclass(frozen=True)
class UpOptions:
    """Options of `driftloop up`."""

    cluster: str = "dev"
    ports: Mapping[str, int] | None = None
    notify: str | None = None
    """Address that people's notices are posted to; None: nobody is told."""


class Supervisor:
    """Everything one `up` runs. Use `running()`; the state folder's lock must be held."""

    def __init__(
        self,
        state: StateFolder,
        options: UpOptions,
        *,
        timeline: EventTimeline,
        say: Callable[[str], None],
    ) -> None:
        self._state = state
        self._options = options
        self._timeline = timeline
        self._say = say
        self._started = time.time()
        self._parts: list[SupervisedProcess] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._deaths: dict[str, int] = {}
        self._closed: str | None = None
        self.ports: Mapping[str, int] = {}
        self.reconciler: Reconciler
        self._fleet: PodFleet
        self._storage: StorageWatch
        self._blindness: BlindnessWatch
        self._notifier = WebhookNotifier(options.notify) if options.notify is not None else None
        notify = self._notifier.add_notice if self._notifier is not None else None
        self._history = RunHistory(state.history, timeline, notify)

    @contextlib.asynccontextmanager
    async def run_platform(self) -> AsyncIterator["Supervisor"]:
        """The platform for the length of a `with`; everything is stopped at its end, however it
        ends.
        """
        state = self._state
        if count := await asyncio.to_thread(leftovers.stop_leftovers, state):
            self._say(f"stopped {count} processes that an earlier run left behind")
        shutil.rmtree(pods_folder(state), ignore_errors=True)
        images.register_driftloop(state)
        self.ports = state.choose_ports(self._options.ports)
        settings = platform.build_settings(state, self.ports)
        front = EnvoyFront(
            state.run / "envoy",
            gateway=self.ports["gateway"],
            proxy=self.ports["proxy"],
        )
        self._fleet = PodFleet(
            state,
            environment={
                **addresses.proxy_environment(self.ports["proxy"]),
                NICENESS: RECORDER_NICENESS,
            },
            on_event=self._on_event,
        )
        self.reconciler = Reconciler(
            state,
            repository=source.ClusterRepository(state.repository, addresses.BRANCH, state.trees),
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
            await self._start_parts(
                platform.list_store_programs(state, self.ports, envoy_bootstrap=front.bootstrap)
            )
            client = await connect_client(
                LocalSettings.load(state)[NATS], name="driftloop up", on_closed=self._note_closed
            )
            js = client.jetstream()
            api = StandInApi(
                reconciler=self.reconciler, fleet=self._fleet, js=js, status=self.build_status
            )
            runner = build_runner(api.build_application())
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self.ports["api"]).start()
            self._start_task(self._history.follow_streams(js), "history")
            if self._notifier is not None:
                self._start_task(self._notifier.deliver_forever(), "notices")
            self._start_task(self._look_after(), "look after")
            self._start_task(self._keep_files(), "files")
            self._storage = StorageWatch(
                state,
                monitor=self.ports["nats-monitor"],
                restart=lambda: self._end_part("nats"),
                timeline=self._timeline,
            )
            self._start_task(self._storage.watch_disks(), "storage")
            self._blindness = BlindnessWatch(
                state.run, js=js, front=front, history=self._history, timeline=self._timeline
            )
            self._start_task(self._blindness.watch_forever(), "blindness")
            services = asyncio.create_task(
                self._start_parts(platform.list_service_programs(state, self.ports))
            )
            self._start_task(self.reconciler.run_forever(), "reconciler")
            await services
            yield self
        finally:
            await self._stop_all(runner, client)

    async def wait_current(self, timeout: float) -> list[str]:  # noqa: ASYNC109
        """Wait until all of the tip runs; returns what is still missing when the time is over."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            reconciler = self.reconciler
            if (reason := reconciler.refused or reconciler.missing) is not None:
                return [reason]
            if reconciler.looked and not reconciler.list_waiting() and reconciler.stuck is None:
                return []
            await self.check_health()
            await asyncio.sleep(0.1)
        return self.reconciler.list_waiting()

    def start_console(self) -> bool:
        """Start the console and return at once; False where it is not installed. It is started when
        everything else is up, which it shall not make slower."""
        program = platform.build_console_program(self._state, self.ports)
        if program is None:
            return False
        process = SupervisedProcess(program, mark=str(self._state.root), on_event=self._on_event)
        self._parts.append(process)
        process.start_process()
        return True

    async def check_health(self) -> None:
        """LocalError when the state folder is gone; else raise what ended a background task, which
        is a bug.
        """
        if self._closed is not None:
            raise LocalError(
                f"{self._closed}: everything is stopped",
                hint="`driftloop up` goes on where it was; `driftloop logs nats` may say more",
            )
        if not self._state.exists():
            raise LocalError(
                f"{self._state.root} was deleted while it was in use: everything is stopped",
                hint="`driftloop up` starts afresh; next time `driftloop down` first",
            )
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def serve_forever(self) -> None:
        """Run until cancelled."""
        while True:
            await self.check_health()
            await asyncio.sleep(1)

    def build_status(self) -> dict[str, Any]:
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
            "disk": self._storage.list_troubles(),
            "blind": self._blindness.list_spots(),
            "untold": self._notifier.list_troubles() if self._notifier is not None else [],
            "waiting": reconciler.list_waiting(),
            "altered": [
                f"{process.program.name}: {mismatch}"
                for process in self._fleet.list_processes()
                if not process.ready
                and (mismatch := find_mismatch(process.last_exit or "")) is not None
            ],
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
                for process in (*self._parts, *self._fleet.list_processes())
            ],
            "verdicts": self._history.verdicts,
            "unjudged": self._history.unjudged,
            "runs": self._history.runs,
            "decisions": self._history.decisions,
            "loops": self._history.loops,
        }

    async def _start_parts(self, programs: Sequence[ProcessSpec]) -> None:
        """Start parts side by side.

        LocalError with the end of its log when one does not come up.
        """
        processes = [
            SupervisedProcess(program, mark=str(self._state.root), on_event=self._on_event)
            for program in programs
        ]
        self._parts += processes
        for process in processes:
            process.start_process()
        for process in processes:
            try:
                await asyncio.wait_for(process.wait_ready(), START)
            except TimeoutError:
                why = process.last_exit or "it runs but does not answer"
                raise LocalError(
                    f"{process.program.name} did not come up within {START:.0f} s ({why}); its log ends:\n"
                    + logs.read_tail(process.program.log),
                    hint=f"the whole log is {process.program.log}",
                ) from None

    async def _stop_all(self, runner: web.AppRunner | None, client: Any) -> None:
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
            await argo.stop_process()
        if processes := self._fleet.list_processes():
            self._say(f"stopping {len(processes)} processes of pods")
        await self._fleet.stop_all()
        if client is not None:
            await client.close()
        for process in reversed(list(by_name.values())):
            self._say(f"stopping {process.program.name}")
            await process.stop_process()
        await asyncio.to_thread(leftovers.stop_leftovers, self._state)
        self._say("stopped")

    async def _look_after(self) -> None:
        """Bound the logs."""
        while True:
            await asyncio.sleep(CHECKS)
            for log in self._state.logs.rglob("*.log"):
                logs.bound_log(log)

    async def _keep_files(self) -> None:
        """Write the files again that programs find the parts by, should they be damaged."""
        kept = [
            KeptFile(file, self._timeline, mode=mode).adopt_text()
            for file, mode in ((self._state.ports_file, 0o644), (self._state.platform, 0o600))
        ]
        while True:
            await asyncio.sleep(KEEP)
            for file in kept:
                # a full disk, or a folder that is gone, is told of by others
                with contextlib.suppress(LocalError):
                    file.restore_text()

    def _end_part(self, part: str) -> None:
        """SIGTERM for a platform part, which is then started again."""
        for process in self._parts:
            if process.program.name == part and process.pid is not None:
                os.kill(process.pid, signal.SIGTERM)

    def _note_closed(self, reason: str) -> None:
        self._closed = reason

    def _start_task(self, coroutine: Any, name: str) -> None:
        self._tasks.append(asyncio.create_task(coroutine, name=name))

    def _on_event(self, name: str, event: str) -> None:
        if event.startswith("ready"):
            return
        self._deaths[name] = count = self._deaths.get(name, 0) + 1
        if count <= _TOLD_DEATHS or count % 10 == 0:
            self._timeline.add_entry("process", f"{name} {event}")


def write_last_status(state: StateFolder, supervisor: Supervisor) -> None:
    """Leave a note of what ran last, for `status` after the end."""
    if state.exists():
        write_json(state.run / "last.json", supervisor.build_status())
