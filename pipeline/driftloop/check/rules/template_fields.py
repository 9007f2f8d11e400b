"""DL339 to DL344: what a template's type, metrics and containers must have, as Argo asks for it on submission."""

import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.flows import every_call, every_template
from driftloop.check.rules.templates import types_of
from driftloop.check.world import World
from driftloop.text.node import YamlNode
from driftloop.text.read import read

_GROUPS = ("steps", "dag")
_METRIC = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_MEASURES = ("gauge", "counter", "histogram")
_TAG = re.compile(r"\{\{.*?\}\}", re.DOTALL)


@rule(
    "DL339",
    "A template has a limit that its type does not take",
    fix="limit a pod by `activeDeadlineSeconds` or `timeout`, steps and DAGs by `parallelism`",
)
def limit_of_type(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: only what runs one pod has a deadline, and
    only steps and DAGs run several things at a time."""
    for flow, template in every_template(world):
        kinds = types_of(template)
        if len(kinds) != 1:
            continue
        fields = ("activeDeadlineSeconds", "timeout") if kinds[0] in _GROUPS else ("parallelism",)
        for field in fields:
            node = template.get(field)
            if node.value not in (None, ""):
                yield flow.object.at(node, f"`{field}` of a {kinds[0]} template")
        if kinds[0] in _GROUPS:
            continue
        seconds, timeout = template.get("activeDeadlineSeconds"), template.get("timeout")
        if (number := _whole(seconds)) is not None and number < 0:
            yield flow.object.at(seconds, f"{seconds.shown} seconds", fix="use a positive number")
        if _whole(timeout) is not None:
            yield flow.object.at(
                timeout,
                f"timeout {timeout.shown} has no unit",
                fix=f'write its unit: "{timeout.source}s"',
            )


def _whole(node: YamlNode) -> int | None:
    try:
        return None if isinstance(node.value, bool | float) else int(node.text or node.source)
    except ValueError:
        return None


@rule("DL340", "A sequence has both a count and an end", fix="keep one of `count` and `end`")
def two_ends(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: `count` says how many, `end` the last one."""
    for flow, call in every_call(world):
        sequence = call.node.get("withSequence")
        if sequence.get("count") and sequence.get("end"):
            yield flow.object.at(sequence.get("end"), "the sequence has `count` and `end`")


@rule(
    "DL341",
    "A metric has no name, help or value that Prometheus takes",
    fix="name it with letters, digits and underscores; give it `help` and a `value` in quotes",
)
def metric_form(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted, or when the step ends, which then fails."""
    for flow, template in every_template(world):
        for metric in template.get("metrics", "prometheus").list:
            name = metric.get("name")
            if not metric.map:
                continue
            if not _METRIC.fullmatch(name.text):
                shown = name.shown if name else "without a name"
                yield flow.object.at(name if name else metric, f"metric {shown} is not a name")
            for label in metric.get("labels").list:
                key = label.get("key")
                if key.text and not _METRIC.fullmatch(key.text):
                    yield flow.object.at(key, f"label {key.shown} of metric {name.shown}")
            if not metric.get("help").text:
                yield flow.object.at(name if name else metric, f"metric {name.shown} has no `help`")
            for measure in _MEASURES:
                if measure in metric.map:
                    yield from (
                        flow.object.at(place, text)
                        for place, text in _values(metric.get(measure), measure, name)
                    )


def _values(measure: YamlNode, kind: str, name: YamlNode) -> Iterator[tuple[YamlNode, str]]:
    value = measure.get("value")
    if value.value in (None, ""):
        yield measure, f"the {kind} of metric {name.shown} has no `value`"
    elif not value.text:
        yield value, f"the value {value.shown} of metric {name.shown} must be text"
    elif measure.get("realtime").value is True and "resourcesDuration." in value.text:
        yield (
            value,
            f"metric {name.shown} is measured while the step runs: {value.shown} is not known",
        )


@rule(
    "DL342",
    "A set of containers has inputs or outputs, and no container `main`",
    fix="name the container that reads and writes them `main`",
)
def main_of_set(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted: artifacts and output parameters are those of
    the container `main`."""
    for flow, template in every_template(world):
        containers = template.get("containerSet", "containers").list
        if not containers or any(item.get("name").text == "main" for item in containers):
            continue
        for side, what in (
            ("inputs", "artifacts"),
            ("outputs", "parameters"),
            ("outputs", "artifacts"),
        ):
            node = template.get(side, what)
            if node.list:
                yield flow.object.at(node, f"{side} of a set without a container `main`")


@rule(
    "DL343",
    "A container beside the main one has no name",
    fix="name each of `initContainers` and `sidecars`",
)
def beside_name(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow, or the API server refuses each of its pods."""
    for flow, template in every_template(world):
        for field in ("initContainers", "sidecars"):
            for item in template.get(field).list:
                if item.map and not item.get("name").value:
                    yield flow.object.at(item, f"one of `{field}` has no name")


@rule(
    "DL344",
    "The manifest of a resource template is not YAML, or is missing",
    fix="write one object in `manifest`, or name it by `manifestFrom`",
)
def manifest_form(world: World) -> Iterator[RuleMatch]:
    """Argo refuses the workflow when it is submitted. What stands in `{{…}}` may be anything."""
    for flow, template in every_template(world):
        resource = template.get("resource")
        manifest, other = resource.get("manifest"), resource.get("manifestFrom")
        if not resource.map or resource.get("action").text in ("", "get", "delete"):
            continue
        if not manifest.text and not other:
            yield flow.object.at(resource, "the resource has no manifest")
        elif manifest.text and other:
            yield flow.object.at(
                other, "the resource has `manifest` and `manifestFrom`", fix="keep one of them"
            )
        elif problems := read(_TAG.sub("x", manifest.text)).problems:
            yield flow.object.at(manifest, f"the manifest is not YAML: {problems[0].said}")
