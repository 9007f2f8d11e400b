"""DL318 to DL327: what Argo asks of a template, a step or task, and of what it hands out."""

import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.flows import calls, every_call, every_template, flows, tags
from driftloop.check.world import World
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

TYPES = ("container", "containerSet", "script", "resource", "dag", "steps", "suspend", "data", "http", "plugin")  # fmt: skip
_OF_CALL = (
    "name", "template", "templateRef", "inline", "arguments", "when", "withItems", "withParam", "withSequence",
    "continueOn", "onExit", "hooks",
)  # fmt: skip
_OF_TASK = (*_OF_CALL, "dependencies", "depends")
_OF_TEMPLATE = (
    "retryStrategy", "activeDeadlineSeconds", "timeout", "nodeSelector", "affinity", "tolerations", "synchronization",
    "memoize", "metadata", "metrics", "podSpecPatch", "volumes", "parallelism", "inputs", "outputs", "priority",
    "failFast", "daemon", "sidecars", "initContainers", "serviceAccountName", "container", "script",
)  # fmt: skip
_SOURCES = ("path", "jqFilter", "jsonPath", "parameter", "expression", "supplied")
_BY_TYPE = {
    "container": ("path",),
    "containerSet": ("path",),
    "script": ("path",),
    "resource": ("jqFilter", "jsonPath"),
    "dag": ("parameter", "expression"),
    "steps": ("parameter", "expression"),
}
_HYPHEN = re.compile(r"(?<![\w.$\\-])[A-Za-z_][\w.]*(?:-\w+)+")
_NOT_NAMES = re.compile(r"""\{\{.*?\}\}|'[^']*'|"[^"]*"|\[[^\]]*\]""", re.DOTALL)


def types_of(template: YamlNode) -> list[str]:
    """The types that a template is written as; right is one."""
    return [name for name in TYPES if name in template.map and template.get(name).value is not None]


@rule(
    "DL318",
    "A loop over an artifact",
    fix="hand the list over as a parameter: `valueFrom: {path: …}` in `outputs.parameters`",
)
def looped_artifact(world: World) -> Iterator[RuleMatch]:
    """`withParam` takes the text of a list. An artifact is a file in a store, which Argo does not
    read: the step ends in an error."""
    for flow, call in every_call(world):
        node = call.node.get("withParam")
        for tag, _ in tags(node):
            if ".outputs.artifacts." in tag or tag.startswith("inputs.artifacts."):
                yield flow.object.at(node, f"{node.shown} is an artifact, not a parameter")


@rule(
    "DL319",
    "A name with a hyphen stands in `when` without quotes",
    fix="put both sides in quotes: `'{{…}}' == 'a-name'`",
)
def when_hyphen(world: World) -> Iterator[RuleMatch]:
    """Argo reads the hyphen as a subtraction of texts: the step ends in an error instead of being
    run or skipped."""
    for flow, call in every_call(world):
        node = call.node.get("when")
        for match in _HYPHEN.finditer(_NOT_NAMES.sub("0", node.text)):
            yield flow.object.at(node, f"`{match[0]}` is read as a subtraction")


