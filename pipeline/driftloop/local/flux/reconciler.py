"""The reconciler: the branch tip becomes what runs, in Flux's order, and counts as applied when all
of it is current.

It is level-triggered: each turn compares the planned objects with the running ones and moves one
step. A refused commit leaves everything as it was; a new commit is read in the next turn, also
while an earlier one is applied.
"""

import asyncio
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

from driftloop.contract.names import service_host
from driftloop.errors import LocalError, PipelineError
from driftloop.local.flux import source
from driftloop.local.flux.commits import CommitWatch
from driftloop.local.flux.planning import (
    PlannedKustomization,
    ReadyCondition,
    collect_config_maps,
    list_unready,
    plan_kustomization,
)
from driftloop.local.flux.record import AppliedKustomization, AppliedRecord
from driftloop.local.flux.source import FluxDependency, ReadKustomization
from driftloop.local.ground import addresses, kinds
from driftloop.local.ground.kept import KeptFile
from driftloop.local.ground.own_values import OwnValues
from driftloop.local.ground.sentences import describe_cause
from driftloop.local.ground.state import StateFolder, free_port
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.istio import envoy
from driftloop.local.istio.routes import EnvoyRoutes, LoggerSidecar, ServiceEndpoints
from driftloop.local.istio.xds import EnvoyFront
from driftloop.local.kubelet.fleet import Key, PodFleet
from driftloop.local.kubelet.pods import PlannedPod
from driftloop.local.kubelet.values import ConfigValues

TURN = 0.2
"""Seconds between two looks at the branch and the processes."""

Object = Mapping[str, Any]
Address = tuple[str, int]
"""(host, port) of a Service port."""


