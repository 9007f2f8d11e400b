"""Argo's workflows as the rules see them: templates by name, who calls whom, who starts what
with which arguments."""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property

from driftloop.check.world import CLUSTER_TEMPLATE, CRON, SENSOR, TEMPLATE, WORKFLOW, Object, World
from driftloop.text.node import YamlNode

_TAG = re.compile(r"\{\{([^{}]*)\}\}")
_DEST = re.compile(r"(?:^|\.)spec\.arguments\.(parameters|artifacts)(?:\.(-?\d+)(?:\.(\w+))?.*)?$")
_DEPENDS = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_]*)(?:\.([A-Za-z]+))?")
LOOPS = ("withItems", "withParam", "withSequence")
_LOCATIONS = ("s3", "git", "http", "raw", "hdfs", "gcs", "oss", "azure", "artifactory", "plugin")


def tags(node: YamlNode) -> Iterator[tuple[str, YamlNode]]:
    """The simple tags `{{…}}` in every text of a value, without blanks; expressions (`{{=…}}`)
    are left out."""
    for text in node.texts():
        if "{{" in text.text:
            for match in _TAG.findall(text.text):
                tag = match.strip()
                if not tag.startswith("="):
                    yield tag, _within(text, match)


_QUOTED = re.compile(r"""(\[\s*(?:'[^'\n]*'|"[^"\n]*")\s*\])|'[^'\n]*'|"[^"\n]*\"""")
_NAME = r"""\[\s*['"]([-\w]+)['"]\s*\]|\.([A-Za-z_]\w*)\b(?![-?]|\s*\()"""
_EXPRESSION = re.compile(
    rf"(?<![\w.])(tasks|steps)(?:{_NAME})(?:\.outputs\.(parameters|artifacts)(?:{_NAME}))?"
)


def references(
    node: YamlNode, but: Container[int] = frozenset()
) -> Iterator[tuple[str, str, YamlNode]]:
    """Yield the references of a value to steps and tasks, in tags or in expressions: (as a tag,
    as it is written, where); texts whose `id` is in `but` are left out."""
    for text in node.texts():
        if "{{" not in text.text or id(text) in but:
            continue
        yield from ((tag, f"{{{{{tag}}}}}", place) for tag, place in tags(text))
        for match in _TAG.findall(text.text):
            if match.strip().startswith("="):
                yield from ((tag, shown, _within(text, match)) for tag, shown in _expressed(match))
    for _, inner in node.mappings():
        for text in (inner.get("fromExpression"), inner.get("valueFrom", "expression")):
            if id(text) not in but:
                yield from ((tag, shown, text) for tag, shown in _expressed(text.text))


def _expressed(text: str) -> Iterator[tuple[str, str]]:
    """Steps, tasks and outputs of theirs that an expression names: (as a tag, as it is written)."""
    for match in _EXPRESSION.finditer(_QUOTED.sub(lambda quoted: quoted[1] or "''", text)):
        what, name, output = match[1], match[2] or match[3], match[5] or match[6]
        yield f"{what}.{name}.outputs" + (f".{match[4]}.{output}" if output else ""), match[0]


def _within(node: YamlNode, tag: str) -> YamlNode:
    """Return the place of a tag: its own line in a block, otherwise that of the value."""
    if not node.literal:
        return node
    before = node.text[: node.text.find("{{" + tag + "}}")].count("\n")
    return YamlNode(node.value, node.line + 1 + before, 1, source=node.source)


@dataclass(frozen=True, eq=False)
class TemplateCall:
    """A step or task: what it calls and what it hands over."""

    node: YamlNode
    """The step or task, or a hook of one."""
    name: str
    group: int
    """Which group of steps it is in; 0 for tasks."""
    hook: bool = False

    @property
    def template(self) -> YamlNode:
        return self.node.get("template")

    @property
    def given(self) -> "tuple[set[str], set[str]]":
        """Names of the parameters and artifacts it hands over."""
        arguments = self.node.get("arguments")
        return (
            {item.get("name").text for item in arguments.get("parameters").list},
            {item.get("name").text for item in arguments.get("artifacts").list},
        )

    @property
    def looped(self) -> bool:
        return any(field in self.node.map for field in LOOPS)


@dataclass(frozen=True, eq=False)
class Flow:
    """The workflow spec of an object: a Workflow, a template of one, or what a CronWorkflow
    runs."""

    object: Object
    spec: YamlNode

    @cached_property
    def templates(self) -> dict[str, YamlNode]:
        return {node.get("name").text: node for node in self.spec.get("templates").list}

    @property
    def reference(self) -> YamlNode:
        """`workflowTemplateRef`; a missing node when the templates are its own."""
        return self.spec.get("workflowTemplateRef")

    @cached_property
    def parameters(self) -> dict[str, YamlNode]:
        """`spec.arguments.parameters` by name."""
        return {
            node.get("name").text: node for node in self.spec.get("arguments", "parameters").list
        }

    @cached_property
    def artifacts(self) -> set[str]:
        return {node.get("name").text for node in self.spec.get("arguments", "artifacts").list}

    def every(self) -> Iterator[YamlNode]:
        """Each template, those written inline in a task among them."""
        for template in self.spec.get("templates").list:
            yield from _with_inline(template)