@rule(
    "DL320",
    "An output parameter has no value that its template can give",
    fix="name the one source that the template's type has: `path` of a container, `parameter` of steps or a DAG",
)
def output_source(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: containers and scripts give the text of a
    file (`path`), resources a field (`jqFilter`, `jsonPath`), steps and DAGs the output of what
    they call (`parameter`, `expression`)."""
    for flow in flows(world):
        if flow.spec.get("templateDefaults"):
            continue
        for template in flow.every():
            kinds = types_of(template)
            for item in template.get("outputs", "parameters").list:
                if not item.map or item.get("value"):
                    continue
                has = [
                    name for name in _SOURCES if item.get("valueFrom", name).value not in (None, "")
                ]
                allowed = _BY_TYPE.get(kinds[0], _SOURCES) if len(kinds) == 1 else _SOURCES
                name = item.get("name")
                if len(has) > 1:
                    yield flow.object.at(
                        item.get("valueFrom"),
                        f"parameter {name.shown} has two sources: {', '.join(has)}",
                    )
                elif not has or has[0] not in allowed:
                    place = item.get("valueFrom", has[0]) if has else name
                    source = f"`{has[0]}`" if has else "no source"
                    kind = kinds[0] if len(kinds) == 1 else "template"
                    yield flow.object.at(
                        place,
                        f"parameter {name.shown} of a {kind} has {source}; "
                        f"{list_names(allowed, 'must be one of')}",
                    )


@rule(
    "DL321",
    "A DAG mixes two ways of saying what its tasks wait for",
    fix="use `depends` for every task of the DAG: `a && b.Failed`",
)
def mixed_depends(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: with `depends` there are no `dependencies`
    and no `continueOn` in the DAG, and no name of a task begins with a digit."""
    for flow, template in every_template(world):
        tasks = template.get("dag", "tasks").list
        depends = any(task.get("depends") for task in tasks)
        for task in tasks:
            for field in ("dependencies", "continueOn") if depends else ():
                if task.get(field):
                    yield flow.object.at(
                        task.get(field), f"`{field}` stands in a DAG that uses `depends`"
                    )
            name = task.get("name")
            if name.text[:1].isdigit() and (depends or task.get("dependencies")):
                what = "in a DAG that uses `depends`" if depends else "and has `dependencies`"
                yield flow.object.at(
                    name,
                    f"{name.shown} begins with a digit {what}",
                    fix="begin the name with a letter",
                )


@rule("DL322", "A DAG's target is not a task", fix="name tasks of the same DAG")
def dag_target(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: no pod starts."""
    for flow, template in every_template(world):
        node = template.get("dag", "target")
        names = [task.get("name").text for task in template.get("dag", "tasks").list]
        for name in node.text.split() if "{{" not in node.text else ():
            if name not in names:
                yield flow.object.at(
                    node,
                    f"target `{name}` is not a task; {list_names(names, 'tasks')}",
                    fix=suggest_names(name, names),
                )


@rule(
    "DL323",
    "A container waits for one that is not in its set",
    fix="name a container of the same `containerSet`",
)
def set_dependency(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: no pod starts."""
    for flow, template in every_template(world):
        inside = template.get("containerSet", "containers").list
        names = [item.get("name").text for item in inside]
        for item in inside:
            for node in item.get("dependencies").list:
                if node.text and node.text not in names:
                    yield flow.object.at(
                        node,
                        f"{node.shown} is not a container; {list_names(names, 'containers')}",
                        fix=suggest_names(node.text, names),
                    )


@rule("DL324", "A container or script has no image", fix="name the image that it runs")
def no_image(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `image may not be empty`."""
    for flow in flows(world):
        defaults = flow.spec.get("templateDefaults")
        for template in flow.every():
            for kind in ("container", "script"):
                node = template.get(kind)
                if node.map and not node.get("image") and not defaults.get(kind, "image"):
                    yield flow.object.at(node, f"the {kind} has no `image`")


@rule(
    "DL325",
    "A template has no type, or two",
    fix="give it one of: container, script, steps, dag, resource, suspend, http, containerSet, data, plugin",
)
def template_type(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `template type is unknown`, or `multiple
    template types specified`."""
    for flow in flows(world):
        if flow.spec.get("templateDefaults"):
            continue
        for template in flow.every():
            kinds = types_of(template)
            name = template.get("name")
            if template.map and not kinds:
                yield flow.object.at(name, f"template {name.shown} has no type")
            elif len(kinds) > 1:
                yield flow.object.at(
                    template.get(kinds[1]), f"template {name.shown} is {' and '.join(kinds)}"
                )


@rule(
    "DL326",
    "Steps are not in groups",
    fix="write two hyphens before the first step of a group: `- - name: …`",
)
def flat_steps(world: World) -> Iterator[RuleMatch]:
    """`steps` is a list of lists: groups run one after another, the steps of a group at the same
    time. The API server refuses the object."""
    for flow, template in every_template(world):
        for item in template.get("steps").list:
            if item.map:
                name = item.get("name")
                yield flow.object.at(
                    name if name else item, f"step {name.shown} stands in no group"
                )


@rule(
    "DL327",
    "A step or task has a field that belongs elsewhere",
    fix="write it in the template that the step or task calls",
)
def call_field(world: World) -> Iterator[RuleMatch]:
    """A strict API server refuses the object; a lenient one drops the field without a word: no
    retry, no limit, no place to run."""
    for flow, template in every_template(world):
        tasks = bool(template.get("dag"))
        for call in calls(template):
            allowed = _OF_TASK if tasks else _OF_CALL
            for field, node in call.node.map.items() if not call.hook else ():
                if field in allowed:
                    continue
                if field in _OF_TEMPLATE:
                    yield flow.object.at(node, f"`{field}` is not a field of a step or task")
                elif field in _OF_TASK:
                    yield flow.object.at(
                        node,
                        f"`{field}` is not a field of a step",
                        fix="steps wait for the group before them; use a `dag` to say more",
                    )
