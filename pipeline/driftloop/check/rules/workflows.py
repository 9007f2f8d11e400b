"""DL30x: do the parts of a workflow refer to each other rightly?"""

import posixpath
import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.flows import (
    Flow,
    TemplateCall,
    called,
    calls,
    depends_on,
    every_call,
    every_template,
    flows,
    required,
    templates_of,
)
from driftloop.check.world import CLUSTER_TEMPLATE, CRON, TEMPLATE, WORKFLOW, World
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

_STATES_OF_LOOPS = ("AnySucceeded", "AllFailed")
_STATES = (
    "Succeeded",
    "Failed",
    "Errored",
    "Skipped",
    "Omitted",
    "Daemoned",
    *_STATES_OF_LOOPS,
)


@rule("DL301", "The entrypoint names no template", fix="name one of the templates of the workflow")
def entrypoint(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the run when it is submitted: no pod starts."""
    for flow in flows(world):
        node = flow.spec.get("entrypoint")
        if flow.reference or not flow.templates:
            continue
        if node.text and "{{" not in node.text and node.text not in flow.templates:
            yield flow.object.at(
                node,
                f"entrypoint {node.shown} is not a template; {list_names(flow.templates)}",
                fix=suggest_names(node.text, flow.templates),
            )
        elif not node and flow.object.type in (WORKFLOW, CRON) and flow.object.host is None:
            yield flow.object.at(node, f"no entrypoint is named; {list_names(flow.templates)}")


@rule(
    "DL302",
    "A step or task calls a template that is not there",
    fix="call a template of the same workflow, or use `templateRef`",
)
def local_template(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the whole workflow when it is submitted: no pod starts."""
    for flow, call in every_call(world):
        node = call.template
        if flow.reference or not node.text or "{{" in node.text or node.text in flow.templates:
            continue
        yield flow.object.at(
            node,
            f"template {node.shown} is not there; {list_names(flow.templates)}",
            fix=suggest_names(node.text, flow.templates),
        )


@rule(
    "DL303",
    "A reference to a WorkflowTemplate leads nowhere",
    fix="commit the WorkflowTemplate, in the same namespace",
)
def template_reference(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the run at the moment it is submitted: with a Sensor or a schedule, long
    after the commit."""
    for flow in flows(world):
        if flow.reference and flow.object.host is None:
            yield from _reference(world, flow, flow.reference, "")
        for template in flow.every():
            for call in calls(template):
                reference = call.node.get("templateRef")
                if reference:
                    yield from _reference(world, flow, reference, reference.get("template").text)


def _reference(world: World, flow: Flow, reference: YamlNode, template: str) -> Iterator[RuleMatch]:
    templates = templates_of(world, reference, flow.object)
    name = reference.get("name")
    if not templates and (match := _elsewhere(world, flow, reference)) is not None:
        yield match
    elif templates == ():
        yield flow.object.at(
            name, f"no WorkflowTemplate {name.shown} in namespace `{flow.object.namespace}`"
        )
    elif (
        templates
        and template
        and "{{" not in template
        and all(template not in candidate.templates for candidate in templates)
    ):
        node = reference.get("template")
        yield flow.object.at(
            node,
            f"{templates[0].object.subject} has no template {node.shown}; {list_names(templates[0].templates)}",
            fix=suggest_names(template, templates[0].templates),
        )


def _elsewhere(world: World, flow: Flow, reference: YamlNode) -> RuleMatch | None:
    """Return the finding for a template that is in the set, but not where Argo looks for it."""
    name, one = reference.get("name"), flow.object
    if reference.get("clusterScope").value is True or not name.text or not one.namespace:
        return None
    if world.named(CLUSTER_TEMPLATE, name.text, ""):
        return one.at(
            name,
            f"{name.shown} is a ClusterWorkflowTemplate, and the reference is to a WorkflowTemplate",
            fix="add `clusterScope: true` to the reference",
        )
    places = sorted(
        {other.namespace for other in world.of(TEMPLATE) if other.name == name.text} - {""}
    )
    if not places or world.external(TEMPLATE, name.text, one.namespace, one):
        return None
    return one.at(
        name,
        f"WorkflowTemplate {name.shown} is in {list_names(places, 'namespace')}, not in `{one.namespace}`",
        fix="commit the WorkflowTemplate in the namespace of the workflow: Argo looks in no other",
    )


@rule(
    "DL304",
    "A task waits for a task that is not there, for itself, or for a state that never comes",
    fix="name tasks of the same DAG, without a circle",
)
def dependencies(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: no pod starts."""
    for flow, template in every_template(world):
        tasks = template.get("dag", "tasks").list
        names = {task.get("name").text for task in tasks}
        looped = {call.name for call in calls(template) if call.looped}
        for task in tasks:
            for name, state, node in depends_on(task):
                if "{{" in node.text:
                    continue
                if name not in names:
                    yield flow.object.at(
                        node,
                        f"task `{name}` is not in this DAG; {list_names(names, 'tasks')}",
                        fix=suggest_names(name, names),
                    )
                elif state and state not in _STATES:
                    yield flow.object.at(
                        node,
                        f"`{name}.{state}` is not a state; {list_names(_STATES, 'states')}",
                        fix=suggest_names(state, _STATES),
                    )
                elif state in _STATES_OF_LOOPS and name not in looped:
                    yield flow.object.at(
                        node,
                        f"`{name}.{state}` is a state of loops, and `{name}` is none",
                        fix=f"wait for `{name}.Succeeded` or `{name}.Failed`",
                    )
        yield from _circle(flow, template)


def _circle(flow: Flow, template: YamlNode) -> Iterator[RuleMatch]:
    waits = {
        task.get("name").text: (task, [name for name, _, _ in depends_on(task)])
        for task in template.get("dag", "tasks").list
    }
    done: set[str] = set()
    for first in waits:
        path = [first]
        stack = [iter(waits[first][1])]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
                done.add(path.pop())
            elif name in path:
                task = waits[path[-1]][0]
                node = task.get("depends") if task.get("depends") else task.get("dependencies")
                circle = [*path[path.index(name) :], name]
                yield flow.object.at(node, f"the tasks wait for each other: {' -> '.join(circle)}")
                return
            elif name in waits and name not in done:
                path.append(name)
                stack.append(iter(waits[name][1]))


@rule(
    "DL305",
    "A called template does not get an input it needs",
    fix="hand it over in `arguments`, or give the input a `default`",
)
def inputs(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `inputs.parameters.… was not supplied`."""
    for flow, call in every_call(world):
        for target in called(world, flow, call) or ():
            yield from _lacking(flow, call, target)
            break


def _lacking(flow: Flow, call: TemplateCall, target: YamlNode) -> Iterator[RuleMatch]:
    parameters, artifacts = required(target)
    arguments = call.given
    what = "hook of" if call.hook else "call of"
    for kind, needed, has in (
        ("parameter", parameters, arguments[0]),
        ("artifact", artifacts, arguments[1]),
    ):
        for name in needed:
            if name not in has:
                at = call.template if call.template else call.node.get("templateRef", "template")
                message = (
                    f"the {what} template `{target.get('name').text}` hands over no {kind} `{name}`"
                )
                yield flow.object.at(at if at else call.node, message)


@rule("DL306", "Two templates, steps or tasks have the same name", fix="give each its own name")
def unique(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow, or runs the last one under both names."""
    for flow in flows(world):
        yield from _unique(flow, flow.spec.get("templates").list, "template")
        for template in flow.every():
            yield from _unique(
                flow, [call.node for call in calls(template) if not call.hook], "step or task"
            )
            for side in ("inputs", "outputs"):
                for what in ("parameters", "artifacts"):
                    yield from _unique(
                        flow, template.get(side, what).list, f"{side[:-1]} {what[:-1]}"
                    )


def _unique(flow: Flow, nodes: list[YamlNode], what: str) -> Iterator[RuleMatch]:
    seen: dict[str, YamlNode] = {}
    for node in nodes:
        name = node.get("name")
        if name.text and name.text in seen:
            yield flow.object.at(
                name, f"{what} {name.shown} is already in line {seen[name.text].line}"
            )
        seen.setdefault(name.text, name)


@rule(
    "DL307",
    "An exit handler or hook names no template",
    fix="name one of the templates of the workflow",
)
def handlers(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted; a handler that never ran reports no end."""
    for flow in flows(world):
        if flow.reference:
            continue
        nodes = [flow.spec.get("onExit")]
        nodes += [hook.get("template") for hook in flow.spec.get("hooks").map.values()]
        nodes += [call.node.get("onExit") for template in flow.every() for call in calls(template)]
        for node in nodes:
            if node.text and "{{" not in node.text and node.text not in flow.templates:
                yield flow.object.at(
                    node,
                    f"handler {node.shown} is not a template; {list_names(flow.templates)}",
                    fix=suggest_names(node.text, flow.templates),
                )


_PATH = re.compile(r"(?<![\w.\-})])/[\w.\-/]*[\w\-]\.[A-Za-z0-9]+")
_FILE = re.compile(r"(?:--?[\w-]+=)?([\w\-]+\.[A-Za-z][A-Za-z0-9]{0,4})")


@rule(
    "DL308",
    "A file is written under one name and collected under another",
    fix="write and collect the same path",
)
def collected(world: World) -> Iterator[RuleMatch]:
    """The container ends well, then the run fails: Argo finds nothing at the path of the output.
    Nothing else in the template names that path or its folder, and a file of nearly the same
    name is written instead."""
    for flow, template in every_template(world):
        container = (
            template.get("container") if template.get("container") else template.get("script")
        )
        if not container:
            continue
        words = [
            node.text for field in ("command", "args") for node in container.get(field).texts()
        ]
        listing = "\n".join(
            [
                *words,
                *(
                    node.text
                    for field in ("source", "env")
                    for node in container.get(field).texts()
                ),
            ]
        )
        taken = {
            item.get("path").text
            for side in ("inputs", "outputs")
            for item in template.get(side, "artifacts").list
        }
        written = {path for path in _PATH.findall(listing) if path not in taken}
        bare = {match[1] for word in words if (match := _FILE.fullmatch(word))}
        rest = _PATH.sub(" ", listing)
        for node in _outputs(template):
            folder, name = posixpath.split(node.text)
            if (
                "." not in name
                or node.text in listing
                or _relative(container, node.text) in listing
                or "{{" in node.text
                or "outputs.artifacts" in listing
            ):
                continue
            if len(folder) > 1 and folder in rest:
                continue
            overlapping = [path for path in written if _meant(path, node.text)]
            overlapping += [
                file for file in bare - {name} if name not in listing and _alike(file, name)
            ]
            if overlapping:
                yield flow.object.at(
                    node, f"{node.shown} is collected, `{min(overlapping)}` is written"
                )


def _relative(container: YamlNode, path: str) -> str:
    """A path as the container names it from its working directory; that of most images is `/`."""
    return posixpath.relpath(path, container.get("workingDir").text or "/")


def _outputs(template: YamlNode) -> Iterator[YamlNode]:
    """The paths that have to be there when the container has ended."""
    for item in template.get("outputs", "artifacts").list:
        if item.get("optional").value is not True:
            yield item.get("path")
    for item in template.get("outputs", "parameters").list:
        if not item.get("valueFrom", "default"):
            yield item.get("valueFrom", "path")


def _meant(path: str, output: str) -> bool:
    """Return True if a path that is written is meant to be the output: nearly its name beside
    it, or its name elsewhere."""
    (folder, name), (folder_, name_) = posixpath.split(path), posixpath.split(output)
    return _alike(name, name_) if folder == folder_ else name == name_


def _alike(one: str, other: str) -> bool:
    """Return True if two file names are meant to be one: the same stem, or the same ending and
    nearly the same stem."""
    (stem, ending), (stem_, ending_) = posixpath.splitext(one), posixpath.splitext(other)
    return stem.lower() == stem_.lower() or (
        ending == ending_
        and (suggest_names(stem, [stem_]) is not None or stem in stem_ or stem_ in stem)
    )
