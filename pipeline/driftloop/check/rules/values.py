"""DL10x: numbers and booleans where the API takes text."""

from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.world import (
    CONFIG_MAP,
    EVENT_SOURCE,
    FLUX,
    SECRET,
    SELDON,
    SENSOR,
    Object,
    World,
)
from driftloop.text.node import YamlNode

_QUOTE = "put the value in quotes"


def _wrong(node: YamlNode) -> bool:
    return isinstance(node.value, bool | int | float | dict | list)


def _what(node: YamlNode) -> str:
    match node.value:
        case bool():
            return f"{node.shown} is a boolean here"
        case int() | float():
            return f"{node.shown} is a number here"
        case dict():
            return "is a mapping here"
        case _:
            return "is a list here"


def _quoted(one: Object, field: str, node: YamlNode) -> RuleMatch:
    fix = f'put it in quotes: "{node.source}"' if node.source else _QUOTE
    return one.at(node, f"{field}: {_what(node)}, must be text", fix=fix)


def _judged(world: World) -> Iterator[Object]:
    """Objects whose inside has the usual meaning: no schemas, no charts' values, no driftloop
    specs."""
    for item in world.written:
        other = item.kind in ("CustomResourceDefinition", "HelmRelease") or item.group in (
            "driftloop.dev",
            "install.istio.io",
        )
        if not other and item.host is None:
            yield item


@rule("DL101", "A label, annotation or selector is not text", fix=_QUOTE)
def labels(world: World) -> Iterator[RuleMatch]:
    """Labels, annotations and selectors map text to text: the API server refuses the whole
    object. `1.0`, `yes`, `true` and a commit id such as `1234e56` are numbers or booleans unless
    they stand in quotes."""
    for item in _judged(world):
        for key, node in item.node.mappings():
            if key in ("metadata", "podMetadata"):
                for field in ("labels", "annotations"):
                    for name, value in node.get(field).map.items():
                        if _wrong(value):
                            yield _quoted(item, f"{field}.{name}", value)
            elif key in ("matchLabels", "nodeSelector") or (
                key == "selector" and item.type == ("", "Service")
            ):
                for name, value in node.map.items():
                    if _wrong(value) and isinstance(value.value, bool | int | float):
                        yield _quoted(item, f"{key}.{name}", value)


@rule("DL102", "An environment value or argument is not text", fix=_QUOTE)
def environment(world: World) -> Iterator[RuleMatch]:
    """A container's environment, command and arguments are text: the API server refuses the
    pod's template, in a workflow only once the run has started."""
    for entry in _judged(world):
        for _, node in entry.node.mappings():
            if (
                "image" not in node.map
                and "source" not in node.map
                and "svcOrchSpec" not in node.map
            ):
                continue
            for item in node.get("env").list:
                if _wrong(item.get("value")):
                    yield _quoted(entry, f"env {item.get('name').shown}", item.get("value"))
            for field in ("command", "args"):
                for item in node.get(field).list:
                    if _wrong(item) and not isinstance(item.value, dict) and "image" in node.map:
                        yield _quoted(entry, field, item)


@rule("DL103", "A workflow parameter's value is not text", fix=_QUOTE)
def parameters(world: World) -> Iterator[RuleMatch]:
    """Argo's parameters are text: with the CRDs of 4.x the API server refuses numbers and
    booleans, and a Sensor that creates such a Workflow fails at every event."""
    for entry in world.written:
        if entry.group != "argoproj.io" or entry.kind not in _WORKFLOWS:
            continue
        for key, node in entry.spec.mappings():
            if key in ("arguments", "inputs", "outputs"):
                for item in node.get("parameters").list:
                    for field in ("value", "default"):
                        if _wrong(item.get(field)):
                            yield _quoted(
                                entry, f"parameter {item.get('name').shown}", item.get(field)
                            )


_WORKFLOWS = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow")


@rule("DL104", "A ConfigMap's or Secret's value is not text", fix=_QUOTE)
def data(world: World) -> Iterator[RuleMatch]:
    """`data` maps names to text: the API server refuses the object, and every pod that mounts it
    stays Pending."""
    for item in world.of(CONFIG_MAP, SECRET):
        for field in ("data", "stringData", "binaryData"):
            for name, value in item.node.get(field).map.items():
                if _wrong(value):
                    yield _quoted(item, f"{field}.{name}", value)


@rule("DL105", "A port of an EventSource is not text", fix=_QUOTE)
def event_source_port(world: World) -> Iterator[RuleMatch]:
    """An EventSource's own `port` is text, unlike a Service's: the API server refuses the
    object; no event comes in."""
    for item in world.of(EVENT_SOURCE):
        for kind, events in item.spec.map.items():
            if kind in ("service", "template"):
                continue
            for name, event in events.map.items():
                for port in (event.get("port"), event.get("webhook", "port")):
                    if isinstance(port.value, int | float):
                        yield _quoted(item, f"{kind}.{name}.port", port)


@rule("DL106", "A filter's or a trigger's value is not text", fix=_QUOTE)
def event_values(world: World) -> Iterator[RuleMatch]:
    """A Sensor compares and fills in text, whatever `type` says: the API server refuses numbers
    there, and a Trigger's attributes are text too."""
    for sensor in world.of(SENSOR):
        for dependency in sensor.spec.get("dependencies").list:
            for item in dependency.get("filters", "data").list:
                for value in item.get("value").list:
                    if _wrong(value):
                        yield _quoted(sensor, f"filter on {item.get('path').shown}", value)
        for key, node in sensor.spec.get("triggers").mappings():
            if key == "src" and _wrong(node.get("value")):
                yield _quoted(sensor, "src.value", node.get("value"))
    for sensor in world.of(("eventing.knative.dev", "Trigger")):
        for name, value in sensor.spec.get("filter", "attributes").map.items():
            if _wrong(value):
                yield _quoted(sensor, f"filter.attributes.{name}", value)


@rule("DL107", "A model's or a substitution's parameter is not text", fix=_QUOTE)
def other_parameters(world: World) -> Iterator[RuleMatch]:
    """Seldon's graph parameters are text with a `type` beside them, and Flux substitutes text:
    the API server refuses numbers in either."""
    for seldon in world.of(SELDON):
        for key, node in seldon.spec.get("predictors").mappings():
            if key == "graph" or "modelUri" in node.map or "implementation" in node.map:
                for item in node.get("parameters").list:
                    if _wrong(item.get("value")):
                        yield _quoted(
                            seldon, f"parameter {item.get('name').shown}", item.get("value")
                        )
    for seldon in world.of(FLUX):
        for name, value in seldon.spec.get("postBuild", "substitute").map.items():
            if _wrong(value):
                yield _quoted(seldon, f"postBuild.substitute.{name}", value)
