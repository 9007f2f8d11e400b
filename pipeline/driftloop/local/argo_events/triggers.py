"""Filters and parameters of a Sensor's triggers, computed from an event without NATS."""

import json
import re
from collections.abc import Mapping
from typing import Any

from driftloop.kube.events import (
    Filters,
    SensorDependency,
    SensorSpec,
    SensorTrigger,
    TriggerParameter,
)
from driftloop.local.argo import jsonpaths
from driftloop.local.argo.parts import NotUnderstoodError, read_part

Json = dict[str, Any]


def read_sensor(sensor: Mapping[str, Any], label: str) -> SensorSpec:
    """Return a Sensor's spec; `label` is the object's name in the NotUnderstoodError.

    NotUnderstoodError names an unknown field, a filter that can't match, or a dependency that is
    not defined.
    """
    spec = read_part(SensorSpec, sensor.get("spec") or {}, label=label, path="spec")
    for dependency in spec.dependencies:
        _check_filters(dependency, label)
    for trigger in spec.triggers:
        template = trigger.template
        dependency = find_dependency(spec, trigger, label)
        for parameter in template.k8s.parameters:
            if (name := parameter.src.dependency_name) != dependency.name:
                raise NotUnderstoodError(
                    f"{label}: trigger {template.name} reads the dependency `{name}`, must read"
                    f" `{dependency.name}`, on whose event it is created"
                )
    return spec


def find_dependency(spec: SensorSpec, trigger: SensorTrigger, label: str) -> SensorDependency:
    """Return the one dependency on whose event a trigger creates its object."""
    name = trigger.template.conditions
    for dependency in spec.dependencies:
        if dependency.name == name:
            return dependency
    raise NotUnderstoodError(
        f"{label}: trigger {trigger.template.name} names the dependency `{name}`, which does not exist"
    )


def _check_filters(dependency: SensorDependency, label: str) -> None:
    for data in dependency.filters.data if dependency.filters else ():
        for pattern in data.value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise NotUnderstoodError(
                    f"{label}: dependency {dependency.name}: filter on {data.path}: `{pattern}` is"
                    f" not a regular expression: {error}"
                ) from error


def passes_filters(filters: Filters | None, event: Json) -> bool:
    """Return true when an event passes a dependency's data filters."""
    for data in filters.data if filters is not None else ():
        _, actual = jsonpaths.get(event, data.path)
        if not isinstance(actual, str) or not any(re.search(value, actual) for value in data.value):
            return False
    return True


def fill_resource(trigger: SensorTrigger, event: Json) -> Json:
    """Return the trigger's resource with its parameters filled in from the event.

    NotUnderstoodError for a parameter without a value, PathError for a destination that does not
    exist.
    """
    resource: Any = trigger.template.k8s.source.resource
    for parameter in trigger.template.k8s.parameters:
        value = _resolve_parameter(parameter, event)
        if parameter.operation == "append":
            exists, old = jsonpaths.get(resource, parameter.dest)
            value = f"{old if exists else ''}{value}"
        resource = jsonpaths.put(resource, parameter.dest, value)
    result: Json = json.loads(json.dumps(resource))
    return result


def _resolve_parameter(parameter: TriggerParameter, event: Json) -> str:
    exists, value = jsonpaths.get(event, parameter.src.data_key)
    if not exists:
        raise NotUnderstoodError(
            f"the event has no `{parameter.src.data_key}` for {parameter.dest}"
        )
    return value if isinstance(value, str) else json.dumps(value)