def _with_inline(template: YamlNode) -> Iterator[YamlNode]:
    yield template
    for call in calls(template):
        if call.node.get("inline"):
            yield from _with_inline(call.node.get("inline"))


def calls(template: YamlNode) -> Iterator[TemplateCall]:
    """The steps or tasks of a template, then their hooks."""
    steps_called: list[TemplateCall] = []
    for index, group in enumerate(template.get("steps").list):
        steps = group.list or [group]
        steps_called += [
            TemplateCall(step, step.get("name").text, index) for step in steps if step.map
        ]
    steps_called += [
        TemplateCall(task, task.get("name").text, 0) for task in template.get("dag", "tasks").list
    ]
    yield from steps_called
    for call in steps_called:
        for hook in call.node.get("hooks").map.values():
            yield TemplateCall(hook, call.name, call.group, hook=True)


def flow(one: Object) -> Flow | None:
    """The workflow spec of an object that has one."""
    if one.type in (WORKFLOW, TEMPLATE, CLUSTER_TEMPLATE):
        return Flow(one, one.spec)
    return Flow(one, one.spec.get("workflowSpec")) if one.type == CRON else None


def flows(world: World) -> Iterator[Flow]:
    """Every workflow spec of a set."""
    for item in world.of(WORKFLOW, TEMPLATE, CLUSTER_TEMPLATE, CRON):
        workflow = flow(item)
        if workflow is not None:
            yield workflow


def every_template(world: World) -> Iterator[tuple[Flow, YamlNode]]:
    """Every template of a set, and the workflow spec that it is of."""
    for each in flows(world):
        yield from ((each, template) for template in each.every())


def every_call(world: World) -> Iterator[tuple[Flow, TemplateCall]]:
    """Every step, task and hook of a set, and the workflow spec that it is of."""
    for each, template in every_template(world):
        yield from ((each, call) for call in calls(template))


def semaphores(world: World) -> Iterator[tuple[Object, YamlNode]]:
    """Yield the references of semaphores to keys of ConfigMaps, and the objects they are in."""
    for flow in flows(world):
        for key, node in flow.spec.mappings():
            if key == "synchronization":
                for item in (*node.get("semaphores").list, node.get("semaphore")):
                    if item.get("configMapKeyRef"):
                        yield flow.object, item.get("configMapKeyRef")


def templates_of(world: World, reference: YamlNode, of: Object) -> tuple[Flow, ...] | None:
    """Return the targets of a `workflowTemplateRef` or `templateRef`: () when none exists, None
    when unknown."""
    name = reference.get("name").text
    wide = reference.get("clusterScope").value is True
    if wide:
        owners: tuple[Object, ...] | None = world.named(CLUSTER_TEMPLATE, name, "") or (
            () if world.complete else None
        )
    else:
        owners = world.target(TEMPLATE, name, of)
    return None if owners is None else tuple(Flow(owner, owner.spec) for owner in owners)


def called(world: World, inside: Flow, call: TemplateCall) -> tuple[YamlNode, ...] | None:
    """The templates a step or task may run; None when the files don't say."""
    node = call.node
    if node.get("inline"):
        return (node.get("inline"),)
    reference = node.get("templateRef")
    if reference:
        flow_of_cron = templates_of(world, reference, inside.object)
        name = reference.get("template").text
        if not flow_of_cron or "{{" in name:
            return None
        return (
            tuple(
                candidate.templates[name]
                for candidate in flow_of_cron
                if name in candidate.templates
            )
            or None
        )
    name = call.template.text
    if not name or "{{" in name or name not in inside.templates:
        return None
    return (inside.templates[name],)


def required(template: YamlNode) -> tuple[dict[str, YamlNode], dict[str, YamlNode]]:
    """The inputs of a template that a caller must hand over: parameters, artifacts."""
    inputs = template.get("inputs")
    return (
        {
            item.get("name").text: item
            for item in inputs.get("parameters").list
            if not any(field in item.map for field in ("value", "default", "valueFrom"))
        },
        {
            item.get("name").text: item
            for item in inputs.get("artifacts").list
            if item.get("optional").value is not True
            and not any(field in item.map for field in _LOCATIONS)
        },
    )


