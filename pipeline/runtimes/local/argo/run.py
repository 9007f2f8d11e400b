"""One Workflow from its first node to its last. What is finished is stored and never run again; the rest is."""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from pipeline.clients.s3 import Location
from pipeline.errors import LocalError, StoreError
from pipeline.runtimes.local.argo import dag, expressions, merge, pod, tags
from pipeline.runtimes.local.argo.configuration import Configuration, Find, Repository, repository
from pipeline.runtimes.local.argo.locks import Mutexes
from pipeline.runtimes.local.argo.model import (
    Arguments,
    Hook,
    NotUnderstoodError,
    Parameter,
    RetryStrategy,
    Synchronization,
    Task,
    Template,
    WorkflowSpec,
    read,
)
from pipeline.runtimes.local.argo.nodes import BAD, Node, Outputs, Phase, Type, node_id
from pipeline.runtimes.local.argo.store import GoneError, Json, OvertakenError, Workflows, now, until_stored
from pipeline.runtimes.local.state import State

LOG = logging.getLogger("argo.workflows")

CREATED_BY = "driftloop.dev/created-by"
"""Annotation on a Workflow made by a resource template: the node, so that a repeat knows its own."""

_FROM = re.compile(r"\{\{\s*(.+?)\s*\}\}")


@dataclass(frozen=True)
class World:
    """What every run shares."""

    state: State
    workflows: Workflows
    find: Find
    mutexes: Mutexes
    environment: Mapping[str, str]
    """What every step's process gets besides its own."""


@dataclass(frozen=True)
class Site:
    """Where a node stands: its name in the tree of nodes, the one shown, its enclosing node and that one's limit."""

    name: str
    display: str
    boundary: str = ""
    limit: asyncio.Semaphore | None = None


