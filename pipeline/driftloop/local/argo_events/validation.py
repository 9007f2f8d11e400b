"""Refusals of EventBuses, EventSources and Sensors, before a commit that holds them is applied."""

from collections.abc import Mapping
from typing import Any

from driftloop.kube.events import EventBusSpec, EventSourceSpec
from driftloop.local.argo.parts import read_part
from driftloop.local.argo_events import triggers
from driftloop.local.ground import kinds


def validate_event_bus(manifest: Mapping[str, Any]) -> None:
    """Raise NotUnderstoodError unless it is a bus on the platform's NATS."""
    read_part(
        EventBusSpec, manifest.get("spec") or {}, label=kinds.format_object(manifest), path="spec"
    )


def validate_event_source(manifest: Mapping[str, Any]) -> None:
    """Raise NotUnderstoodError for anything but webhooks."""
    read_part(
        EventSourceSpec,
        manifest.get("spec") or {},
        label=kinds.format_object(manifest),
        path="spec",
    )


def validate_sensor(manifest: Mapping[str, Any]) -> None:
    """Raise NotUnderstoodError for an unknown field, and for a dependency that is not defined."""
    triggers.read_sensor(manifest, kinds.format_object(manifest))
