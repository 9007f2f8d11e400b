"""Conditions, filters and parameters of a Sensor's triggers, computed from events without NATS."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, assert_never

from driftloop.kube.events import DataFilter, Filters, SensorSpec, SensorTrigger, TriggerParameter
from driftloop.local.argo import expressions, jsonpaths
from driftloop.local.argo.expressions import Dialect, Expression
from driftloop.local.argo.parts import NotUnderstoodError, read_part

Json = dict[str, Any]

Compare = Callable[[float, float], bool]
_COMPARISONS: Mapping[str, Compare] = {
    "": lambda a, b: a == b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


def read_sensor(sensor: Mapping[str, Any], label: str) -> SensorSpec:
    """Return a Sensor's spec; `label` is the object's name in the NotUnderstoodError.

    NotUnderstoodError names an unknown field, a filter that can't match, or a dependency that is
    not defined.
    """
    spec = read_part(SensorSpec, sensor.get("spec") or {}, label=label)
    defined = {dependency.name for dependency in spec.dependencies}
    for dependency in spec.dependencies:
        for data in dependency.filters.data if dependency.filters else ():
            _check_filter(data, f"{label}: dependency {dependency.name}")
    for trigger in spec.triggers:
        used = {parts[0] for parts in expressions.names(parse_condition(spec, trigger))}
        used |= {parameter.src.dependency_name for parameter in trigger.template.k8s.parameters}
        if undefined := sorted(used - defined):
            raise NotUnderstoodError(
                f"{label}: trigger {trigger.template.name} names the dependency `{undefined[0]}`, which does not exist"
            )
    return spec


def parse_condition(spec: SensorSpec, trigger: SensorTrigger) -> Expression:
    """Return the trigger's conditions, or all dependencies joined by `&&`. NotUnderstoodError."""
    text = trigger.template.conditions or " && ".join(each.name for each in spec.dependencies)
    try:
        return expressions.parse(text, Dialect.DEPENDS)
    except expressions.ExpressionError as error:
        raise NotUnderstoodError(
            f"conditions of trigger {trigger.template.name}: {error.message}"
        ) from error


def passes_filters(filters: Filters | None, event: Json) -> bool:
    """Return true when an event passes a dependency's data filters."""
    if filters is None or not filters.data:
        return True
    results = (_passes_filter(data, event) for data in filters.data)
    match filters.data_logical_operator:
        case "or":
            return any(results)
        case "and" | "" | None:
            return all(results)
        case _:
            assert_never(filters.data_logical_operator)


def fill_resource(trigger: SensorTrigger, events: Mapping[str, Json]) -> Json:
    """Return the trigger's resource with its parameters filled in from the events.

    NotUnderstoodError for a parameter without a value, PathError for a destination that does not
    exist.
    """
    resource: Any = trigger.template.k8s.source.resource
    for parameter in trigger.template.k8s.parameters:
        value = _resolve_parameter(parameter, events.get(parameter.src.dependency_name))
        exists, old = jsonpaths.get(resource, parameter.dest)
        old = old if exists else ""
        match parameter.operation:
            case "append":
                value = f"{old}{value}"
            case "prepend":
                value = f"{value}{old}"
            case "overwrite" | "" | None:
                pass
            case _:
                assert_never(parameter.operation)
        resource = jsonpaths.put(resource, parameter.dest, value)
    result: Json = json.loads(json.dumps(resource))
    return result


def _resolve_parameter(parameter: TriggerParameter, event: Json | None) -> Any:
    source = parameter.src
    if source.data_key is not None and event is not None:
        exists, value = jsonpaths.get(event, source.data_key)
        if exists and source.use_raw_data:
            return value
        if exists:
            return value if isinstance(value, str) else json.dumps(value)
    if source.value is not None:
        return source.value
    raise NotUnderstoodError(
        f"the event has no `{source.data_key}` for {parameter.dest}, and no default is set"
    )


def _passes_filter(data: DataFilter, event: Json) -> bool:
    exists, actual = jsonpaths.get(event, data.path)
    if not exists:
        return False
    match data.type:
        case "string":
            text = actual if isinstance(actual, str) else ""
            matched = any(re.search(value, text) for value in data.value)
            return not matched if data.comparator == "!=" else matched
        case "number":
            if isinstance(actual, bool) or not isinstance(actual, int | float):
                return False
            compare = _COMPARISONS[data.comparator or "="]
            results = [compare(float(actual), float(value)) for value in data.value]
            return all(results) if data.comparator == "!=" else any(results)
        case "bool":
            if not isinstance(actual, bool):
                return False
            equal = any(actual == (value.lower() == "true") for value in data.value)
            return not equal if data.comparator == "!=" else equal
        case _:
            assert_never(data.type)


def _check_filter(data: DataFilter, label: str) -> None:
    place = f"{label}: filter on {data.path}"
    for value in data.value:
        try:
            match data.type:
                case "string":
                    re.compile(value)
                case "number":
                    float(value)
                case "bool":
                    if value.lower() not in ("true", "false"):
                        raise NotUnderstoodError(f"{place}: `{value}` must be true or false")
                case _:
                    assert_never(data.type)
        except (re.error, ValueError) as error:
            raise NotUnderstoodError(f"{place}: `{value}` is not a {data.type}: {error}") from error
    if data.type != "number" and data.comparator not in (None, "", "=", "!="):
        raise NotUnderstoodError(f"{place}: a {data.type} can't be compared by {data.comparator}")