@dataclass(frozen=True)
class View:
    """What a task sees: tags, the artifacts `from` can name, and the prefixes of outputs that are absent.

    An output is absent, and its artifact None, when the task it comes from did not run.
    """

    scope: tags.Scope
    artifacts: Mapping[str, Location | None]
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Call:
    """Argument values of one call."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, Location] = field(default_factory=dict)


class Run:
    """A Workflow being run."""

    def __init__(self, workflow: Json, revision: int, world: World) -> None:
        self.workflow = workflow
        self.revision = revision
        self._world = world
        metadata = workflow["metadata"]
        self.namespace: str = metadata["namespace"]
        self.name: str = metadata["name"]
        status = workflow.get("status") or {}
        self._status: Json = {key: value for key, value in status.items() if key != "nodes"}
        self._nodes = {id: Node.from_json(node) for id, node in (status.get("nodes") or {}).items()}
        self._spec = WorkflowSpec()
        self._templates: dict[str, Template] = {}
        self._globals: dict[str, str] = {}
        self._pods: asyncio.Semaphore | None = None
        self._repository: Repository | None = None
        self._saving = asyncio.Lock()
        self._written = 0
        self._stored = 0

    @property
    def phase(self) -> str:
        """The Workflow's phase; "" before it was looked at."""
        return str(self._status.get("phase", ""))

    async def execute(self) -> None:
        """Run to the end, storing every step. GoneError when the Workflow is deleted meanwhile."""
        try:
            self._prepare()
        except LocalError as error:
            await self._end("Failed", f"invalid spec: {_sentence(error)}")
            return
        if self.phase == "Pending":
            # after a restart those that were running take their mutexes first
            await asyncio.sleep(0.5)
        async with self._synchronized(self._spec.synchronization, self._waiting):
            await self._set(phase="Running", startedAt=self._status.get("startedAt") or now(), message=None)
            phase, message = await self._main()
            phase, message = await self._exit_handler(phase, message)
        await self._end(phase, message)

    async def fail(self, message: str) -> None:
        """End as Error for a reason that lies in the runner."""
        await self._end("Error", message)

    def _prepare(self) -> None:
        what = f"workflow {self.name}"
        stored = self._status.get("storedWorkflowTemplateSpec")
        if stored is None:
            stored = merge.merged(self.workflow, lambda ns, name: self._world.find("WorkflowTemplate", ns, name))
            self._status["storedWorkflowTemplateSpec"] = stored
        self._spec = spec = read(WorkflowSpec, stored, what=what)
        self._templates = {template.name: template for template in spec.templates}
        for template in spec.templates:
            if template.dag is not None:
                dag.plan(template.dag.tasks)
        self._pods = asyncio.Semaphore(spec.parallelism) if spec.parallelism else None
        metadata = self.workflow["metadata"]
        given = spec.workflow_metadata
        for kind, texts in (("labels", given.labels), ("annotations", given.annotations)):
            if texts:
                metadata[kind] = {**texts, **(metadata.get(kind) or {})}
        created = datetime.fromisoformat(metadata["creationTimestamp"])
        self._globals = {
            "workflow.name": self.name,
            "workflow.namespace": self.namespace,
            "workflow.uid": metadata["uid"],
            "workflow.serviceAccountName": spec.service_account_name,
            "workflow.mainEntrypoint": spec.entrypoint or "",
            "workflow.creationTimestamp": metadata["creationTimestamp"],
            "workflow.creationTimestamp.RFC3339": metadata["creationTimestamp"],
            "workflow.creationTimestamp.s": str(int(created.timestamp())),
        }
        for kind in ("labels", "annotations"):
            for key, value in (metadata.get(kind) or {}).items():
                self._globals[f"workflow.{kind}.{key}"] = value
        scheduled = (metadata.get("annotations") or {}).get("workflows.argoproj.io/scheduled-time")
        if scheduled is not None:
            self._globals["workflow.scheduledTime"] = scheduled
        filled = read(Arguments, tags.fill_known(spec.arguments.raw(), self._globals), what=what)
        if filled.artifacts:
            raise NotUnderstoodError(f"{what}: arguments.artifacts is not understood by the local runtime")
        values = merge.parameters(filled, what)
        self._globals |= {f"workflow.parameters.{name}": value for name, value in values.items()}
        self._globals["workflow.parameters"] = json.dumps([{"name": n, "value": v} for n, v in values.items()])

    async def _main(self) -> tuple[Phase, str]:
        seconds = self._spec.active_deadline_seconds
        rest = None if seconds is None else seconds - _age(self._status["startedAt"])
        limit = asyncio.timeout(rest)
        try:
            async with limit:
                node = await self._call(Site(self.name, self.name), self._spec.entrypoint or "", Call())
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"workflow exceeded its deadline (activeDeadlineSeconds: {seconds})"
            for node in [node for node in self._nodes.values() if not node.fulfilled]:
                self._nodes[node.id] = node.ended("Failed", message)
            return "Failed", message
        return node.phase, node.message

    async def _exit_handler(self, phase: Phase, message: str) -> tuple[Phase, str]:
        """Run `onExit` (or the hook `exit`); when that fails, so does the Workflow."""
        hook = self._spec.hooks.exit if self._spec.hooks else None
        if hook is None and self._spec.on_exit:
            hook = Hook(template=self._spec.on_exit)
        if hook is None:
            return phase, message
        failures = [
            {
                "displayName": node.display_name,
                "message": node.message,
                "templateName": node.template,
                "phase": node.phase,
                "podName": node.id,
                "finishedAt": node.finished,
            }
            for node in self._nodes.values()
            if node.phase in BAD and node.type == "Pod"
        ]
        self._globals |= {
            "workflow.status": phase,
            "workflow.failures": json.dumps(failures),
            "workflow.duration": f"{_age(self._status['startedAt']):.6f}",
        }
        name = f"{self.name}.onExit"
        node = await self._hook(Site(name, name), hook, View(self._globals, {}))
        if node.phase in BAD:
            return node.phase, f"exit handler: {node.message}"
        return phase, message

    async def _hook(self, site: Site, hook: Hook, view: View) -> Node:
        try:
            call = self._bound(hook.arguments, view)
        except LocalError as error:
            return await self._unstarted(site, hook.template, "Error", _sentence(error))
        return await self._call(site, hook.template, call)

    # nodes

    async def _call(self, site: Site, template_name: str, call: Call) -> Node:
        """The fulfilled node at `site`: what is stored of it, or what running the template gives."""
        if (known := self._fulfilled(site)) is not None:
            return known
        template = self._templates.get(template_name)
        if template is None:
            return await self._unstarted(site, template_name, "Error", f"template `{template_name}` does not exist")
        try:
            scope, inputs = self._inputs(template, call)
        except LocalError as error:
            return await self._unstarted(site, template_name, "Error", _sentence(error))
        parameters = {p.name: scope[f"inputs.parameters.{p.name}"] for p in template.inputs.parameters}
        if template.dag is not None:
            node = await self._begin(site, "DAG", template, parameters)
            return await self._dag(node, template, scope, inputs)
        if template.retry_strategy is not None:
            node = await self._begin(site, "Retry", template, parameters)
            return await self._retry(node, template, scope, inputs)
        return await self._leaf(site, template, {**scope, "retries": "0"}, inputs, parameters)

    async def _leaf(
        self,
        site: Site,
        template: Template,
        scope: tags.Scope,
        inputs: Mapping[str, Location],
        parameters: Mapping[str, str],
    ) -> Node:
        """A pod, or the creation of a Workflow."""
        node = await self._begin(site, "Pod", template, parameters)
        scope = {**scope, "pod.name": node.id, "node.name": site.name}

        async def waiting(message: str) -> None:
            await self._put(replace(self._nodes[node.id], phase="Pending", message=message))

        async with self._synchronized(template.synchronization, waiting), self._pods or contextlib.nullcontext():
            if self._nodes[node.id].phase == "Pending":
                await self._put(node)
            try:
                if template.resource is not None:
                    return await self._put(await self._create(node, template, scope))
                return await self._put(await self._pod(node, template, scope, inputs))
            except LocalError as error:
                return await self._put(node.ended("Error", _sentence(error)))

    async def _pod(self, node: Node, template: Template, scope: tags.Scope, inputs: Mapping[str, Location]) -> Node:
        raw = template.raw()
        # the inputs are settled: their defaults may hold tags that are not known here
        outside = {key: raw.pop(key) for key in ("inputs",) if key in raw}
        filled = read(Template, tags.fill(raw, scope) | outside, what=f"template {template.name}")
        if filled.container is None:
            raise NotUnderstoodError(f"template {template.name} is no container")
        outputs = {
            artifact.name: self._stored_at(artifact.name, artifact.s3.key if artifact.s3 else None, scope)
            for artifact in filled.outputs.artifacts
        }
        needs_store = bool(outputs or inputs)
        configuration = Configuration.of(self._world.state, self.namespace, self._world.find)
        step = pod.Step(
            namespace=self.namespace,
            workflow=self.name,
            workflow_uid=self._globals["workflow.uid"],
            node_id=node.id,
            template=filled,
            container=filled.container,
            volumes=(*self._spec.volumes, *filled.volumes),
            service_account=self._spec.service_account_name,
            inputs=inputs,
            outputs=outputs,
            log=self._log(node),
        )
        outcome = await pod.run(
            step,
            state=self._world.state,
            configuration=configuration,
            store=self._open_repository().store if needs_store else None,
            environment=self._world.environment,
        )
        return node.ended(outcome.phase, outcome.message, outcome.outputs)

    async def _create(self, node: Node, template: Template, scope: tags.Scope) -> Node:
        """Create the Workflow of a resource template. One that this very node made before a crash counts as made."""
        if template.resource is None:
            raise NotUnderstoodError(f"template {template.name} is no resource")
        try:
            manifest = yaml.safe_load(tags.fill_text(template.resource.manifest, scope))
        except yaml.YAMLError as error:
            raise NotUnderstoodError(f"template {template.name}: the manifest is not YAML: {error}") from error
        if not isinstance(manifest, dict):
            raise NotUnderstoodError(f"template {template.name}: the manifest is no object")
        maker = f"{self._globals['workflow.uid']}/{node.id}"
        metadata = manifest.setdefault("metadata", {})
        metadata["annotations"] = {**(metadata.get("annotations") or {}), CREATED_BY: maker}
        namespace = metadata.get("namespace") or self.namespace
        name, new = await until_stored(lambda: self._world.workflows.create(manifest, namespace=namespace))
        if not new:
            there = await until_stored(lambda: self._world.workflows.get(namespace, name))
            annotations = (there[0]["metadata"].get("annotations") or {}) if there else {}
            if annotations.get(CREATED_BY) != maker:
                return node.ended("Failed", f'workflows.argoproj.io "{name}" already exists')
        return node.ended("Succeeded")

    async def _retry(self, node: Node, template: Template, scope: tags.Scope, inputs: Mapping[str, Location]) -> Node:
        strategy = template.retry_strategy or RetryStrategy(limit="0")
        limit = None if strategy.limit is None else int(strategy.limit)
        began = time.monotonic()
        attempt = 0
        while True:
            site = Site(f"{node.name}({attempt})", f"{node.display_name}({attempt})", node.boundary)
            child = self._fulfilled(site)
            if child is None:
                child = await self._leaf(site, template, {**scope, "retries": str(attempt)}, inputs, node.inputs)
            self._adopt(node.id, child.id)
            retried = {"Failed": "OnFailure", "Error": "OnError"}.get(child.phase)
            again = retried is not None and strategy.retry_policy in ("Always", retried)
            if not again:
                return await self._put(self._nodes[node.id].ended(child.phase, child.message, child.outputs))
            if limit is not None and attempt >= limit:
                message = f"No more retries left: {child.message}"
                return await self._put(self._nodes[node.id].ended(child.phase, message, child.outputs))
            wait, longest = _backoff(strategy, attempt)
            if longest is not None and time.monotonic() - began + wait > longest:
                message = f"Max duration limit exceeded: {child.message}"
                return await self._put(self._nodes[node.id].ended(child.phase, message, child.outputs))
            await asyncio.sleep(wait)
            attempt += 1

    # dags

    async def _dag(self, node: Node, template: Template, scope: tags.Scope, inputs: Mapping[str, Location]) -> Node:
        plan = dag.plan(template.dag.tasks if template.dag else [])
        limit = asyncio.Semaphore(template.parallelism) if template.parallelism else None
        ended: dict[str, asyncio.Task[Node]] = {}

        async def one(task: Task) -> Node:
            for name in sorted(plan.waits_for[task.name]):
                await ended[name]
            before = {name: ended[name].result() for name in plan.ancestors(task.name)}
            site = Site(f"{node.name}.{task.name}", task.name, node.id, limit)
            result = self._fulfilled(site)
            # a hook may still be due after its task is over
            if result is None or task.hooks is not None or task.on_exit is not None:
                result = await self._task(site, task, plan, before, View(scope, self._artifacts(before, inputs)))
            for name in plan.waits_for[task.name]:
                self._adopt(ended[name].result().id, result.id)
            if not plan.waits_for[task.name]:
                self._adopt(node.id, result.id)
            return result

        async with asyncio.TaskGroup() as group:
            for task in plan.tasks:
                ended[task.name] = group.create_task(one(task), name=f"{node.name}.{task.name}")
        nodes = {name: task.result() for name, task in ended.items()}
        phase = plan.phase(nodes)
        message = _first_message(nodes.values())
        outputs = Outputs()
        if phase == "Succeeded":
            message = ""
            try:
                known_tags, _ = self._task_scope(nodes)
                view = View({**scope, **known_tags}, self._artifacts(nodes, inputs))
                outputs = self._dag_outputs(template, view)
            except LocalError as error:
                phase, message = "Error", _sentence(error)
        return await self._put(self._nodes[node.id].ended(phase, message, outputs))

    async def _task(self, site: Site, task: Task, plan: dag.Plan, before: Mapping[str, Node], view: View) -> Node:
        states = {done: dag.Ended(found.phase, self._item_phases(found)) for done, found in before.items()}
        if not plan.runs(task.name, states):
            return await self._unstarted(site, task.template, "Omitted", "omitted: depends condition not met")
        known_tags, absent = self._task_scope(before)
        here = replace(view, scope={**view.scope, **known_tags}, absent=absent)
        try:
            items = self._items(task, here.scope)
        except LocalError as error:
            return await self._unstarted(site, task.template, "Error", _sentence(error))
        if items is None:
            result = await self._single(site, task, here)
        else:
            result = await self._group(site, task, items, here)
        hook = task.hooks.exit if task.hooks else None
        if hook is None and task.on_exit:
            hook = Hook(template=task.on_exit)
        if hook is not None and result.phase not in ("Skipped", "Omitted"):
            own, _ = self._task_scope({task.name: result})
            seen = View({**here.scope, **own}, {**here.artifacts, **self._artifacts({task.name: result}, {})}, absent)
            at = Site(f"{site.name}.onExit", f"{site.display}.onExit", site.boundary)
            handled = await self._hook(at, hook, seen)
            if handled.phase in BAD and result.phase == "Succeeded":
                failed = replace(result, phase=handled.phase, message=f"exit hook: {handled.message}")
                result = await self._put(failed)
        return result

    async def _single(self, site: Site, task: Task, view: View) -> Node:
        """One call of a task's template, unless its `when` says no."""
        if (known := self._fulfilled(site)) is not None:
            return known
        try:
            if task.when is not None:
                condition = tags.fill_text(task.when, view.scope)
                if not expressions.when(condition):
                    message = f"when '{condition}' evaluated false"
                    return await self._unstarted(site, task.template, "Skipped", message)
            call = self._bound(task.arguments, view)
        except LocalError as error:
            return await self._unstarted(site, task.template, "Error", _sentence(error))
        async with site.limit or contextlib.nullcontext():
            return await self._call(site, task.template, call)

    async def _group(self, site: Site, task: Task, items: Sequence[Any], view: View) -> Node:
        """The items of a loop, side by side."""
        if not items:
            return await self._unstarted(site, task.template, "Skipped", "Skipped, empty params")
        node = self._new(site, "TaskGroup", task.template)
        node = await self._put(self._nodes.get(node.id) or node)
        jobs: list[asyncio.Task[Node]] = []
        async with asyncio.TaskGroup() as group:
            for index, item in enumerate(items):
                label = f"({index}:{_item_label(item)})"
                at = replace(site, name=site.name + label, display=site.display + label)
                seen = replace(view, scope={**view.scope, **_item_scope(item)})
                jobs.append(group.create_task(self._single(at, task, seen)))
        children = [job.result() for job in jobs]
        for child in children:
            self._adopt(node.id, child.id)
        phase = dag.worst([child.phase for child in children])
        message = _first_message(children)
        done = [child for child in children if child.phase == "Succeeded"]
        names = dict.fromkeys(parameter for child in done for parameter in child.outputs.parameters)
        outputs = {n: json.dumps([c.outputs.parameters[n] for c in done if n in c.outputs.parameters]) for n in names}
        return await self._put(self._nodes[node.id].ended(phase, message, Outputs(outputs)))

    def _item_phases(self, node: Node) -> tuple[Phase, ...]:
        if node.type != "TaskGroup":
            return ()
        children = [self._nodes[child] for child in node.children]
        return tuple(child.phase for child in children if child.name.startswith(f"{node.name}("))

    def _items(self, task: Task, scope: tags.Scope) -> list[Any] | None:
        if task.with_items is not None:
            filled: list[Any] = tags.fill(task.with_items, scope)
            return filled
        if task.with_param is None:
            return None
        text = tags.fill_text(task.with_param, scope)
        try:
            items = json.loads(text)
        except ValueError as error:
            raise NotUnderstoodError(f"withParam `{text[:80]}` is not JSON: {error}") from error
        if not isinstance(items, list):
            raise NotUnderstoodError(f"withParam `{text[:80]}` must be a JSON list")
        return items

    # scopes

    def _task_scope(self, nodes: Mapping[str, Node]) -> tuple[dict[str, str], frozenset[str]]:
        """Tags of tasks that are over, and the prefixes of outputs that are absent since their task did not run."""
        scope: dict[str, str] = {}
        absent: set[str] = set()
        for task, node in nodes.items():
            prefix = f"tasks.{task}"
            scope |= {
                f"{prefix}.id": node.id,
                f"{prefix}.status": node.phase,
                f"{prefix}.startedAt": node.started,
                f"{prefix}.finishedAt": node.finished or "",
            }
            if node.outputs.exit_code is not None:
                scope[f"{prefix}.exitCode"] = str(node.outputs.exit_code)
            values = dict(node.outputs.parameters)
            if node.phase in ("Skipped", "Omitted"):
                absent.add(f"{prefix}.outputs.")
                template = self._templates[node.template]
                for parameter in template.outputs.parameters:
                    if parameter.value_from is not None and parameter.value_from.default is not None:
                        values[parameter.name] = parameter.value_from.default
            scope |= {f"{prefix}.outputs.parameters.{name}": value for name, value in values.items()}
            if node.type == "TaskGroup":
                scope[f"{prefix}.outputs.parameters"] = json.dumps(
                    [self._nodes[c].outputs.parameters for c in node.children if self._nodes[c].phase == "Succeeded"]
                )
        return scope, frozenset(absent)

    def _artifacts(self, nodes: Mapping[str, Node], inputs: Mapping[str, Location]) -> dict[str, Location | None]:
        """What `from` can name; None for an output of a task that did not run."""
        found: dict[str, Location | None] = {f"inputs.artifacts.{name}": at for name, at in inputs.items()}
        for task, node in nodes.items():
            template = self._templates[node.template]
            for artifact in template.outputs.artifacts:
                found[f"tasks.{task}.outputs.artifacts.{artifact.name}"] = node.outputs.artifacts.get(artifact.name)
        return found

    def _bound(self, arguments: Arguments, view: View) -> Call:
        """Arguments with their tags filled in. A parameter made from an absent output is left out."""
        scope, artifacts = view.scope, view.artifacts
        values: dict[str, str] = {}
        for parameter in arguments.parameters:
            if parameter.value is None:
                raise NotUnderstoodError(f"argument `{parameter.name}` has no value")
            try:
                values[parameter.name] = tags.fill_text(parameter.value, scope)
            except tags.UnresolvedTagError:
                unknown = tags.tags(parameter.value) - set(scope)
                if not unknown or not all(tag.startswith(tuple(view.absent)) for tag in unknown):
                    raise
        places: dict[str, Location] = {}
        for artifact in arguments.artifacts:
            if artifact.from_ is not None:
                named = _FROM.fullmatch(artifact.from_.strip())
                if named is None or named[1] not in artifacts:
                    raise NotUnderstoodError(f"artifact `{artifact.name}`: failed to resolve {artifact.from_}")
                at = artifacts[named[1]]
                if at is not None:
                    places[artifact.name] = at
            elif artifact.s3 is not None:
                places[artifact.name] = self._stored_at(artifact.name, tags.fill_text(artifact.s3.key, scope), scope)
            else:
                raise NotUnderstoodError(f"artifact argument `{artifact.name}` has neither from nor s3")
        return Call(values, places)

    def _inputs(self, template: Template, call: Call) -> tuple[dict[str, str], dict[str, Location]]:
        """The scope inside a template, and where its input artifacts are stored."""
        what = f"template {template.name}"
        scope = dict(self._globals)
        values: dict[str, str] = {}
        for parameter in template.inputs.parameters:
            given = call.parameters.get(parameter.name)
            if given is None:
                own = read(Parameter, tags.fill(parameter.raw(), scope), what=what)
                values[parameter.name] = merge.value_of(own, what)
            else:
                values[parameter.name] = merge.value_of(parameter.model_copy(update={"value": given}), what)
        scope |= {f"inputs.parameters.{name}": value for name, value in values.items()}
        scope["inputs.parameters"] = json.dumps([{"name": n, "value": v} for n, v in values.items()])
        places: dict[str, Location] = {}
        for artifact in template.inputs.artifacts:
            scope[f"inputs.artifacts.{artifact.name}.path"] = artifact.path or ""
            if artifact.name in call.artifacts:
                places[artifact.name] = call.artifacts[artifact.name]
            elif artifact.s3 is not None:
                places[artifact.name] = self._stored_at(artifact.name, tags.fill_text(artifact.s3.key, scope), scope)
            elif not artifact.optional:
                raise NotUnderstoodError(f"{what}: input artifact `{artifact.name}` was not given")
        for artifact in template.outputs.artifacts:
            scope[f"outputs.artifacts.{artifact.name}.path"] = artifact.path or ""
        for parameter in template.outputs.parameters:
            if parameter.value_from is not None and parameter.value_from.path is not None:
                scope[f"outputs.parameters.{parameter.name}.path"] = parameter.value_from.path
        return scope, places

    def _dag_outputs(self, template: Template, view: View) -> Outputs:
        """What a dag gives out of its tasks' outputs."""
        values: dict[str, str] = {}
        for parameter in template.outputs.parameters:
            source = parameter.value_from
            if source is None or source.parameter is None:
                raise NotUnderstoodError(f"dag output `{parameter.name}` has no valueFrom.parameter")
            try:
                values[parameter.name] = tags.fill_text(source.parameter, view.scope)
            except tags.UnresolvedTagError:
                if source.default is None:
                    raise
                values[parameter.name] = source.default
        places: dict[str, Location] = {}
        for artifact in template.outputs.artifacts:
            named = _FROM.fullmatch((artifact.from_ or "").strip())
            at = view.artifacts.get(named[1]) if named else None
            if at is not None:
                places[artifact.name] = at
            elif not artifact.optional:
                raise NotUnderstoodError(f"dag output artifact `{artifact.name}`: failed to resolve {artifact.from_}")
        return Outputs(values, places)

    def _stored_at(self, name: str, key: str | None, scope: tags.Scope) -> Location:
        found = self._open_repository()
        if key is None:
            key = f"{tags.fill_text(found.key_format, scope).rstrip('/')}/{name}"
        return Location(found.bucket, key)

    def _open_repository(self) -> Repository:
        if self._repository is None:
            configuration = Configuration.of(self._world.state, self.namespace, self._world.find)
            self._repository = repository(self._spec.artifact_repository_ref, configuration)
        return self._repository

    def _log(self, node: Node) -> Path:
        inside = node.name.removeprefix(self.name).lstrip(".") or node.display_name
        return self._world.state.logs / self.name / f"{re.sub(r'[^A-Za-z0-9_.=,-]+', '-', inside)[:120].strip('-')}.log"

    # storing

    def _fulfilled(self, site: Site) -> Node | None:
        """The stored node of a site, if it is over."""
        known = self._nodes.get(node_id(self.name, site.name))
        return known if known is not None and known.fulfilled else None

    def _new(self, site: Site, type: Type, template: str) -> Node:
        return Node(
            id=node_id(self.name, site.name),
            name=site.name,
            display_name=site.display,
            type=type,
            template=template,
            boundary=site.boundary,
            phase="Running",
        )

    async def _unstarted(self, site: Site, template: str, phase: Phase, message: str) -> Node:
        """A node that never ran, over."""
        return await self._put(self._new(site, "Skipped", template).ended(phase, message))

    async def _begin(self, site: Site, type: Type, template: Template, inputs: Mapping[str, str]) -> Node:
        """The stored node, or a new one, running."""
        new = replace(self._new(site, type, template.name), inputs=dict(inputs))
        known = self._nodes.get(new.id)
        return await self._put(replace(known, phase="Running", message="") if known else new)

    def _adopt(self, parent: str, child: str) -> None:
        node = self._nodes.get(parent)
        if node is not None and child not in node.children:
            self._nodes[parent] = replace(node, children=(*node.children, child))

    async def _put(self, node: Node) -> Node:
        known = self._nodes.get(node.id)
        if known is not None and known.children != node.children:
            node = replace(node, children=tuple(dict.fromkeys((*known.children, *node.children))))
        self._nodes[node.id] = node
        self._written += 1
        await self._save()
        return node

    async def _waiting(self, message: str) -> None:
        await self._set(phase="Pending", message=message)

    async def _set(self, **fields: Any) -> None:
        self._status |= fields
        self._status = {key: value for key, value in self._status.items() if value is not None}
        self._written += 1
        await self._save()

    async def _end(self, phase: Phase, message: str) -> None:
        over = sum(1 for node in self._nodes.values() if node.type == "Pod")
        done = sum(1 for node in self._nodes.values() if node.type == "Pod" and node.phase == "Succeeded")
        self.workflow["metadata"].setdefault("labels", {}).update(
            {"workflows.argoproj.io/completed": "true", "workflows.argoproj.io/phase": phase}
        )
        await self._set(
            phase=phase,
            message=message or None,
            startedAt=self._status.get("startedAt") or now(),
            finishedAt=now(),
            progress=f"{done}/{over}",
        )

    async def _save(self) -> None:
        """Store the Workflow; waits for NATS as long as it takes. GoneError when it was deleted."""
        wanted = self._written
        async with self._saving:
            if self._stored >= wanted:
                return
            while True:
                current = self._written
                document = self._document()
                try:
                    self.revision = await self._world.workflows.update(document, self.revision)
                except GoneError:
                    raise
                except OvertakenError:
                    await self._reload()
                except StoreError as error:
                    # whether it was stored is not known: the next try finds out
                    LOG.warning("%s/%s: %s; trying again", self.namespace, self.name, error.message)
                    await asyncio.sleep(0.5)
                    await self._reload()
                else:
                    self._stored = current
                    return

    async def _reload(self) -> None:
        """Take what others wrote (metadata, spec); the status is ours."""
        found = await until_stored(lambda: self._world.workflows.get(self.namespace, self.name))
        if found is None or found[0]["metadata"]["uid"] != self.workflow["metadata"]["uid"]:
            raise GoneError(f"workflow {self.name} was deleted")
        theirs, self.revision = found
        self.workflow = {**theirs, "metadata": {**theirs["metadata"], **self.workflow["metadata"]}}

    def _document(self) -> Json:
        nodes = {id: node.to_json() for id, node in self._nodes.items()}
        return {**self.workflow, "status": {**self._status, "nodes": nodes}}

    @contextlib.asynccontextmanager
    async def _synchronized(
        self, synchronization: Synchronization | None, waiting: Callable[[str], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Hold the mutexes, in the order of their names."""
        async with contextlib.AsyncExitStack() as stack:
            for mutex in sorted(synchronization.mutexes if synchronization else [], key=lambda m: m.name):
                name = tags.fill_text(mutex.name, self._globals)
                key = f"{mutex.namespace or self.namespace}/Mutex/{name}"
                lock = self._world.mutexes.of(key)
                if lock.locked():
                    await waiting(f"Waiting for {key} lock. Lock status: 0/1")
                await stack.enter_async_context(lock)
            yield


def _first_message(nodes: Iterable[Node]) -> str:
    """Why the first bad one of these ended badly."""
    return next((f"{node.display_name}: {node.message}" for node in nodes if node.phase in BAD and node.message), "")


def _item_scope(item: Any) -> dict[str, str]:
    if isinstance(item, dict):
        parts = {f"item.{key}": _item_text(value) for key, value in item.items()}
        return {"item": json.dumps(item), **parts}
    return {"item": _item_text(item)}


def _item_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _item_label(item: Any) -> str:
    if isinstance(item, dict):
        return ",".join(f"{key}:{_item_text(item[key])}" for key in sorted(item))
    return _item_text(item)


def _backoff(strategy: RetryStrategy, attempt: int) -> tuple[float, float | None]:
    """Seconds before the next try, and the most seconds all tries may take."""
    backoff = strategy.backoff
    if backoff is None:
        return 0.0, None
    wait = pod.duration(backoff.duration) * float(backoff.factor) ** attempt
    if backoff.cap is not None:
        wait = min(wait, pod.duration(backoff.cap))
    return wait, pod.duration(backoff.max_duration) if backoff.max_duration is not None else None


def _age(timestamp: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()


def _sentence(error: LocalError) -> str:
    return error.message if error.hint is None else f"{error.message} ({error.hint})"
