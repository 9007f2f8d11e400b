"""DL20x: from the webhook to the run: EventSource, Sensor, CronWorkflow."""

import posixpath
import re
from collections.abc import Iterator

from driftloop.check.finding import Found, rule
from driftloop.check.flows import Flow, Start, destinations, required, starts, templates_of
from driftloop.check.world import EVENT_BUS, EVENT_SOURCE, SENSOR, WORKFLOW, World
from driftloop.text.node import Node
from driftloop.text.words import listed, near

_NOT_EVENTS = ("template", "service", "eventBusName", "replicas")


@rule("DL201", "A Sensor waits for an EventSource that is not there", fix="name an EventSource of the same namespace")
def event_source(world: World) -> Iterator[Found]:
    """The Sensor starts and waits for ever: no event of that source is ever on the bus."""
    for one in world.of(SENSOR):
        for dependency in one.spec.get("dependencies").list:
            node = dependency.get("eventSourceName")
            if world.target(EVENT_SOURCE, node.text, one) == ():
                names = [other.name for other in world.of(EVENT_SOURCE) if other.namespace == one.namespace]
                yield one.at(
                    node, f"no EventSource {node.shown} in namespace `{one.namespace}`", fix=near(node.text, names)
                )


@rule(
    "DL202",
    "A Sensor waits for an event that its EventSource does not send",
    fix="use the event's name as the EventSource spells it",
)
def event_name(world: World) -> Iterator[Found]:
    """The Sensor starts and waits for ever; the webhook answers `success` all the while."""
    for one in world.of(SENSOR):
        for dependency in one.spec.get("dependencies").list:
            node = dependency.get("eventName")
            found = world.target(EVENT_SOURCE, dependency.get("eventSourceName").text, one)
            if not found or not node.text or "{{" in node.text:
                continue
            beside = any(posixpath.dirname(source.path) == posixpath.dirname(one.path) for source in found)
            if not one.namespace and not beside and not world.complete:
                continue  # two files of a collection that need not be meant for each other
            names = {
                name
                for source in found
                for kind, events in source.spec.map.items()
                if kind not in _NOT_EVENTS
                for name in events.map
            }
            if names and node.text not in names and "*" not in node.text:
                yield one.at(
                    node,
                    f"{found[0].subject} sends no event {node.shown}; {listed(names, 'events')}",
                    fix=near(node.text, names),
                )


@rule(
    "DL203",
    "A run is started from a WorkflowTemplate that is not there",
    fix="commit the WorkflowTemplate, in the namespace of the run",
)
def started_template(world: World) -> Iterator[Found]:
    """Every event, or every tick of the schedule, ends in an error of the trigger: no run ever starts."""
    for start in starts(world):
        reference = start.flow.reference
        if start.object.host is not None and reference and templates_of(world, reference, start.object) == ():
            name = reference.get("name")
            yield start.object.at(name, f"no WorkflowTemplate {name.shown} in namespace `{start.object.namespace}`")


@rule(
    "DL204",
    "A run is started without a parameter that it requires",
    fix="hand it over in `spec.arguments.parameters`, or fill it from the event with `parameters`",
)
def started_parameters(world: World) -> Iterator[Found]:
    """Argo refuses every such run: the trigger, the schedule or the step that creates it fails, and nobody is there to
    type the parameter in."""
    for start in starts(world):
        if start.templates is None or start.open:
            continue
        lacking = [name for name in start.values if name and not start.given(name)]
        templates = start.templates.templates
        entry = start.flow.spec.get("entrypoint").text or start.templates.spec.get("entrypoint").text
        lacking += (
            [name for name in required(templates[entry])[0] if name not in start.values] if entry in templates else []
        )
        for name in dict.fromkeys(lacking):
            by = "the template requires" if start.flow.reference else "the entrypoint requires"
            yield start.object.at(_argument(start, name), f"{by} parameter `{name}`, which gets no value")


def _argument(start: Start, name: str) -> Node:
    own = start.flow.parameters.get(name)
    return own.get("name") if own is not None else start.at


@rule("DL205", "A trigger uses a dependency that the Sensor does not have", fix="name one of `spec.dependencies`")
def trigger_dependency(world: World) -> Iterator[Found]:
    """Argo Events refuses the Sensor: its pod is never made, and no event starts anything."""
    for one in world.of(SENSOR):
        names = {item.get("name").text for item in one.spec.get("dependencies").list}
        for trigger in one.spec.get("triggers").list:
            node = trigger.get("template", "conditions")
            for name in re.findall(r"[^\s&|!()]+", node.text):
                if name not in names:
                    yield one.at(
                        node, f"`{name}` is no dependency; {listed(names, 'dependencies')}", fix=near(name, names)
                    )
            if any(item.get("dest").text.endswith(".dependencyName") for item in trigger.get("parameters").list):
                continue  # the event itself fills the name in
            for key, inner in trigger.mappings():
                if key == "src" and inner.get("dependencyName").text and inner.get("dependencyName").text not in names:
                    node = inner.get("dependencyName")
                    yield one.at(
                        node,
                        f"{node.shown} is no dependency; {listed(names, 'dependencies')}",
                        fix=near(node.text, names),
                    )


@rule(
    "DL206",
    "A trigger fills in a parameter that is not in its list",
    fix="list the parameter, with its name, in the Workflow's `spec.arguments.parameters`",
)
def destination(world: World) -> Iterator[Found]:
    """Argo Events appends a parameter without a name, Argo refuses the run, and the parameter that was meant keeps its
    old value."""
    for one in world.of(WORKFLOW):
        if one.host is None or one.host.type != SENSOR:
            continue
        found = list(destinations(one.host, Flow(one, one.spec)))
        for node, what, index, field in found:
            length = len(one.spec.get("arguments", what).list)
            named = any(other[1:3] == (what, index) and other[3] == "name" for other in found)
            if index is not None and index >= length and field not in ("", "name") and not named:
                yield one.host.at(node, f"{node.shown} is number {index}, the list has {length}")


@rule("DL207", "A Sensor and its EventSource use different buses", fix="give both the same `eventBusName`")
def bus(world: World) -> Iterator[Found]:
    """The event is on one bus, the Sensor listens on the other: it waits for ever."""
    for one in world.of(SENSOR):
        own = one.spec.get("eventBusName").text or "default"
        for dependency in one.spec.get("dependencies").list:
            node = dependency.get("eventSourceName")
            found = world.target(EVENT_SOURCE, node.text, one)
            buses = {source.spec.get("eventBusName").text or "default" for source in found or ()}
            if buses and own not in buses:
                yield one.at(
                    node,
                    f"the Sensor listens on bus `{own}`, {found[0].subject if found else ''} sends to `{min(buses)}`",
                )


@rule(
    "DL208",
    "An EventBus is not there",
    fix="commit an EventBus of that name in the namespace; `default` is the one used without a name",
)
def event_bus(world: World) -> Iterator[Found]:
    """The controller reports `failed to get EventBus` and makes no pod: the webhook is not even listening."""
    for one in world.of(SENSOR, EVENT_SOURCE):
        node = one.spec.get("eventBusName")
        name = node.text or "default"
        if world.target(EVENT_BUS, name, one) == ():
            yield one.at(
                node if node else one.node.get("metadata", "name"),
                f"no EventBus `{name}` in namespace `{one.namespace}`",
            )
