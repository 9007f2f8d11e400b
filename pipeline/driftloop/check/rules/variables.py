"""DL31x: does every `{{…}}` of a workflow lead to a value?"""

import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.flows import (
    Flow,
    TemplateCall,
    ancestors,
    called,
    calls,
    flows,
    references,
    starts,
    tags,
)
from driftloop.check.world import CRON, SENSOR, WORKFLOW, Object, World
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

_INPUT = re.compile(r"inputs\.(parameters|artifacts)\.([-A-Za-z0-9_{}]+)(?:\.path)?$")
_REFERENCE = re.compile(
    r"(tasks|steps)\.([-A-Za-z0-9_]+)\.outputs\.(parameters|artifacts)\.([-A-Za-z0-9_]+)$"
)
_STEP = re.compile(r"(tasks|steps)\.([-A-Za-z0-9_]+)\.\w")
_WORKFLOW = re.compile(r"workflow\.([A-Za-z]+)")
_OUTPUT = re.compile(r"workflow\.outputs\.(parameters|artifacts)\.([-A-Za-z0-9_]+)$")
_PARAMETER = re.compile(r"workflow\.parameters\.([-A-Za-z0-9_]+)$")
_KNOWN = (
    "name", "namespace", "uid", "serviceAccountName", "parameters", "labels", "annotations", "creationTimestamp",
    "duration", "priority", "status", "failures", "mainEntrypoint", "scheduledTime", "outputs",
)  # fmt: skip


def _flows(world: World) -> Iterator[Flow]:
    """Every workflow but those in the manifest of a template, where `{{…}}` is the outer
    workflow's."""
    for flow in flows(world):
        if flow.object.host is None or flow.object.host.type == SENSOR:
            yield flow