class Reconciler:
    """Keeps one cluster's part of one repository running."""

    def __init__(
        self,
        state: StateFolder,
        *,
        repository: source.ClusterRepository,
        cluster: str,
        fleet: PodFleet,
        front: EnvoyFront,
        ports: Mapping[str, int],
        settings: tuple[Mapping[str, str], Mapping[str, str]],
        timeline: EventTimeline,
    ) -> None:
        self._state = state
        self._repository = repository
        self._cluster = cluster
        self._fleet = fleet
        self._front = front
        self._ports = ports
        self._config, self._secrets = settings
        self._timeline = timeline
        self._record = state.applied
        self._goal: str | None = None
        self._planned: dict[str, PlannedKustomization | ReadKustomization] = {}
        self._active: dict[str, PlannedKustomization] = {}
        self._revisions: dict[str, str] = {}
        self._routes: EnvoyRoutes | None = None
        self._used: frozenset[Key] = frozenset()
        self._routed: dict[Key, str] = {}
        self._logger_ports: dict[str, int] = {}
        self._objects = KeptFile(state.objects, timeline)
        self._addresses = KeptFile(state.addresses, timeline)
        self._noted: set[str] = set()
        self._complete: str | None = None
        self._logins: tuple[dict[str, Any], ...] = ()
        self._unsaved = False
        self._stuck: str | None = None
        self.looked = False
        """True once the branch has been read since the start."""
        self._restore_record()
        self._commits = CommitWatch(repository, timeline, applied=self._complete)

    @property
    def tip(self) -> str | None:
        """The commit that was looked at last."""
        return self._commits.tip

    @property
    def refused(self) -> str | None:
        """Error that keeps the tip, or a part of it, from being applied."""
        return self._commits.refused

    @property
    def missing(self) -> str | None:
        """Reason for which the branch has no commit to apply; None before the first one, too."""
        return self._commits.missing

    @property
    def stuck(self) -> str | None:
        """Error that keeps the tip from being read, or Envoy or a file from following."""
        return self._commits.missing or self._commits.failed or self._stuck

    @property
    def revision(self) -> str | None:
        """The last commit that was applied completely."""
        return self._complete

    @property
    def parts(self) -> Sequence[PlannedKustomization]:
        """Kustomizations that are applied or being applied."""
        return tuple(self._active.values())

    async def run_forever(self) -> None:
        """Turn for ever."""
        while True:
            try:
                await self.reconcile_once()
                self._stuck = None
            except PipelineError as error:
                if self._stuck != str(error):
                    self._stuck = str(error)
                    self._timeline.add_entry("platform", error.message, error.hint or "")
            except OSError as error:
                if self._stuck != str(error):
                    self._stuck = str(error)
                    self._timeline.add_entry("platform", f"can't go on yet: {error}")
            except Exception as error:
                # a bug here must not stop the models that run; it is told once, with its traceback
                if self._stuck != repr(error):
                    self._stuck = repr(error)
                    traceback.print_exc()
            await asyncio.sleep(TURN)

    async def reconcile_once(self) -> None:
        """One step towards the tip."""
        self._objects.restore_text()
        self._addresses.restore_text()
        if (tip := self._commits.find_due()) is not None:
            await self._try_commit(tip)
        self.looked = True
        if self._goal is None:
            return
        self._activate_ready()
        # what a commit leaves as it was is current at once, and so is what waits for it
        while self._settle_current():
            self._activate_ready()
        self._fleet.sync_pods(pod for part in self._active.values() for pod in part.pods)
        await self._apply_routes()
        self._fleet.retire_unused(keep=self._used)
        self._record_current()

    def get_condition(self, name: str) -> ReadyCondition | None:
        """The Ready condition of a Kustomization, or None when that name does not exist."""
        revision = self._revisions.get(name)
        planned = self._planned.get(name)
        if planned is None:
            return None
        if isinstance(planned, ReadKustomization) and planned.error is not None:
            return ReadyCondition(False, revision, planned.error.message)
        if revision == self._goal:
            return ReadyCondition(
                True, revision, f"Applied revision: {addresses.BRANCH}@sha1:{revision}"
            )
        return ReadyCondition(False, revision, self._find_waiting_reason(name))

    def map_deployments(self) -> dict[Key, PlannedPod]:
        """Every Deployment that is applied, also those of SeldonDeployments."""
        return {pod.key: pod for part in self._active.values() for pod in part.pods}

    def list_waiting(self) -> list[str]:
        """Return one line for each Kustomization that is not current."""
        return [
            f"{name}: {why}"
            for name in self._list_unsuspended()
            if (why := self._find_waiting_reason(name))
        ]

    def _list_unsuspended(self) -> list[str]:
        return [
            name
            for name, part in self._planned.items()
            if isinstance(part, ReadKustomization) or not part.kustomization.suspended
        ]

    async def _try_commit(self, tip: str) -> None:
        """Read a commit; after an error that says nothing about it, it is read again later."""
        again = self._commits.start_read(tip)
        try:
            await self._read_commit(tip, again=again)
        except source.SourceError as error:
            self._commits.postpone_commit(tip, error.message)
        except OSError as error:
            self._commits.postpone_commit(tip, str(error))
        except Exception as error:
            self._commits.postpone_commit(tip, repr(error))
            raise

    async def _read_commit(self, tip: str, *, again: bool) -> None:
        """Read and plan a commit; on any refusal what was there stays."""
        tree = await asyncio.to_thread(self._repository.check_out_tree, tip, anew=again)
        try:
            kustomizations = await asyncio.to_thread(
                source.read_kustomizations, tree, self._cluster
            )
            logins = await asyncio.to_thread(source.read_logins, tree, self._cluster)
        except LocalError as error:
            self._commits.refuse_commit(tip, [error])
            # nothing of this commit counts, but what was there may still be on its way
            return
        try:
            values = self._read_values(kustomizations)
        except LocalError as error:
            # the file of a person's own values is damaged, which says nothing about the commit
            self._commits.postpone_commit(tip, error.message)
            return
        planned = {
            entry.kustomization.name: plan_kustomization(self._state, entry, values)
            for entry in kustomizations
        }
        self._planned, self._goal = planned, tip
        if logins != self._logins:
            self._logins, self._unsaved = logins, True
        for entry in kustomizations:
            for note in entry.notes:
                if note not in self._noted:
                    self._noted.add(note)
                    self._timeline.add_entry("platform", note)
        errors = [
            part.error
            for part in planned.values()
            if isinstance(part, ReadKustomization) and part.error is not None
        ]
        if errors:
            self._commits.refuse_commit(tip, errors)
        else:
            self._commits.accept_commit(tip)

    def _read_values(self, kustomizations: Iterable[ReadKustomization]) -> ConfigValues:
        """Return what pods refer to; what a person has written is read anew each time."""
        own = OwnValues.load(self._state)
        return ConfigValues(collect_config_maps(kustomizations), self._config, self._secrets, own)

    def _activate_ready(self) -> None:
        """Let each Kustomization's new objects count once those it depends on are current."""
        for name in [name for name in self._active if name not in self._planned]:
            del self._active[name]
            self._revisions.pop(name, None)
        for name, part in self._planned.items():
            if isinstance(part, ReadKustomization) or part.kustomization.suspended:
                continue
            if all(map(self._is_ready, part.kustomization.depends_on)):
                self._active[name] = part
        objects = [item for name in sorted(self._active) for item in self._active[name].objects]
        self._objects.write_value({"revision": self._goal, "objects": objects})

    def _is_ready(self, dependency: FluxDependency) -> bool:
        if dependency.name not in self._planned:
            return True
        revision = self._revisions.get(dependency.name)
        return revision is not None if dependency.once else revision == self._goal

    async def _apply_routes(self) -> None:
        """Give Envoy the routes that are right now; a VirtualService moves only when all it names
        is current.
        """
        # Envoy is waited for below; what becomes ready meanwhile has no routes yet
        current = {
            key: pod.digest
            for key, pod in self.map_deployments().items()
            if self._fleet.is_current(key)
        }
        services = {(service.host, service.port): service for service in self._list_endpoints()}
        loggers = {logger.name: logger for logger in self._list_loggers()}
        used: set[Key] = set()
        chosen: list[Object] = []
        old = self._routes or EnvoyRoutes()
        before = {kinds.object_identity(item): item for item in old.virtual_services}
        owners = self._map_owners()
        for item in (item for part in self._active.values() for item in part.virtual_services):
            targets = envoy.list_destinations(item)
            keys = {key for address in targets for key in owners.get(address, ())}
            settled = (
                all(self._fleet.is_current(key) for key in keys)
                or before.get(kinds.object_identity(item)) == item
            )
            if settled and all(address in services for address in targets):
                chosen.append(item)
                continue
            previous = before.get(kinds.object_identity(item))
            if previous is None:
                continue
            chosen.append(previous)
            for kept in old.services:
                address = (kept.host, kept.port)
                if address in services or address not in envoy.list_destinations(previous):
                    continue
                services[address] = kept
                used |= self._fleet.list_holding(kept.ports)
                for logger in old.loggers:
                    if logger.port in kept.ports:
                        loggers.setdefault(logger.name, logger)
                        namespace, _, name = logger.name.partition("/")
                        used.add((namespace, name))
        routes = EnvoyRoutes(
            services=tuple(services.values()),
            virtual_services=tuple(chosen),
            unready=list_unready(self._planned.values(), chosen),
            logins=self._logins,
            settled=self.looked,
            loggers=tuple(loggers.values()),
            aliases=addresses.map_platform_hosts(self._ports),
        )
        self._used = frozenset(used)
        if routes == self._routes:
            self._routed = current
            return
        await self._front.apply_routes(routes)
        self._routes, self._routed = routes, current
        resolved = {
            f"{service.host}:{service.port}": f"127.0.0.1:{service.ports[0]}"
            for service in routes.services
            if service.ports
        }
        resolved |= {name: f"127.0.0.1:{port}" for name, port in routes.aliases.items()}
        resolved[addresses.NATS_ADDRESS] = f"127.0.0.1:{self._ports['nats']}"
        resolved[addresses.S3_ADDRESS] = f"127.0.0.1:{self._ports['s3']}"
        self._addresses.write_value(resolved)

    def _list_endpoints(self) -> Iterable[ServiceEndpoints]:
        """Every port of every Service, with the loopback ports of the replicas that serve."""
        event_sources = {
            item["metadata"]["name"]
            for part in self._active.values()
            for item in part.objects
            if kinds.object_kind(item) == ("argoproj.io", "EventSource")
        }
        for service, port in self._service_ports():
            metadata = service["metadata"]
            host = service_host(metadata["name"], metadata.get("namespace", "default"))
            selector = service["spec"].get("selector") or {}
            if selector.get("eventsource-name") in event_sources:
                yield ServiceEndpoints(host, int(port["port"]), (self._ports["webhook"],))
                continue
            local: list[int] = []
            for pod in self._select_pods(service):
                target = port.get("targetPort", port["port"])
                number = pod.named_ports.get(target) if isinstance(target, str) else int(target)
                if pod.logger is not None and number == pod.logger_port:
                    local.append(self._logger_port(pod.key))
                elif number is not None:
                    local += [
                        replica.ports[number]
                        for replica in self._fleet.list_serving(pod.key)
                        if number in replica.ports
                    ]
            yield ServiceEndpoints(host, int(port["port"]), tuple(local))

    def _list_loggers(self) -> Iterable[LoggerSidecar]:
        for pod in self.map_deployments().values():
            replicas = self._fleet.list_serving(pod.key)
            if pod.logger is not None:
                yield LoggerSidecar(
                    name=f"{pod.namespace}/{pod.deployment}",
                    config=pod.logger,
                    port=self._logger_port(pod.key),
                    pods={
                        port: tuple(
                            replica.ports[port] for replica in replicas if port in replica.ports
                        )
                        for port in pod.ports
                    },
                )

    def _logger_port(self, key: Key) -> int:
        name = "/".join(key)
        if name not in self._logger_ports:
            self._logger_ports[name] = free_port(
                taken={*self._logger_ports.values(), *self._ports.values()}
            )
        return self._logger_ports[name]

    def _service_ports(self) -> Iterable[tuple[Object, Mapping[str, Any]]]:
        for part in self._active.values():
            for service in part.services:
                for port in service["spec"].get("ports") or ():
                    yield service, port

    def _select_pods(self, service: Object) -> list[PlannedPod]:
        selector = service["spec"].get("selector") or {}
        namespace = service["metadata"].get("namespace", "default")
        return [
            pod
            for pod in self.map_deployments().values()
            if selector and pod.namespace == namespace and selector.items() <= pod.labels.items()
        ]

    def _map_owners(self) -> dict[Address, set[Key]]:
        """Return the Deployments that answer at each Service port."""
        owners: dict[Address, set[Key]] = {}
        for service, port in self._service_ports():
            metadata = service["metadata"]
            host = service_host(metadata["name"], metadata.get("namespace", "default"))
            owners[host, int(port["port"])] = {pod.key for pod in self._select_pods(service)}
        return owners

    def _settle_current(self) -> bool:
        """Give each Kustomization that is current the commit; False when there is none."""
        goal = self._goal
        if goal is None:
            return False
        settled = [
            name
            for name, part in self._planned.items()
            if isinstance(part, PlannedKustomization)
            and self._revisions.get(name) != goal
            and self._find_waiting_reason(name) == ""
        ]
        self._revisions.update(dict.fromkeys(settled, goal))
        self._unsaved = self._unsaved or bool(settled)
        return bool(settled)

    def _record_current(self) -> None:
        """Record what has become current."""
        self._settle_current()
        goal = self._goal
        complete = all(self._revisions.get(name) == goal for name in self._list_unsuspended())
        if goal is not None and complete and self._complete != goal:
            commits = [
                self._repository.read_commit(sha)
                for sha in self._repository.list_commits_since(self._complete, goal)
            ]
            for commit in commits:
                why = describe_cause(commit.trailers.get("Driftloop-Cause", ""))
                if commit.sha != goal:
                    passed = f"passed over for {goal[:10]}"
                    why = f"{why}; {passed}" if why else passed
                self._timeline.add_entry("commit", commit.subject, why, commit=commit.sha)
            self._complete = goal
            self._unsaved = True
        if self._unsaved:
            self._save_record()
            self._unsaved = False

    def _find_waiting_reason(self, name: str) -> str:
        """Return the reason a Kustomization is not current; empty when it is."""
        planned = self._planned[name]
        match planned:
            case ReadKustomization():
                return str(planned.error)
            case PlannedKustomization():
                return self._find_part_reason(name, planned)
            case _:
                assert_never(planned)

    def _find_part_reason(self, name: str, planned: PlannedKustomization) -> str:
        if planned.kustomization.suspended:
            return "it is suspended"
        if self._active.get(name) is not planned:
            names = (dependency.name for dependency in planned.kustomization.depends_on)
            return f"waits for {', '.join(names)}"
        for pod in planned.pods:
            if not self._fleet.is_current(pod.key) or self._routed.get(pod.key) != pod.digest:
                return (
                    self._fleet.failures.get(pod.key)
                    or f"Deployment {pod.namespace}/{pod.deployment} is not ready"
                )
        routed = self._routes.virtual_services if self._routes else ()
        for item in planned.virtual_services:
            if item not in routed:
                return f"{kinds.format_object(item)} is not routed"
        return ""

    def _save_record(self) -> None:
        kustomizations = {
            name: AppliedKustomization(
                self._revisions.get(name), tuple(part.objects), part.kustomization.path
            )
            for name, part in self._active.items()
        }
        AppliedRecord(self._complete, kustomizations, self._logins).save(self._record)

    def _restore_record(self) -> None:
        """After a restart, run what was applied until the tip has been looked at; it stays if the
        tip is refused.
        """
        record = AppliedRecord.load(self._record)
        if record is None:
            return
        self._complete = self._goal = record.complete
        self._logins = record.logins
        kustomizations = record.list_kustomizations(self._record.name)
        values = self._read_values(kustomizations)
        for kept in kustomizations:
            name = kept.kustomization.name
            part = plan_kustomization(self._state, kept, values)
            if isinstance(part, PlannedKustomization):
                self._active[name] = self._planned[name] = part
                revision = record.kustomizations[name].revision
                if revision is not None:
                    self._revisions[name] = revision
            else:
                event = f"Kustomization {name} does not run again as it was applied before"
                self._timeline.add_entry("platform", event, str(part.error))
