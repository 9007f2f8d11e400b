"""argoproj.io/v1alpha1 of Argo Events: EventBus, EventSource, Sensor.

`render` writes them, the local runtime reads them. Hera's models have no `apiVersion`, nest a
webhook's fields one level too deep, drop unknown keys and cost as much to import as its
workflows; these refuse unknown keys. A field at None is not written; its docstring gives the
value that Argo Events takes then.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from driftloop.kube.base import Model, Object
from driftloop.kube.core import KeySelector, PodSecurityContext, Resources, SecurityContext


class ContainerTemplate(Model):
    """Resources and rights of a container that a controller makes."""

    resources: Resources | None = None
    security_context: SecurityContext | None = None


class SharedJetStream(Model):
    """A NATS that is there already; Argo Events insists on TLS."""

    url: str
    stream_config: str


class EventBusSpec(Model):
    """Transport of events from sources to sensors."""

    jetstream_exotic: SharedJetStream


class EventBus(Object):
    """The bus of a namespace."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["EventBus"] = "EventBus"
    spec: EventBusSpec


class PodTemplate(Model):
    """The pod that the controller makes for a source or a sensor."""

    service_account_name: str | None = None
    container: ContainerTemplate | None = None
    security_context: PodSecurityContext | None = None


class Webhook(Model):
    """An HTTP endpoint of an EventSource; its port is text."""

    port: str
    endpoint: Annotated[str, Field(pattern="^/")]
    method: Literal["POST", "PUT"] | None = None
    """POST."""
    auth_secret: KeySelector | None = None
    """No token."""
    max_payload_size: int | None = None
    """Bytes; 1048576."""


class EventSourceSpec(Model):
    """Webhooks by event name."""

    event_bus_name: Literal["default"] = "default"
    replicas: int | None = None
    template: PodTemplate | None = None
    webhook: dict[str, Webhook]


class EventSource(Object):
    """Source of events."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["EventSource"] = "EventSource"
    spec: EventSourceSpec


class DataFilter(Model):
    """A field of the event that must match one of these values; strings are unanchored regular
    expressions."""

    path: str
    type: Literal["string", "number", "bool"]
    comparator: Literal["", ">=", ">", "=", "!=", "<", "<="] | None = None
    """Equal."""
    value: Annotated[tuple[str, ...], Field(min_length=1)]


class Filters(Model):
    """Conditions on the data of an event."""

    data: tuple[DataFilter, ...] = ()
    data_logical_operator: Literal["and", "or", ""] | None = None
    """All must hold."""


class Dependency(Model):
    """An event that a sensor waits for."""

    name: str
    event_source_name: str
    event_name: str
    filters: Filters | None = None


class ParameterSource(Model):
    """A field of the event, or a default value."""

    dependency_name: str
    data_key: str | None = None
    value: str | None = None
    use_raw_data: bool | None = None
    """The field's value as JSON text, unless it is a string."""


class TriggerParameter(Model):
    """Copies a field of the event into the created object."""

    src: ParameterSource
    dest: str
    operation: Literal["overwrite", "append", "prepend", ""] | None = None
    """Overwrite."""


class ArtifactLocation(Model):
    """The object to create, written out."""

    resource: dict[str, Any]


class KubernetesTrigger(Model):
    """Creates an object."""

    operation: Literal["create", ""] | None = None
    """Create."""
    source: ArtifactLocation
    parameters: tuple[TriggerParameter, ...] = ()


class TriggerTemplate(Model):
    """The object to create, and the condition over dependency names under which it is created."""

    name: str
    conditions: str | None = None
    """All dependencies."""
    k8s: Annotated[KubernetesTrigger, Field(alias="k8s")]


class RetryStrategy(Model):
    """Growing waits between the tries of a trigger."""

    steps: int | None = None
    """Tries; 1."""
    duration: str | None = None
    """First wait; 1s."""
    factor: float | None = None
    """1."""
    jitter: float | None = None
    """Share of a wait that is random; 0."""


class RateLimit(Model):
    """Upper bound of how often a trigger fires; events beyond it wait."""

    unit: Literal["Second", "Minute", "Hour"] | None = None
    """Second."""
    requests_per_unit: Annotated[int, Field(ge=1)] | None = None
    """1."""


class Trigger(Model):
    """A template, its retries and its rate."""

    template: TriggerTemplate
    retry_strategy: RetryStrategy | None = None
    """One try."""
    at_least_once: bool | None = None
    """At most once."""
    rate_limit: RateLimit | None = None


class SensorSpec(Model):
    """Dependencies, and what they trigger."""

    event_bus_name: Literal["default"] = "default"
    template: PodTemplate | None = None
    dependencies: Annotated[tuple[Dependency, ...], Field(min_length=1)]
    triggers: Annotated[tuple[Trigger, ...], Field(min_length=1)]


class Sensor(Object):
    """Turns events into objects."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["Sensor"] = "Sensor"
    spec: SensorSpec
