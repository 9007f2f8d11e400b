"""Run of one Workflow from its first node to its last.

Fulfilled nodes are stored and never run again. `dag`, `loops`, `retries`, `variables` and
`lifecycle` decide without I/O; this module acts on their decisions and keeps them in the `Status`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from driftloop.clients.s3 import StoreLocation
from driftloop.errors import LocalError
from driftloop.local.argo import expressions
from driftloop.local.argo.nodes import Node, Phase, Site, first_message
from driftloop.local.argo.parts import read_part
from driftloop.local.argo.store import Json
from driftloop.local.argo.times import age, now
from driftloop.local.argo_workflows import dag, lifecycle, loops, merge, retries, tags, variables
from driftloop.local.argo_workflows.leaves import Leaves, World
from driftloop.local.argo_workflows.model import (
    RetryStrategy,
    Synchronization,
    Task,
    Template,
    WorkflowSpec,
)
from driftloop.local.argo_workflows.status import Status
from driftloop.local.argo_workflows.variables import Call, View
from driftloop.local.kubelet.devices import DeviceError

Inputs = Mapping[str, StoreLocation]
Room = contextlib.AbstractAsyncContextManager[Any]
"""A place among so many that may run at once (`parallelism`)."""


@dataclass(frozen=True)
class Branch:
    """A dag being run: its node and plan, tags inside it, and its parallelism."""

    node: Node
    plan: dag.Plan
    scope: tags.Scope
    room: Room


class Run:
    """A Workflow being run."""

    def __init__(self, workflow: Json, revision: int, world: World) -> None:
        self._world = world
        self._status = Status(workflow, revision, world.workflows)
        self._spec = WorkflowSpec()
        self._templates: variables.Templates = {}
        self._globals: tags.Scope = {}
        self._limit: asyncio.Timeout | None = None
        self._leaves: Leaves

    @property
    def phase(self) -> str:
        """Phase of the Workflow; "" before its first run."""
        return self._status.phase

    async def execute(self) -> None:
        """Run to the end, storing every step. GoneError when the Workflow is deleted meanwhile."""
        status = self._status
        try:
            self._prepare()
        except LocalError as error:
            await status.end("Failed", f"invalid spec: {_sentence(error)}")
            return
        started = status.fields.get("startedAt") or now()
        await status.set(phase="Running", startedAt=started, message=None)
        phase, message = await self._main()
        phase, message = await self._exit_handler(phase, message)
        await status.end(phase, message)

    def stop(self) -> None:
        """End the steps of a Workflow whose `shutdown` is set; its exit handler still runs."""
        self._status.workflow["spec"]["shutdown"] = "Stop"
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0.0)

    def hear(self, workflow: Json) -> None:
        """Take the ends of suspended nodes from the Workflow as somebody else has written it."""
        self._status.take_ends(workflow)

    async def fail(self, message: str) -> None:
        """End as Error for a reason in the runner."""
        await self._status.end("Error", message)

    def _prepare(self) -> None:
        workflow, fields = self._status.workflow, self._status.fields
        metadata = workflow["metadata"]
        stored = fields.get("storedWorkflowTemplateSpec")
        if stored is None:
            find = self._world.find
            stored = merge.merge_template(
                workflow, lambda ns, name: find("WorkflowTemplate", ns, name)
            )
            fields["storedWorkflowTemplateSpec"] = stored
        self._spec = spec = read_part(WorkflowSpec, stored, label=f"workflow {metadata['name']}")
        self._templates = {template.name: template for template in spec.templates}
        for template in spec.templates:
            if template.dag is not None:
                dag.plan_dag(template.dag.tasks)
        merge.add_labels(metadata, spec.workflow_metadata)
        self._globals = variables.of_workflow(metadata, spec)
        merge.add_labels_from(metadata, spec.workflow_metadata, self._globals)
        self._leaves = Leaves(
            self._world,
            namespace=metadata["namespace"],
            workflow=metadata["name"],
            uid=metadata["uid"],
            spec=spec,
        )

    async def _main(self) -> tuple[Phase, str]:
        """Run the entrypoint, within the Workflow's deadline."""
        elapsed = age(self._status.fields["startedAt"])
        limit = asyncio.timeout(lifecycle.remaining(self._spec, elapsed))
        name = self._status.name
        try:
            async with limit:
                self._limit = limit
                if self._status.stopped:
                    limit.reschedule(0.0)
                node = await self._call(Site(name, name), self._spec.entrypoint or "", Call())
        except TimeoutError:
            if not limit.expired():
                raise
            stopped = self._status.stopped
            message = lifecycle.STOPPED if stopped else lifecycle.overdue(self._spec)
            self._status.overdue(message)
            return "Failed", message
        finally:
            self._limit = None
        return node.phase, node.message

    async def _exit_handler(self, phase: Phase, message: str) -> tuple[Phase, str]:
        """Run `onExit`; when that fails, so does the Workflow."""
        if self._spec.on_exit is None:
            return phase, message
        self._globals = {**self._globals, "workflow.status": phase}
        name = f"{self._status.name}.onExit"
        handler = await self._call(Site(name, name), self._spec.on_exit, Call())
        return lifecycle.after_exit(phase, message, handler)

    async def _call(self, site: Site, template_name: str, call: Call) -> Node:
        """Return the fulfilled node at `site`: the stored one, or the result of the template."""
        status = self._status
        if (stored := status.fulfilled(site)) is not None:
            return stored
        template = self._templates.get(template_name)
        if template is None:
            message = f"template `{template_name}` does not exist"
            return await status.unstarted(site, template_name, "Error", message)
        try:
            scope, inputs = variables.inside(template, call, self._globals, self._leaves.located)
        except LocalError as error:
            return await status.unstarted(site, template_name, "Error", _sentence(error))
        parameters = variables.inputs_of(template, scope)
        if template.dag is not None:
            node = await status.begin(site, "DAG", template.name, parameters)
            plan = dag.plan_dag(template.dag.tasks)
            async with self._synchronized(template.synchronization, self._waiting(node)):
                await self._go_on(node)
                return await self._dag(Branch(node, plan, scope, _room(template.parallelism)))
        if template.suspend is not None:
            node = await status.begin(site, "Suspend", template.name, parameters)
            return await status.wait_until_ended(node)
        if template.retry_strategy is not None:
            node = await status.begin(site, "Retry", template.name, parameters)
            return await self._retry(node, template, template.retry_strategy, scope, inputs)
        return await self._leaf(site, template, scope, inputs)

    async def _leaf(
        self,
        site: Site,
        template: Template,
        scope: tags.Scope,
        inputs: Inputs,
    ) -> Node:
        """Run a pod, or create a Workflow."""
        status = self._status
        node = await status.begin(site, "Pod", template.name, variables.inputs_of(template, scope))
        waiting = self._waiting(node)
        try:
            async with self._world.devices.claim_devices(template.gpus, waiting) as devices:
                await self._go_on(node)
                ended = await self._leaves.run(
                    node, template, scope, inputs, devices, note_progress=self._noting(node)
                )
                return await status.put(ended)
        except DeviceError as error:
            # not a passing error: another attempt would get no more of them
            return await status.end_node(node, "Failed", _sentence(error))
        except LocalError as error:
            return await status.end_node(node, "Error", _sentence(error))

    def _waiting(self, node: Node) -> Callable[[str], Awaitable[None]]:
        async def waiting(message: str) -> None:
            current = self._status.nodes[node.id]
            await self._status.put(replace(current, phase="Pending", message=message))

        return waiting

    def _noting(self, node: Node) -> Callable[[str], Awaitable[None]]:
        async def note_progress(progress: str) -> None:
            await self._status.put(replace(self._status.nodes[node.id], progress=progress))

        return note_progress

    async def _go_on(self, node: Node) -> None:
        """Set a node that had to wait to running."""
        if self._status.nodes[node.id].phase == "Pending":
            await self._status.put(node)

    async def _retry(
        self,
        node: Node,
        template: Template,
        strategy: RetryStrategy,
        scope: tags.Scope,
        inputs: Inputs,
    ) -> Node:
        """Run a pod until it succeeds or its retryStrategy ends."""
        attempt = 0
        while True:
            at = node.site.below(f"({attempt})")
            child = self._status.fulfilled(at)
            if child is None:
                child = await self._leaf(at, template, scope, inputs)
            self._status.adopt(node.id, child.id)
            try:
                then = retries.after(strategy, child, attempt=attempt)
            except LocalError as error:
                return await self._status.end_node(node, "Error", _sentence(error))
            match then:
                case retries.Again(wait):
                    await asyncio.sleep(wait)
                    attempt += 1
                case retries.Over(why):
                    message = f"{why}: {child.message}" if why else child.message
                    return await self._status.end_node(node, child.phase, message, child.outputs)
                case _:
                    assert_never(then)

    async def _dag(self, branch: Branch) -> Node:
        """Start each task as soon as all it waits for ended."""
        plan, node = branch.plan, branch.node
        started: set[str] = set()
        ended: dict[str, Node] = {}
        over: asyncio.Queue[tuple[str, Node]] = asyncio.Queue()

        async def run_task(task: Task, before: Mapping[str, Node]) -> None:
            over.put_nowait((task.name, await self._task(task, branch, before)))

        async with asyncio.TaskGroup() as group:
            while len(ended) < len(plan.tasks):
                for task in plan.startable(ended, started):
                    started.add(task.name)
                    before = {name: ended[name] for name in plan.ancestors(task.name)}
                    group.create_task(run_task(task, before), name=f"{node.name}.{task.name}")
                name, result = await over.get()
                ended[name] = result
                parents = [ended[other].id for other in plan.waits_for[name]] or [node.id]
                for parent in parents:
                    self._status.adopt(parent, result.id)
        phase = plan.phase(ended)
        message = "" if phase == "Succeeded" else first_message(ended.values())
        return await self._status.end_node(node, phase, message)

    def _seen(self, branch: Branch, ended: Mapping[str, Node]) -> View:
        """Return the tags and artifacts inside a dag once these tasks ended."""
        scope = variables.of_tasks(ended, self._status.nodes)
        return View({**branch.scope, **scope}, variables.artifacts(ended))

    async def _task(self, task: Task, branch: Branch, before: Mapping[str, Node]) -> Node:
        """Leave a task out, run it once, or run it for each item."""
        site = Site(f"{branch.node.name}.{task.name}", task.name, branch.node.id)
        if (stored := self._status.fulfilled(site)) is not None:
            return stored
        if not branch.plan.runs(task.name, before):
            message = "omitted: depends condition not met"
            return await self._status.unstarted(site, task.template, "Omitted", message)
        view = self._seen(branch, before)
        if task.with_items is None:
            return await self._single(site, task, view, branch.room)
        items: list[dict[str, Any]]
        try:
            items = tags.fill(task.with_items, view.scope)
        except LocalError as error:
            return await self._status.unstarted(site, task.template, "Error", _sentence(error))
        return await self._group(site, task, items, view, branch.room)

    async def _single(self, site: Site, task: Task, view: View, room: Room) -> Node:
        """Call a task's template once, unless its `when` is false."""
        if (stored := self._status.fulfilled(site)) is not None:
            return stored
        try:
            when = None if task.when is None else tags.fill_text(task.when, view.scope)
            if when is not None and not expressions.when(when):
                message = f"when '{when}' evaluated false"
                return await self._status.unstarted(site, task.template, "Skipped", message)
            call = variables.bound(task.arguments, view)
        except LocalError as error:
            return await self._status.unstarted(site, task.template, "Error", _sentence(error))
        async with room:
            return await self._call(site, task.template, call)

    async def _group(
        self,
        site: Site,
        task: Task,
        items: Sequence[Mapping[str, Any]],
        view: View,
        room: Room,
    ) -> Node:
        """Run the items of a loop, side by side."""
        node = await self._status.begin(site, "TaskGroup", task.template)
        jobs: list[asyncio.Task[Node]] = []
        async with asyncio.TaskGroup() as group:
            for index, item in enumerate(items):
                at = site.below(loops.label(index, item))
                seen = replace(view, scope={**view.scope, **loops.scope(item)})
                jobs.append(group.create_task(self._single(at, task, seen, room)))
        children = [job.result() for job in jobs]
        for child in children:
            self._status.adopt(node.id, child.id)
        return await self._status.end_node(node, *loops.outcome(children))

    @contextlib.asynccontextmanager
    async def _synchronized(
        self, synchronization: Synchronization | None, waiting: Callable[[str], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Hold the mutexes, in the order of their names."""
        async with contextlib.AsyncExitStack() as stack:
            mutexes = synchronization.mutexes if synchronization else []
            for mutex in sorted(mutexes, key=lambda mutex: mutex.name):
                key = f"{self._status.namespace}/Mutex/{mutex.name}"
                lock = self._world.mutexes.of(key)
                if lock.locked():
                    await waiting(f"Waiting for {key} lock. Lock status: 0/1")
                await stack.enter_async_context(lock)
            yield


def _room(parallelism: int | None) -> Room:
    return contextlib.nullcontext() if parallelism is None else asyncio.Semaphore(parallelism)


def _sentence(error: LocalError) -> str:
    return error.message if error.hint is None else f"{error.message} ({error.hint})"
