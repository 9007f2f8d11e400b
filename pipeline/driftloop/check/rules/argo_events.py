"""DL20x: from the webhook to the run: EventSource, Sensor, CronWorkflow."""

import posixpath
import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.flows import Flow, Start, destinations, required, starts, templates_of
from driftloop.check.world import EVENT_BUS, EVENT_SOURCE, SENSOR, WORKFLOW, World
from driftloop.text.node import YamlNode
from driftloop.text.words import list_names, suggest_names

_NOT_EVENTS = ("template", "service", "eventBusName", "replicas")


_STREAM_REPLICAS = 3
"""Replicas of a stream that the controller makes of its own accord."""
_REPLICAS = re.compile(r"^\s*replicas:\s*(\d+)", re.MULTILINE)
_BUSES = ("nats", "jetstream", "kafka", "jetstreamExotic")
"""Fields of an EventBus's spec."""


@rule(
    "DL201",
    "A Sensor waits for an EventSource that is not there",
    fix="name an EventSource of the same namespace",
)
def event_source(world: World) -> Iterator[RuleMatch]:
    """The Sensor starts and waits for ever: no event of that source is ever on the bus."""
    for sensor in world.of(SENSOR):
        for dependency in sensor.spec.get("dependencies").list:
            node = dependency.get("eventSourceName")
            if world.target(EVENT_SOURCE, node.text, sensor) == ():
                names = [
                    other.name
                    for other in world.of(EVENT_SOURCE)
                    if other.namespace == sensor.namespace
                ]
                yield sensor.at(
                    node,
                    f"no EventSource {node.shown} in namespace `{sensor.namespace}`",
                    fix=suggest_names(node.text, names),
                )


@rule(
    "DL202",
    "A Sensor waits for an event that its EventSource does not send",
    fix="use the event's name as the EventSource spells it",
)
def event_name(world: World) -> Iterator[RuleMatch]:
    """The Sensor starts and waits for ever; the webhook answers `success` all the while."""
    for sensor in world.of(SENSOR):
        for dependency in sensor.spec.get("dependencies").list:
            node = dependency.get("eventName")
            sources = world.target(EVENT_SOURCE, dependency.get("eventSourceName").text, sensor)
            if not sources or not node.text or "{{" in node.text:
                continue
            beside = any(
                posixpath.dirname(source.path) == posixpath.dirname(sensor.path)
                for source in sources
            )
            if not sensor.namespace and not beside and not world.complete:
                continue  # two files of a collection that need not be meant for each other
            names = {
                name
                for source in sources
                for kind, events in source.spec.map.items()
                if kind not in _NOT_EVENTS
                for name in events.map
            }
            if names and node.text not in names and "*" not in node.text:
                yield sensor.at(
                    node,
                    f"{sources[0].subject} sends no event {node.shown}; {list_names(names, 'events')}",
                    fix=suggest_names(node.text, names),
                )


@rule(
    "DL203",
    "A run is started from a WorkflowTemplate that is not there",
    fix="commit the WorkflowTemplate, in the namespace of the run",
)
def started_template(world: World) -> Iterator[RuleMatch]:
    """Every event, or every tick of the schedule, ends in an error of the trigger: no run ever
    starts."""
    for start in starts(world):
        reference = start.flow.reference
        if (
            start.object.host is not None
            and reference
            and templates_of(world, reference, start.object) == ()
        ):
            name = reference.get("name")
            yield start.object.at(
                name, f"no WorkflowTemplate {name.shown} in namespace `{start.object.namespace}`"
            )


@rule(
    "DL204",
    "A run is started without a parameter that it requires",
    fix="hand it over in `spec.arguments.parameters`, or fill it from the event with `parameters`",
)
def started_parameters(world: World) -> Iterator[RuleMatch]:
    """Argo refuses every such run: the trigger, the schedule or the step that creates it fails,
    and nobody is there to type the parameter in."""
    for start in starts(world):
        if start.templates is None or start.open:
            continue
        lacking = [name for name in start.values if name and not start.given(name)]
        templates = start.templates.templates
        entry = (
            start.flow.spec.get("entrypoint").text or start.templates.spec.get("entrypoint").text
        )
        lacking += (
            [name for name in required(templates[entry])[0] if name not in start.values]
            if entry in templates
            else []
        )
        for name in dict.fromkeys(lacking):
            by = "the template requires" if start.flow.reference else "the entrypoint requires"
            yield start.object.at(
                _argument(start, name), f"{by} parameter `{name}`, which gets no value"
            )


def _argument(start: Start, name: str) -> YamlNode:
    own = start.flow.parameters.get(name)
    return own.get("name") if own is not None else start.at


