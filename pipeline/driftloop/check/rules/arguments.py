"""DL335 to DL338: what workflows, steps and tasks hand over, as Argo asks for it on submission."""

import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.flows import Flow, calls, every_call, flows, required
from driftloop.check.world import CRON, WORKFLOW, World
from driftloop.text.node import YamlNode

_NAME = re.compile(r"[-\w]+", re.ASCII)
_KINDS = ("parameters", "artifacts")
_NOT_SOURCES = ("name", "optional", "path", "mode", "archive", "description", "globalName", "recurseMode", "subPath")  # fmt: skip
"""Fields of an artifact that say nothing of where it comes from."""


@rule(
    "DL335",
    "A parameter or artifact has a name that Argo does not take",
    fix="use letters, digits, hyphens and underscores",
)
def handed_name(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted. Names with dots are right for keys, not for
    parameters and artifacts."""
    for flow in flows(world):
        for holder in _holders(flow):
            for kind in _KINDS:
                for item in holder.get(kind).list:
                    name = item.get("name")
                    noun = kind.removesuffix("s")
                    if not item.map or "{{" in name.text:
                        continue
                    if name.value in (None, ""):
                        yield flow.object.at(
                            _name_or_item(item), f"{noun} without a name", fix="name it"
                        )
                    elif name.text and not _NAME.fullmatch(name.text):
                        yield flow.object.at(name, f"the name of {noun} {name.shown} is not one")


def _holders(flow: Flow) -> Iterator[YamlNode]:
    yield from _arguments(flow)
    for template in flow.every():
        yield template.get("inputs")
        yield template.get("outputs")


def _arguments(flow: Flow) -> Iterator[YamlNode]:
    yield flow.spec.get("arguments")
    for template in flow.every():
        yield from (call.node.get("arguments") for call in calls(template))


def _name_or_item(item: YamlNode) -> YamlNode:
    name = item.get("name")
    return name if name else item


@rule(
    "DL336",
    "A step or task hands over nothing under a name",
    fix="give a parameter its `value`, an artifact its `from` or a location",
)
def handed_nothing(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `value or valueFrom is required`. To leave
    an input at its default, don't name it."""
    for flow, call in every_call(world):
        if call.hook:
            continue
        for item in call.node.get("arguments", "parameters").list:
            if item.map and "value" not in item.map and not item.get("valueFrom"):
                name = item.get("name")
                yield flow.object.at(
                    _name_or_item(item), f"parameter {name.shown} is handed over without a value"
                )
        for item in call.node.get("arguments", "artifacts").list:
            if item.map and not (item.map.keys() - set(_NOT_SOURCES)):
                name = item.get("name")
                yield flow.object.at(
                    _name_or_item(item), f"artifact {name.shown} is handed over from nowhere"
                )


@rule("DL337", "A parameter's value is none of those allowed", fix="use a value of its `enum`")
def enumerated(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted, whoever starts it without another value."""
    for flow in flows(world):
        for item in (item for held in _arguments(flow) for item in held.get("parameters").list):
            allowed, value = item.get("enum"), item.get("value")
            if not isinstance(allowed.value, list):
                continue
            name = item.get("name")
            texts = [_as_text(node) for node in allowed.list]
            if not texts:
                yield flow.object.at(
                    allowed,
                    f"the enum of parameter {name.shown} allows no value",
                    fix="list values",
                )
            elif value and "{{" not in _as_text(value) and _as_text(value) not in texts:
                listed = ", ".join(f"`{text}`" for text in texts)
                yield flow.object.at(
                    value, f"parameter {name.shown} is {value.shown}; must be one of: {listed}"
                )


def _as_text(node: YamlNode) -> str:
    return node.text or node.source


@rule(
    "DL338",
    "The entrypoint asks for an input that the workflow does not have",
    fix="declare it in `spec.arguments`, or give the input a default",
)
def entrypoint_input(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `inputs.parameters.… was not supplied`. The
    entrypoint takes its inputs from the workflow's own arguments."""
    for flow in flows(world):
        if flow.object.type not in (WORKFLOW, CRON) or flow.object.host is not None:
            continue
        name = flow.spec.get("entrypoint").text
        if flow.reference or name not in flow.templates:
            continue
        parameters, artifacts = required(flow.templates[name])
        for noun, needed, has in (
            ("parameter", parameters, set(flow.parameters)),
            ("artifact", artifacts, flow.artifacts),
        ):
            for wanted, item in needed.items():
                if wanted and wanted not in has:
                    place = item.get("name")
                    yield flow.object.at(
                        place, f"nobody hands {noun} {place.shown} to the entrypoint `{name}`"
                    )