def depends_on(task: YamlNode) -> Iterator[tuple[str, str, YamlNode]]:
    """Yield the dependencies of a task: (task, state or empty, place)."""
    for item in task.get("dependencies").list:
        yield item.text, "", item
    node = task.get("depends")
    for name, state in _DEPENDS.findall(node.text):
        yield name, state, node


def ancestors(template: YamlNode) -> dict[str, set[str]]:
    """Task -> every task that has ended before it starts."""
    direct = {
        task.get("name").text: {name for name, _, _ in depends_on(task)}
        for task in template.get("dag", "tasks").list
    }
    ancestors_of: dict[str, set[str]] = {}
    for task, parents in direct.items():
        seen: set[str] = set()
        open_ = list(parents)
        while open_:
            name = open_.pop()
            if name not in seen:
                seen.add(name)
                open_ += direct.get(name, set())
        ancestors_of[task] = seen
    return ancestors_of


@dataclass(frozen=True, eq=False)
class Start:
    """Something that starts runs by itself: who, of which templates, with which arguments."""

    object: Object
    """Sensor, CronWorkflow, or the workflow whose step creates another one."""
    at: YamlNode
    """Where a lack of arguments is reported."""
    flow: Flow
    """What is submitted."""
    templates: Flow | None
    """Where its templates stand: itself, or what it refers to; None when that is not in the set."""
    filled: frozenset[str]
    """Parameters that get their value from an event."""
    open: bool = False
    """Arguments come from somewhere the files don't show."""

    @property
    def values(self) -> dict[str, YamlNode]:
        """All of `spec.arguments.parameters`, the caller's over the template's."""
        inherited = self.templates.parameters if self.templates is not None else {}
        return {**inherited, **self.flow.parameters}

    def given(self, name: str) -> bool:
        """Return True if a parameter has a value when the run starts."""
        own = self.values.get(name)
        inherited = self.templates.parameters.get(name) if self.templates is not None else None
        return (
            self.open
            or name in self.filled
            or any(
                field in node.map
                for node in (own, inherited)
                if node is not None
                for field in ("value", "valueFrom", "default")
            )
        )


def starts(world: World) -> Iterator[Start]:
    """Everything in a set that starts runs without a person."""
    for item in world.of(CRON):
        workflow = flow(item)
        if workflow is not None:
            yield _start(world, item, workflow, workflow.spec, frozenset(), open_=False)
    for item in world.of(WORKFLOW):
        if item.host is None:
            continue
        workflow = Flow(item, item.spec)
        if item.host.type == SENSOR:
            filled, open_ = _filled(item.host, workflow)
            yield _start(world, item, workflow, item.spec, filled, open_=open_)
        else:
            yield _start(world, item, workflow, item.spec, frozenset(), open_=False)


def _start(
    world: World, one: Object, found: Flow, at: YamlNode, filled: frozenset[str], *, open_: bool
) -> Start:
    templates: Flow | None = found
    if found.reference:
        targets = templates_of(world, found.reference, one)
        templates = targets[0] if targets else None
    at = found.reference.get("name") if found.reference else at
    return Start(one, at, found, templates, filled, open_)


def destinations(sensor: Object, inside: Flow) -> Iterator[tuple[YamlNode, str, int | None, str]]:
    """Yield the fields that a trigger's parameters fill in its Workflow: (dest,
    parameters|artifacts, index, field)."""
    for trigger in sensor.spec.get("triggers").list:
        for field in ("k8s", "argoWorkflow"):
            body = trigger.get("template", field)
            if body.get("source", "resource").map is not inside.object.node.map:
                continue
            for item in (*body.get("parameters").list, *trigger.get("parameters").list):
                dest = item.get("dest")
                match = _DEST.search(dest.text)
                if match:
                    index = match[2]
                    yield dest, match[1], int(index) if index is not None else None, match[3] or ""


def _filled(sensor: Object, inside: Flow) -> tuple[frozenset[str], bool]:
    names: set[str] = set()
    open_ = False
    listed = inside.spec.get("arguments", "parameters").list
    for _, what, index, field in destinations(sensor, inside):
        if what != "parameters":
            continue
        if index is None or index < 0 or field in ("", "name"):
            open_ = True
        elif index < len(listed):
            names.add(listed[index].get("name").text)
    for trigger in sensor.spec.get("triggers").list:
        for field in ("k8s", "argoWorkflow"):
            body = trigger.get("template", field)
            if body.get("source", "resource").map is inside.object.node.map:
                whole = {
                    "spec",
                    "spec.arguments",
                    "",
                    "k8s.source.resource.spec",
                    "k8s.source.resource.spec.arguments",
                }
                open_ = open_ or any(
                    item.get("dest").text in whole for item in body.get("parameters").list
                )
                open_ = open_ or bool(body.get("args"))
    return frozenset(names), open_