@rule(
    "DL205",
    "A trigger uses a dependency that the Sensor does not have",
    fix="name one of `spec.dependencies`",
)
def trigger_dependency(world: World) -> Iterator[RuleMatch]:
    """Argo Events refuses the Sensor: its pod is never made, and no event starts anything."""
    for sensor in world.of(SENSOR):
        names = {item.get("name").text for item in sensor.spec.get("dependencies").list}
        for trigger in sensor.spec.get("triggers").list:
            node = trigger.get("template", "conditions")
            for name in re.findall(r"[^\s&|!()]+", node.text):
                if name not in names:
                    yield sensor.at(
                        node,
                        f"`{name}` is not a dependency; {list_names(names, 'dependencies')}",
                        fix=suggest_names(name, names),
                    )
            if any(
                item.get("dest").text.endswith(".dependencyName")
                for item in trigger.get("parameters").list
            ):
                continue  # the event itself fills the name in
            for key, inner in trigger.mappings():
                if (
                    key == "src"
                    and inner.get("dependencyName").text
                    and inner.get("dependencyName").text not in names
                ):
                    node = inner.get("dependencyName")
                    yield sensor.at(
                        node,
                        f"{node.shown} is not a dependency; {list_names(names, 'dependencies')}",
                        fix=suggest_names(node.text, names),
                    )


@rule(
    "DL206",
    "A trigger fills in a parameter that is not in its list",
    fix="list the parameter, with its name, in the Workflow's `spec.arguments.parameters`",
)
def destination(world: World) -> Iterator[RuleMatch]:
    """Argo Events appends a parameter without a name, Argo refuses the run, and the parameter
    that was meant keeps its old value."""
    for workflow in world.of(WORKFLOW):
        if workflow.host is None or workflow.host.type != SENSOR:
            continue
        places = list(destinations(workflow.host, Flow(workflow, workflow.spec)))
        for node, what, index, field in places:
            length = len(workflow.spec.get("arguments", what).list)
            named = any(other[1:3] == (what, index) and other[3] == "name" for other in places)
            if index is not None and index >= length and field not in ("", "name") and not named:
                yield workflow.host.at(
                    node, f"{node.shown} is number {index}, the list has {length}"
                )


@rule(
    "DL207",
    "A Sensor and its EventSource use different buses",
    fix="give both the same `eventBusName`",
)
def bus(world: World) -> Iterator[RuleMatch]:
    """The event is on one bus, the Sensor listens on the other: it waits for ever."""
    for sensor in world.of(SENSOR):
        own = sensor.spec.get("eventBusName").text or "default"
        for dependency in sensor.spec.get("dependencies").list:
            node = dependency.get("eventSourceName")
            sources = world.target(EVENT_SOURCE, node.text, sensor)
            buses = {source.spec.get("eventBusName").text or "default" for source in sources or ()}
            if buses and own not in buses:
                yield sensor.at(
                    node,
                    f"the Sensor listens on bus `{own}`, "
                    f"{sources[0].subject if sources else ''} sends to `{min(buses)}`",
                )


@rule(
    "DL209",
    "A JetStream bus has fewer servers than its streams have replicas",
    fix="set `streamConfig: |` with `replicas: 1` beside it, or three replicas",
)
def bus_replicas(world: World) -> Iterator[RuleMatch]:
    """The controller makes streams of three replicas unless `streamConfig` says another number:
    NATS refuses them, and every EventSource and Sensor of the bus fails."""
    for item in world.of(EVENT_BUS):
        servers = item.spec.get("jetstream", "replicas")
        if not isinstance(servers.value, int) or servers.value >= _STREAM_REPLICAS:
            continue
        config = item.spec.get("jetstream", "streamConfig")
        match = _REPLICAS.search(config.text)
        replicas = int(match[1]) if match else _STREAM_REPLICAS
        if replicas > servers.value:
            yield item.at(
                servers, f"{servers.value} server, and streams of {replicas} replicas: `streamConfig` "
                + ("says so" if match else "says nothing else"),
            )  # fmt: skip


@rule(
    "DL210",
    "A setting of an EventBus is where nobody reads it",
    fix="move it below `jetstream`",
)
def bus_setting(world: World) -> Iterator[RuleMatch]:
    """The API server drops the field, or refuses the object: the events that should be kept on a
    volume are lost with the pod."""
    for item in world.of(EVENT_BUS):
        for key, node in item.spec.map.items():
            if key not in _BUSES:
                yield item.at(node, f"`{key}` is not a field of an EventBus's spec")


@rule(
    "DL208",
    "An EventBus is not there",
    fix="commit an EventBus of that name in the namespace; `default` is the one used without a name",
)
def event_bus(world: World) -> Iterator[RuleMatch]:
    """The controller reports `failed to get EventBus` and makes no pod: the webhook is not even
    listening."""
    for item in world.of(SENSOR, EVENT_SOURCE):
        node = item.spec.get("eventBusName")
        name = node.text or "default"
        if world.target(EVENT_BUS, name, item) == ():
            yield item.at(
                node if node else item.node.get("metadata", "name"),
                f"no EventBus `{name}` in namespace `{item.namespace}`",
            )
