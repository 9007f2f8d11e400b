"""DL218 to DL222: what a Sensor lets through, and what it writes into what it starts."""

import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.world import SENSOR, Object, World
from driftloop.text.node import YamlNode

_NUMBERS = {
    "spec.priority", "spec.parallelism", "spec.activeDeadlineSeconds", "spec.suspend", "spec.replicas",
    "spec.backoffLimit", "spec.podPriority", "spec.completions", "spec.ttlStrategy.secondsAfterCompletion",
    "spec.ttlStrategy.secondsAfterSuccess", "spec.ttlStrategy.secondsAfterFailure",
}  # fmt: skip
"""Fields of what triggers start that are no text."""
_FAULTS = ("nothing to repeat", "multiple repeat", "unterminated", "missing )", "unbalanced")
"""What Go refuses in a regular expression, too."""
_WORD = re.compile(r"[\w-]+")


def _filters(world: World) -> Iterator[tuple[Object, YamlNode, YamlNode]]:
    """(Sensor, its dependency's filters, one of them) for every filter on data."""
    for sensor in world.of(SENSOR):
        for dependency in sensor.spec.get("dependencies").list:
            filters = dependency.get("filters")
            for item in filters.get("data").list:
                yield sensor, filters, item


@rule(
    "DL218",
    "A filter that compares with `!=` has two values",
    fix="write one filter for each value: they are joined by `and`",
)
def unequal_values(world: World) -> Iterator[RuleMatch]:
    """An event passes when it differs from any of the values, and it always differs from one of
    two: the filter lets everything pass."""
    for sensor, _, item in _filters(world):
        values = {node.text for node in item.get("value").list}
        if item.get("comparator").text == "!=" and len(values) > 1:
            yield sensor.at(
                item.get("comparator"),
                f"filter on {item.get('path').shown} passes everything: {len(values)} values",
            )


@rule(
    "DL219",
    "Two filters exclude each other",
    fix="write one filter with both values, or `dataLogicalOperator: or`",
)
def exclusive_filters(world: World) -> Iterator[RuleMatch]:
    """Filters of a dependency are joined by `and`: no event passes both, and nothing is ever
    started."""
    for sensor in world.of(SENSOR):
        for dependency in sensor.spec.get("dependencies").list:
            filters = dependency.get("filters")
            if filters.get("dataLogicalOperator").text == "or":
                continue
            seen: dict[str, set[str]] = {}
            for item in filters.get("data").list:
                path, values = item.get("path"), {node.text for node in item.get("value").list}
                if (
                    item.get("comparator").text not in ("", "=")
                    or item.get("template")
                    or not values
                    or not all(_WORD.fullmatch(value) for value in values)
                ):
                    continue
                before = seen.setdefault(path.text, values)
                if not any(one in other or other in one for one in before for other in values):
                    yield sensor.at(
                        path,
                        f"{path.shown} can't be both {_shown(before)} and {_shown(values)}",
                    )


def _shown(values: set[str]) -> str:
    return " or ".join(f"`{value}`" for value in sorted(values))


@rule(
    "DL220",
    "A filter's value is not one of its type",
    fix="write a regular expression for text (`.*\\.npz$`), a plain number for numbers (`10485760`)",
)
def filter_value(world: World) -> Iterator[RuleMatch]:
    """Texts are compared as regular expressions, numbers as numbers: every event ends in an error
    of the filter, and nothing is ever started."""
    for sensor, _, item in _filters(world):
        kind, comparator = item.get("type").text, item.get("comparator").text
        for node in item.get("value").list:
            if kind == "string" and comparator in ("", "=", "!=") and _broken(node.text):
                yield sensor.at(node, f"{node.shown} is not a regular expression")
            elif kind == "number" and isinstance(node.value, str) and not _number(node.text):
                yield sensor.at(node, f"{node.shown} is not a number")
            elif kind == "bool" and node.text and node.text.lower() not in _BOOLEANS:
                yield sensor.at(node, f"{node.shown} is not `true` or `false`")


_BOOLEANS = ("true", "false", "1", "0", "t", "f")


def _broken(text: str) -> bool:
    if len(text) > 1000 or "\\Q" in text:
        return False
    try:
        re.compile(text)
    except re.error as error:
        return str(error).startswith(_FAULTS)
    return False


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@rule(
    "DL221",
    "A trigger writes text into a field that is a number or a boolean",
    fix="add `useRawData: true` to its `src`, so that the value keeps its type",
)
def text_for_number(world: World) -> Iterator[RuleMatch]:
    """A value of an event is written as text, whatever it was: the API server refuses what the
    trigger starts, at every event."""
    for sensor in world.of(SENSOR):
        for trigger in sensor.spec.get("triggers").list:
            for field in ("k8s", "argoWorkflow"):
                body = trigger.get("template", field)
                for item in body.get("parameters").list:
                    src, dest = item.get("src"), item.get("dest")
                    if src.get("useRawData").value is True or not dest.text or not src.map:
                        continue
                    target = body.get("source", "resource").get(*_steps(dest.text))
                    number = isinstance(target.value, bool | int | float)
                    if (number or dest.text in _NUMBERS) and item.get("operation").text in (
                        "",
                        "overwrite",
                    ):
                        yield sensor.at(dest, f"{dest.shown} is not text")


def _steps(path: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in path.split(".")]


@rule(
    "DL222",
    "A parameter's `dest` stands inside its `src`",
    fix="write `dest` beside `src`, not in it",
)
def dest_in_src(world: World) -> Iterator[RuleMatch]:
    """The parameter has no destination: the API server refuses the Sensor, or the value goes
    nowhere."""
    for sensor in world.of(SENSOR):
        for key, node in sensor.spec.get("triggers").mappings():
            if key == "src" and node.get("dest"):
                yield sensor.at(node.get("dest"), "`dest` is not a field of `src`")
