"""The pods that run: replicas of every Deployment, started beside old ones, which are retired once
unused.
"""

import asyncio
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder, build_write_error, free_port
from driftloop.local.kubelet.pods import PlannedPod, place_replica
from driftloop.local.kubelet.process import SupervisedProcess

DRAIN = 1.0
"""Seconds between the last route to a replica and its SIGTERM: requests under way end, their events
are posted.
"""

Key = tuple[str, str]
"""(namespace, name) of a Deployment."""


def pods_folder(state: StateFolder) -> Path:
    """Return the folder of the pods' volumes, which is removed at the next start."""
    return state.work / "pods"


class PodReplica:
    """One pod: its init containers one after another, then its containers."""

    def __init__(
        self,
        pod: PlannedPod,
        *,
        state: StateFolder,
        index: int,
        ports: Mapping[int, int],
        environment: Mapping[str, str],
        on_event: Callable[[str, str], None],
    ) -> None:
        self.pod = pod
        self.ports = dict(ports)
        self.index = index
        self.error: str | None = None
        self.was_ready = False
        name = f"{pod.deployment}-{pod.digest}-{index}-{secrets.token_hex(2)}"
        self.folder = pods_folder(state) / pod.namespace / name
        init, containers = place_replica(
            pod, folder=self.folder, logs=state.logs, ports=self.ports, environment=environment
        )
        mark = str(state.root)
        self._init = [SupervisedProcess(program, mark=mark, on_event=on_event) for program in init]
        self.processes = [
            SupervisedProcess(program, mark=mark, on_event=on_event) for program in containers
        ]
        self._task = asyncio.create_task(
            self._run_containers(), name=f"pod {pod.namespace}/{pod.deployment}"
        )

    @property
    def all_processes(self) -> list[SupervisedProcess]:
        """Containers, and init containers that have not ended yet."""
        return [*(process for process in self._init if process.phase != "done"), *self.processes]

    @property
    def ready(self) -> bool:
        """True while all its containers answer their probes."""
        return all(process.ready for process in (*self._init, *self.processes))

    async def stop_replica(self) -> None:
        """Stop everything of it and forget its folders."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(
            *(process.stop_process() for process in (*self._init, *self.processes))
        )
        await asyncio.to_thread(shutil.rmtree, self.folder, True)

    async def _run_containers(self) -> None:
        for process in self._init:
            process.start_process()
            await process.wait_ready()
        for process in self.processes:
            process.start_process()
        for process in self.processes:
            await process.wait_ready()
        self.was_ready = True


class PodFleet:
    """All replicas of all Deployments.

    `sync` starts planned ones; `retire` stops those neither planned nor in use.
    """

    def __init__(
        self,
        state: StateFolder,
        *,
        environment: Mapping[str, str],
        on_event: Callable[[str, str], None],
    ) -> None:
        self._state = state
        self._environment = environment
        self._on_event = on_event
        self._planned: dict[Key, PlannedPod] = {}
        self._replicas: dict[Key, list[PodReplica]] = {}
        self._retiring: dict[PodReplica, asyncio.Task[None]] = {}
        self.failures: dict[Key, str] = {}

    def sync_pods(self, pods: Iterable[PlannedPod]) -> None:
        """Start the replicas that are missing.

        Old ones stay until `retire`, except under strategy Recreate.
        """
        self._planned = {pod.key: pod for pod in pods}
        for key, pod in self._planned.items():
            running = self._replicas.setdefault(key, [])
            if pod.recreate:
                old = [replica for replica in running if replica.pod.digest != pod.digest]
                for replica in old:
                    self._retire_replica(replica, drain=0.0)
                if any(replica.pod.key == key for replica in self._retiring):
                    continue
            indexes = {replica.index for replica in running if replica.pod.digest == pod.digest}
            for index in range(pod.replicas):
                if index not in indexes:
                    self._start_replica(key, pod, index)

    def is_current(self, key: Key) -> bool:
        """Return True when all replicas of the planned pod are ready."""
        pod = self._planned.get(key)
        if pod is None:
            return False
        # `was_ready` comes a moment after `ready`, and only then requests go there
        running = self._replicas.get(key, ())
        good = [
            replica
            for replica in running
            if replica.pod.digest == pod.digest and replica.was_ready and replica.ready
        ]
        return len(good) >= pod.replicas

    def list_serving(self, key: Key) -> tuple[PodReplica, ...]:
        """The replicas that requests go to: the planned ones once all have been ready, until then
        the old ones.
        """
        running = self._replicas.get(key, [])
        pod = self._planned.get(key)
        if pod is not None:
            new = tuple(
                replica
                for replica in running
                if replica.pod.digest == pod.digest
                and replica.index < pod.replicas
                and replica.was_ready
            )
            if len(new) >= pod.replicas:
                return new
            old = tuple(
                replica
                for replica in running
                if replica.pod.digest != pod.digest and replica.was_ready
            )
            return old or new
        return tuple(replica for replica in running if replica.was_ready)

    def retire_unused(self, *, keep: Collection[Key]) -> None:
        """Stop replicas that no request goes to any more.

        `keep` names Deployments that old routes still use.
        """
        for key, running in list(self._replicas.items()):
            if key in self._planned:
                if not self.is_current(key):
                    continue
                serving = set(self.list_serving(key))
                extra = [replica for replica in running if replica not in serving]
            elif key in keep:
                continue
            else:
                extra = list(running)
            for replica in extra:
                self._retire_replica(replica, drain=DRAIN)

    def list_processes(self) -> list[SupervisedProcess]:
        """Every process of every pod, also of those that are being stopped."""
        replicas = [replica for running in self._replicas.values() for replica in running]
        return [
            process for replica in (*replicas, *self._retiring) for process in replica.all_processes
        ]

    def list_replicas(self, key: Key) -> list[PodReplica]:
        """The replicas of one Deployment that are not being stopped."""
        return list(self._replicas.get(key, ()))

    def list_holding(self, ports: Collection[int]) -> set[Key]:
        """The Deployments that have a replica on one of these loopback ports."""
        return {
            key
            for key, running in self._replicas.items()
            for replica in running
            if not set(replica.ports.values()).isdisjoint(ports)
        }

    async def stop_all(self) -> None:
        """Stop everything."""
        for running in list(self._replicas.values()):
            for replica in list(running):
                self._retire_replica(replica, drain=0.0)
        await asyncio.gather(*self._retiring.values(), return_exceptions=True)

    def _start_replica(self, key: Key, pod: PlannedPod, index: int) -> None:
        ports: dict[int, int] = {}
        for port in pod.ports:
            ports[port] = free_port(taken=self._list_taken_ports() | set(ports.values()))
        try:
            replica = PodReplica(
                pod,
                state=self._state,
                index=index,
                ports=ports,
                environment=self._environment,
                on_event=self._on_event,
            )
        except LocalError as error:
            self.failures[key] = error.message
            return
        except OSError as error:
            self.failures[key] = build_write_error(self._state.work, error).message
            return
        self.failures.pop(key, None)
        self._replicas[key].append(replica)

    def _retire_replica(self, replica: PodReplica, *, drain: float) -> None:
        running = self._replicas[replica.pod.key]
        running.remove(replica)
        if not running and replica.pod.key not in self._planned:
            del self._replicas[replica.pod.key]

        async def end_replica() -> None:
            await asyncio.sleep(drain)
            await replica.stop_replica()
            self._retiring.pop(replica, None)

        self._retiring[replica] = asyncio.create_task(
            end_replica(), name=f"retire {replica.pod.deployment}"
        )

    def _list_taken_ports(self) -> set[int]:
        replicas = [replica for running in self._replicas.values() for replica in running]
        return {port for replica in (*replicas, *self._retiring) for port in replica.ports.values()}