@rule(
    "DL311",
    "A template uses an input that it does not have",
    fix="declare it in the template's `inputs`",
)
def input_tag(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `failed to resolve {{inputs.…}}`."""
    for flow in _flows(world):
        for template in flow.every():
            names = {
                what: {item.get("name").text for item in template.get("inputs", what).list}
                for what in ("parameters", "artifacts")
            }
            for tag, node in _tags(template):
                match = _INPUT.match(tag)
                if match and match[2] not in names[match[1]]:
                    names_there = list_names(names[match[1]], match[1])
                    yield flow.object.at(
                        node,
                        f"`{{{{{tag}}}}}` leads nowhere; {names_there}",
                        fix=suggest_names(match[2], names[match[1]]),
                    )


def _tags(template: YamlNode) -> Iterator[tuple[str, YamlNode]]:
    """The tags of a template; those of templates written inline in it belong to these, and see
    the outer ones too."""
    within = _inline(template)
    for text in template.texts():
        if id(text) not in within:
            yield from tags(text)


def _inline(template: YamlNode) -> set[int]:
    """The texts of templates that are written inline in a template."""
    inline = [call.node.get("inline") for call in calls(template) if call.node.get("inline")]
    return {id(text) for node in inline for text in node.texts()}


@rule(
    "DL312",
    "A tag names a step or task that is not there, or that has not run yet",
    fix="name a step or task that ends before, and depend on it",
)
def step_tag(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `failed to resolve {{tasks.…}}`."""
    for flow in _flows(world):
        for template in flow.every():
            called_steps = [call for call in calls(template) if not call.hook]
            if not called_steps:
                continue
            what = "tasks" if template.get("dag") else "steps"
            names = {call.name: call for call in called_steps}
            before = ancestors(template)
            for call in called_steps:
                literal = (
                    {(tag, node.place) for tag, _, node in _raw(call)} if what == "tasks" else set()
                )
                for tag, shown, node in _references_of(call):
                    match = _STEP.match(tag)
                    if match is None:
                        continue
                    if match[1] != what or match[2] not in names:
                        yield flow.object.at(
                            node,
                            f"`{shown}` names no {what[:-1]} of this template; {list_names(names, what)}",
                            fix=suggest_names(match[2], names),
                        )
                    elif (tag, node.place) not in literal and not _ended(
                        what, names[match[2]], call, before
                    ):
                        yield flow.object.at(
                            node,
                            f"`{shown}`: `{match[2]}` need not have ended when `{call.name}` starts",
                        )
            for tag, shown, node in references(template.get("outputs")):
                match = _STEP.match(tag)
                if match and (match[1] != what or match[2] not in names):
                    yield flow.object.at(
                        node,
                        f"`{shown}` names no {what[:-1]} of this template; {list_names(names, what)}",
                        fix=suggest_names(match[2], names),
                    )


def _references_of(call: TemplateCall) -> Iterator[tuple[str, str, YamlNode]]:
    for field, node in call.node.map.items():
        if field not in ("hooks", "inline"):
            yield from references(node)


def _raw(call: TemplateCall) -> Iterator[tuple[str, str, YamlNode]]:
    """The references in the texts that a task hands over as artifacts."""
    for item in call.node.get("arguments", "artifacts").list:
        yield from references(item.get("raw", "data"))


@rule(
    "DL317",
    "The text of an artifact names a task that need not have ended",
    severity=Severity.WARNING,
    fix="depend on the task, or name one that has ended",
)
def literal_tag(world: World) -> Iterator[RuleMatch]:
    """Argo takes the workflow, puts nothing in the place of the tag, and hands over the text with
    the `{{tasks.…}}` in it."""
    for flow in _flows(world):
        for template in flow.every():
            tasks = [call for call in calls(template) if not call.hook]
            if not template.get("dag"):
                continue
            names = {call.name: call for call in tasks}
            before = ancestors(template)
            for call in tasks:
                for tag, shown, node in _raw(call):
                    match = _STEP.match(tag)
                    if (
                        match is not None
                        and match[2] in names
                        and not _ended("tasks", names[match[2]], call, before)
                    ):
                        yield flow.object.at(
                            node,
                            f"`{shown}` stays as it is: `{match[2]}` need not have ended "
                            f"when `{call.name}` starts",
                        )


def _ended(what: str, other: TemplateCall, call: TemplateCall, before: dict[str, set[str]]) -> bool:
    if other.name == call.name:
        return False
    return (
        other.group < call.group if what == "steps" else other.name in before.get(call.name, set())
    )


@rule(
    "DL313",
    "A tag names an output that the called template does not have",
    fix="declare it in the called template's `outputs`",
)
def output_tag(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted, or the consumer starts without the file it
    was promised."""
    for flow in _flows(world):
        for template in flow.every():
            names = {call.name: call for call in calls(template) if not call.hook}
            if not names:
                continue
            for tag, shown, node in references(template, _inline(template)):
                match = _REFERENCE.match(tag)
                if match is None or match[2] not in names:
                    continue
                targets = called(world, flow, names[match[2]])
                if not targets:
                    continue
                has = {
                    item.get("name").text
                    for target in targets
                    for item in target.get("outputs", match[3]).list
                }
                dynamic = any("{{" in name for name in has)
                what = f"outputs of template `{targets[0].get('name').text}`"
                if match[4] not in has and not dynamic:
                    yield flow.object.at(
                        node,
                        f"`{shown}` leads nowhere; {list_names(has, what)}",
                        fix=suggest_names(match[4], has),
                    )


@rule(
    "DL314", "A tag names no variable of the workflow", fix="use one of the variables that Argo has"
)
def workflow_tag(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `failed to resolve {{workflow.…}}`."""
    for flow in _flows(world):
        for tag, node in tags(flow.spec):
            match = _WORKFLOW.match(tag)
            if match and match[1] not in _KNOWN:
                yield flow.object.at(
                    node,
                    f"`{{{{{tag}}}}}` is not a variable; {list_names(_KNOWN, 'there are')}",
                    fix=suggest_names(match[1], _KNOWN),
                )
        yield from _undeclared_outputs(flow)


def _undeclared_outputs(flow: Flow) -> Iterator[RuleMatch]:
    """Outputs of the workflow are those that a template of it gives a `globalName`."""
    if flow.reference or any(
        call.node.get("templateRef") for template in flow.every() for call in calls(template)
    ):
        return
    names = {
        what: {
            item.get("globalName").text
            for template in flow.every()
            for item in template.get("outputs", what).list
        }
        - {""}
        for what in ("parameters", "artifacts")
    }
    for tag, node in tags(flow.spec):
        match = _OUTPUT.match(tag)
        if not match or any("{{" in name for name in names[match[1]]):
            continue
        if match[2] not in names[match[1]]:
            yield flow.object.at(
                node,
                f"`{{{{{tag}}}}}` leads nowhere; {list_names(names[match[1]], 'outputs with a `globalName`')}",
                fix=suggest_names(match[2], names[match[1]]),
            )


@rule(
    "DL315",
    "A workflow uses a parameter that gets no value",
    fix="declare it in `spec.arguments.parameters`",
)
def parameter_tag(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the run when it is submitted: `failed to resolve {{workflow.parameters.…}}`.
    For a template that something in these files starts, the starter's arguments count too."""
    for flow in _flows(world):
        if flow.object.type in (WORKFLOW, CRON) and not flow.reference:
            yield from _undeclared(flow.object, flow, set(flow.parameters))
    started: dict[int, tuple[Object, Flow, set[str]]] = {}
    for start in starts(world):
        if start.templates is None or start.open or not start.flow.reference:
            continue
        owner = start.templates.object
        entry = started.setdefault(id(owner), (start.object, start.templates, set(start.values)))
        entry[2].intersection_update(set(start.values))
    for by, flow, names in started.values():
        yield from _undeclared(flow.object, flow, names, f"; started by {by.subject}")


def _undeclared(one: Object, flow: Flow, names: set[str], tail: str = "") -> Iterator[RuleMatch]:
    for tag, node in tags(flow.spec):
        match = _PARAMETER.match(tag)
        if match and match[1] not in names and match[1] != "json":
            yield one.at(
                node,
                f"`{{{{{tag}}}}}` leads nowhere; {list_names(names, 'parameters')}{tail}",
                fix=suggest_names(match[1], names),
            )


@rule(
    "DL345",
    "What runs before the end of a workflow uses the list of its failures",
    fix="use it in the template of `onExit` alone",
)
def failures_tag(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `failed to resolve {{workflow.failures}}`.
    There are failures once everything else has ended."""
    for flow in _flows(world):
        reached: dict[str, YamlNode] = {}
        open_ = [flow.spec.get("entrypoint").text]
        while open_:
            name = open_.pop()
            if name in reached or name not in flow.templates:
                continue
            reached[name] = flow.templates[name]
            open_ += [call.template.text for call in calls(reached[name]) if not call.hook]
        for template in reached.values():
            for tag, node in _tags(template):
                if tag == "workflow.failures":
                    yield flow.object.at(
                        node,
                        f"`{{{{{tag}}}}}` stands in what `{flow.spec.get('entrypoint').text}` runs",
                    )
