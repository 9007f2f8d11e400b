"""One Workflow from its first node to its last. What is finished is stored and never run again; the rest is.

What follows from what is decided in `dag`, `loops`, `retries`, `variables` and `lifecycle`, which do no I/O; here it
is done in that order and kept in the `Status`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from driftloop.clients.s3 import Location
from driftloop.errors import LocalError
from driftloop.local.argo import expressions
from driftloop.local.argo.nodes import BAD, Node, Outputs, Phase, Site, first_message
from driftloop.local.argo.parts import read
from driftloop.local.argo.store import Json
from driftloop.local.argo.times import age, now
from driftloop.local.argo_workflows import dag, lifecycle, loops, merge, retries, tags, variables
from driftloop.local.argo_workflows.leaves import Leaves, World
from driftloop.local.argo_workflows.model import Hook, RetryStrategy, Synchronization, Task, Template, WorkflowSpec
from driftloop.local.argo_workflows.status import Status
from driftloop.local.argo_workflows.variables import Call, View
from driftloop.local.kubelet.devices import DeviceError

Inputs = Mapping[str, Location]
Room = contextlib.AbstractAsyncContextManager[Any]
"""A place among so many that may run at once (`parallelism`)."""


@dataclass(frozen=True)
class Branch:
    """A dag being run: its node, what is decided about it, what is known inside it, how many tasks may run at once."""

    node: Node
    plan: dag.Plan
    scope: tags.Scope
    inputs: Inputs
    room: Room


class Run:
    """A Workflow being run."""

    def __init__(self, workflow: Json, revision: int, world: World) -> None:
        self._world = world
        self._status = Status(workflow, revision, world.workflows)
        self._spec = WorkflowSpec()
        self._templates: variables.Templates = {}
        self._globals: tags.Scope = {}
        self._room: Room = contextlib.nullcontext()
        self._leaves: Leaves

    @property
    def phase(self) -> str:
        """The Workflow's phase; "" before it was looked at."""
        return self._status.phase

    async def execute(self) -> None:
        """Run to the end, storing every step. GoneError when the Workflow is deleted meanwhile."""
        status = self._status
        try:
            self._prepare()
        except LocalError as error:
            await status.end("Failed", f"invalid spec: {_sentence(error)}")
            return
        if status.phase == "Pending":
            # after a restart those that were running take their mutexes first
            await asyncio.sleep(0.5)
        async with self._synchronized(self._spec.synchronization, status.waiting):
            await status.set(phase="Running", startedAt=status.fields.get("startedAt") or now(), message=None)
            phase, message = await self._main()
            phase, message = await self._exit_handler(phase, message)
        await status.end(phase, message)

    async def fail(self, message: str) -> None:
        """End as Error for a reason that lies in the runner."""
        await self._status.end("Error", message)

    def _prepare(self) -> None:
        workflow, fields = self._status.workflow, self._status.fields
        metadata = workflow["metadata"]
        stored = fields.get("storedWorkflowTemplateSpec")
        if stored is None:
            stored = merge.merged(workflow, lambda ns, name: self._world.find("WorkflowTemplate", ns, name))
            fields["storedWorkflowTemplateSpec"] = stored
        self._spec = spec = read(WorkflowSpec, stored, what=f"workflow {metadata['name']}")
        self._templates = {template.name: template for template in spec.templates}
        for template in spec.templates:
            if template.dag is not None:
                dag.plan(template.dag.tasks)
        self._room = _room(spec.parallelism)
        merge.label(metadata, spec.workflow_metadata)
        self._globals = variables.of_workflow(metadata, spec)
        merge.label_from(metadata, spec.workflow_metadata, self._globals)
        self._leaves = Leaves(
            self._world, namespace=metadata["namespace"], workflow=metadata["name"], uid=metadata["uid"], spec=spec
        )

    async def _main(self) -> tuple[Phase, str]:
        """The entrypoint, within the Workflow's deadline."""
        limit = asyncio.timeout(lifecycle.remaining(self._spec, age(self._status.fields["startedAt"])))
        name = self._status.name
        try:
            async with limit:
                node = await self._call(Site(name, name), self._spec.entrypoint or "", Call())
        except TimeoutError:
            if not limit.expired():
                raise
            message = lifecycle.overdue(self._spec)
            self._status.overdue(message)
            return "Failed", message
        return node.phase, node.message

    async def _exit_handler(self, phase: Phase, message: str) -> tuple[Phase, str]:
        """Run `onExit` (or the hook `exit`); when that fails, so does the Workflow."""
        hook = lifecycle.exit_hook(self._spec.hooks, self._spec.on_exit)
        if hook is None:
            return phase, message
        seconds = age(self._status.fields["startedAt"])
        self._globals = {**self._globals, **lifecycle.farewell(phase, self._status.nodes.values(), seconds)}
        name = f"{self._status.name}.onExit"
        return lifecycle.after_exit(phase, message, await self._hook(Site(name, name), hook, View(self._globals)))

    async def _hook(self, site: Site, hook: Hook, view: View) -> Node:
        try:
            call = variables.bound(hook.arguments, view, self._leaves.located)
        except LocalError as error:
            return await self._status.unstarted(site, hook.template, "Error", _sentence(error))
        return await self._call(site, hook.template, call)

    # templates

    async def _call(self, site: Site, template_name: str, call: Call) -> Node:
        """The fulfilled node at `site`: what is stored of it, or what running the template gives."""
        status = self._status
        if (known := status.fulfilled(site)) is not None:
            return known
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
            plan = dag.plan(template.dag.tasks)
            async with self._synchronized(template.synchronization, self._waiting(node)):
                await self._go_on(node)
                return await self._dag(template, Branch(node, plan, scope, inputs, _room(template.parallelism)))
        if template.retry_strategy is not None:
            node = await status.begin(site, "Retry", template.name, parameters)
            return await self._retry(node, template, scope, inputs)
        return await self._leaf(site, template, {**scope, "retries": "0"}, inputs)

    async def _leaf(self, site: Site, template: Template, scope: tags.Scope, inputs: Inputs) -> Node:
        """A pod, or the creation of a Workflow."""
        status = self._status
        node = await status.begin(site, "Pod", template.name, variables.inputs_of(template, scope))
        scope = {**scope, "pod.name": node.id, "node.name": site.name}

        limits = template.container.resources.gpus if template.container is not None else {}
        async with self._synchronized(template.synchronization, self._waiting(node)), self._room:
            try:
                async with self._world.devices.claim(limits, self._waiting(node)) as devices:
                    await self._go_on(node)
                    return await status.put(await self._leaves.run(node, template, scope, inputs, devices))
            except DeviceError as error:
                # not an error of the moment: another try would find no more of them
                return await status.end_node(node, "Failed", _sentence(error))
            except LocalError as error:
                return await status.end_node(node, "Error", _sentence(error))

    def _waiting(self, node: Node) -> Callable[[str], Awaitable[None]]:
        async def waiting(message: str) -> None:
            await self._status.put(replace(self._status.nodes[node.id], phase="Pending", message=message))

        return waiting

    async def _go_on(self, node: Node) -> None:
        """A node that may have had to wait runs."""
        if self._status.nodes[node.id].phase == "Pending":
            await self._status.put(node)

    async def _retry(self, node: Node, template: Template, scope: tags.Scope, inputs: Inputs) -> Node:
        """A pod, until it succeeds or its retryStrategy has had enough."""
        strategy = template.retry_strategy or RetryStrategy(limit="0")
        attempt = 0
        while True:
            at = node.site.below(f"({attempt})")
            child = self._status.fulfilled(at)
            if child is None:
                child = await self._leaf(at, template, {**scope, "retries": str(attempt)}, inputs)
            self._status.adopt(node.id, child.id)
            try:
                then = retries.after(strategy, child, attempt=attempt, elapsed=age(node.started))
            except LocalError as error:
                return await self._status.end_node(node, "Error", _sentence(error))
            match then:
                case retries.Again(wait):
                    await asyncio.sleep(wait)
                    attempt += 1
                case retries.Over(why):
                    message = f"{why}: {child.message}" if why else child.message
                    return await self._status.end_node(node, child.phase, message, child.outputs)

    # dags

    async def _dag(self, template: Template, branch: Branch) -> Node:
        """Start each task as soon as all it waits for is over."""
        plan, node = branch.plan, branch.node
        started: set[str] = set()
        ended: dict[str, Node] = {}
        over: asyncio.Queue[tuple[str, Node]] = asyncio.Queue()

        async def one(task: Task, before: Mapping[str, Node]) -> None:
            over.put_nowait((task.name, await self._task(task, branch, before)))

        async with asyncio.TaskGroup() as group:
            while len(ended) < len(plan.tasks):
                for task in plan.startable(ended, started):
                    started.add(task.name)
                    before = {name: ended[name] for name in plan.ancestors(task.name)}
                    group.create_task(one(task, before), name=f"{node.name}.{task.name}")
                name, result = await over.get()
                ended[name] = result
                for parent in [ended[other].id for other in plan.waits_for[name]] or [node.id]:
                    self._status.adopt(parent, result.id)
        phase, message, outputs = plan.phase(ended), first_message(ended.values()), Outputs()
        if phase == "Succeeded":
            message = ""
            try:
                outputs = variables.dag_outputs(template, self._seen(branch, ended))
            except LocalError as error:
                phase, message = "Error", _sentence(error)
        return await self._status.end_node(node, phase, message, outputs)

    def _seen(self, branch: Branch, ended: Mapping[str, Node]) -> View:
        """What is known inside a dag once these tasks are over."""
        known, absent = variables.of_tasks(ended, self._templates, self._status.nodes)
        found = variables.artifacts(ended, self._templates, branch.inputs)
        return View({**branch.scope, **known}, found, absent)

    async def _task(self, task: Task, branch: Branch, before: Mapping[str, Node]) -> Node:
        """A task whose turn has come, and its exit hook, which may still be due when the task itself is over."""
        site = Site(f"{branch.node.name}.{task.name}", task.name, branch.node.id)
        result = self._status.fulfilled(site) or await self._body(site, task, branch, before)
        hook = lifecycle.exit_hook(task.hooks, task.on_exit)
        if hook is None or result.phase in ("Skipped", "Omitted"):
            return result
        handled = await self._hook(site.below(".onExit"), hook, self._seen(branch, {**before, task.name: result}))
        if handled.phase in BAD and result.phase == "Succeeded":
            return await self._status.put(replace(result, phase=handled.phase, message=f"exit hook: {handled.message}"))
        return result

    async def _body(self, site: Site, task: Task, branch: Branch, before: Mapping[str, Node]) -> Node:
        """A task itself: left out, run once, or run for each item."""
        states = {done: dag.Ended(node.phase, self._item_phases(node)) for done, node in before.items()}
        if not branch.plan.runs(task.name, states):
            return await self._status.unstarted(site, task.template, "Omitted", "omitted: depends condition not met")
        view = self._seen(branch, before)
        try:
            items = loops.items(task, view.scope)
        except LocalError as error:
            return await self._status.unstarted(site, task.template, "Error", _sentence(error))
        if items is None:
            return await self._single(site, task, view, branch.room)
        return await self._group(site, task, items, view, branch.room)

    async def _single(self, site: Site, task: Task, view: View, room: Room) -> Node:
        """One call of a task's template, unless its `when` says no."""
        if (known := self._status.fulfilled(site)) is not None:
            return known
        try:
            if task.when is not None and not expressions.when(condition := tags.fill_text(task.when, view.scope)):
                message = f"when '{condition}' evaluated false"
                return await self._status.unstarted(site, task.template, "Skipped", message)
            call = variables.bound(task.arguments, view, self._leaves.located)
        except LocalError as error:
            return await self._status.unstarted(site, task.template, "Error", _sentence(error))
        async with room:
            return await self._call(site, task.template, call)

    async def _group(self, site: Site, task: Task, items: Sequence[Any], view: View, room: Room) -> Node:
        """The items of a loop, side by side."""
        if not items:
            return await self._status.unstarted(site, task.template, "Skipped", "Skipped, empty params")
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

    def _item_phases(self, node: Node) -> tuple[Phase, ...]:
        if node.type != "TaskGroup":
            return ()
        children = [self._status.nodes[child] for child in node.children]
        return tuple(child.phase for child in children if child.name.startswith(f"{node.name}("))

    @contextlib.asynccontextmanager
    async def _synchronized(
        self, synchronization: Synchronization | None, waiting: Callable[[str], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Hold the mutexes, in the order of their names."""
        async with contextlib.AsyncExitStack() as stack:
            for mutex in sorted(synchronization.mutexes if synchronization else [], key=lambda m: m.name):
                name = tags.fill_text(mutex.name, self._globals)
                key = f"{mutex.namespace or self._status.namespace}/Mutex/{name}"
                lock = self._world.mutexes.of(key)
                if lock.locked():
                    await waiting(f"Waiting for {key} lock. Lock status: 0/1")
                await stack.enter_async_context(lock)
            yield


def _room(parallelism: int | None) -> Room:
    return contextlib.nullcontext() if parallelism is None else asyncio.Semaphore(parallelism)


def _sentence(error: LocalError) -> str:
    return error.message if error.hint is None else f"{error.message} ({error.hint})"
