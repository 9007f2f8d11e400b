"""DL328 to DL334: names, loops, calls, retries and paths that Argo refuses on submission."""

import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.flows import LOOPS, calls, every_call, every_template, flows
from driftloop.check.rules.templates import types_of
from driftloop.check.world import World
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

_CALLS = ("template", "templateRef", "inline")
_ACTIONS = ("get", "create", "apply", "delete", "replace", "patch")
_POLICIES = ("Always", "OnFailure", "OnError", "OnTransientError")
_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_TAG = re.compile(r"\{\{[^{}]*\}\}")
LONGEST_NAME = 128
_WITHOUT_FILES = ("steps", "dag")
"""Types of templates that pass artifacts on; the others write them to a path."""


@rule("DL328", "A step or task has two loops", fix="keep one of withItems, withParam, withSequence")
def two_loops(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: no pod starts."""
    for flow, call in every_call(world):
        loops = [name for name in LOOPS if _is_loop(call.node.get(name))]
        if len(loops) > 1:
            yield flow.object.at(call.node.get(loops[1]), f"it loops by {' and '.join(loops)}")


def _is_loop(node: YamlNode) -> bool:
    return bool(node) and node.value not in ("", [])


@rule(
    "DL329",
    "A template, step or task has a name that Argo does not take",
    fix="use letters, digits and hyphens, a letter or digit first",
)
def name_form(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted. Names with dots or underscores are right for
    parameters and artifacts, not for what is called."""
    for flow in flows(world):
        named = [("template", node) for node in flow.spec.get("templates").list]
        for template in flow.every():
            noun = "task" if template.get("dag") else "step"
            named += [(noun, call.node) for call in calls(template) if not call.hook]
        for noun, node in named:
            name = node.get("name")
            if not node.map or (name and not name.text):
                continue
            if not name:
                yield flow.object.at(node, f"the {noun} has no name", fix="name it")
            elif not _NAME.fullmatch(_TAG.sub("x", name.text)):
                yield flow.object.at(name, f"{noun} {name.shown} is not a name")
            elif len(name.text) > LONGEST_NAME:
                yield flow.object.at(
                    name,
                    f"the name of the {noun} has {len(name.text)} characters, must be at most {LONGEST_NAME}",
                    fix="shorten it",
                )


@rule(
    "DL330",
    "A resource template has an action that does not exist",
    fix="use one of: get, create, apply, delete, replace, patch",
)
def resource_action(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: no pod starts."""
    for flow, template in every_template(world):
        resource = template.get("resource")
        action = resource.get("action")
        if not resource.map or "{{" in action.text or action.text in _ACTIONS:
            continue
        text = f"action {action.shown}" if action else "no action"
        yield flow.object.at(
            action if action else resource,
            f"the resource has {text}; {list_names(_ACTIONS, 'must be one of')}",
            fix=suggest_names(action.text, _ACTIONS),
        )


@rule(
    "DL331",
    "A retry policy does not exist",
    fix="use one of: Always, OnFailure, OnError, OnTransientError; without `retryStrategy` nothing is retried",
)
def retry_policy(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted, or, where the policy is one for all
    templates, ends each step in an error."""
    for flow in flows(world):
        for holder in (flow.spec, flow.spec.get("templateDefaults"), *flow.every()):
            node = holder.get("retryStrategy", "retryPolicy")
            if node.value in (None, "") or node.text in _POLICIES:
                continue
            yield flow.object.at(
                node,
                f"retry policy {node.shown}; {list_names(_POLICIES, 'must be one of')}",
                fix=suggest_names(node.text, _POLICIES),
            )


@rule(
    "DL332",
    "Two artifacts, or an artifact and a volume, have one path",
    fix="give each a path of its own",
)
def shared_path(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: one of them would hide the other."""
    for flow, template in every_template(world):
        holders: dict[str, str] = {}
        for kind in ("container", "script"):
            for mount in template.get(kind, "volumeMounts").list:
                name = mount.get("name").text
                holders.setdefault(mount.get("mountPath").text, f"volume mount `{name}`")
        for item in template.get("inputs", "artifacts").list:
            path = item.get("path")
            if path.text in holders:
                yield flow.object.at(path, f"{path.shown} is the path of {holders[path.text]}")
            elif path.text:
                holders[path.text] = f"artifact `{item.get('name').text}`"


@rule(
    "DL333",
    "An artifact has no path, or one that nothing reads",
    fix="write `path` where a container writes or reads the file, and `from` in steps and DAGs",
)
def artifact_path(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted. A pod reads and writes artifacts at a path;
    steps and DAGs only pass them on and have no files."""
    for flow in flows(world):
        if flow.spec.get("templateDefaults"):
            continue
        for template in flow.every():
            kinds = types_of(template)
            if len(kinds) != 1 or kinds[0] == "suspend":
                continue
            for side in ("inputs", "outputs"):
                for item in template.get(side, "artifacts").list:
                    path, name = item.get("path"), item.get("name")
                    if kinds[0] in _WITHOUT_FILES:
                        if path.text:
                            yield flow.object.at(
                                path, f"artifact {name.shown} of a {kinds[0]} has a path"
                            )
                    elif item.map and path.value in (None, ""):
                        yield flow.object.at(
                            name if name else item,
                            f"artifact {name.shown} of a {kinds[0]} has no path",
                        )


@rule(
    "DL334",
    "A step or task calls nothing",
    fix="name a `template` of the workflow, a `templateRef`, or write the template `inline`",
)
def no_call(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: no pod starts."""
    for flow, call in every_call(world):
        if call.hook or any(call.node.get(name).value not in (None, "") for name in _CALLS):
            continue
        name = call.node.get("name")
        yield flow.object.at(name if name else call.node, f"{name.shown} calls no template")
