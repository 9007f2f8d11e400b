"""argoproj.io/v1alpha1 of Argo Events: EventBus, EventSource, Sensor.

`render` writes them, the local runtime reads them. Hera's models have no `apiVersion`, nest a
webhook's fields one level too deep, drop unknown keys and cost as much to import as its
workflows; these refuse unknown keys. A field at None is not written; its docstring gives the
value that Argo Events takes then.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from driftloop.kube.base import KubernetesObject, ObjectPart
from driftloop.kube.core import (
    ContainerResources,
    KeySelector,
    PodSecurityContext,
    SecurityContext,
    Toleration,
)


class ContainerTemplate(ObjectPart):
    """Resources and rights of a container that a controller makes."""

    resources: ContainerResources | None = None
    security_context: SecurityContext | None = None


class SharedJetStream(ObjectPart):
    """A NATS that is there already; Argo Events insists on TLS."""

    url: str
    access_secret: KeySelector | None = None
    """A Secret's key with `username` and `password` as YAML; no credential."""
    stream_config: str


class EventBusSpec(ObjectPart):
    """Transport of events from sources to sensors."""

    jetstream_exotic: SharedJetStream


class EventBus(KubernetesObject):
    """The bus of a namespace."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["EventBus"] = "EventBus"
    spec: EventBusSpec


class EventPodMeta(ObjectPart):
    """Marks of such a pod."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class EventPodTemplate(ObjectPart):
    """The pod that the controller makes for a source or a sensor."""

    metadata: EventPodMeta | None = None
    service_account_name: str | None = None
    container: ContainerTemplate | None = None
    security_context: PodSecurityContext | None = None
    node_selector: dict[str, str] | None = None
    tolerations: tuple[Toleration, ...] | None = None
    affinity: dict[str, Any] | None = None
    priority_class_name: str | None = None


class WebhookSource(ObjectPart):
    """An HTTP endpoint of an EventSource; its port is text."""

    port: str
    endpoint: Annotated[str, Field(pattern="^/")]
    method: Literal["POST"] | None = None
    """POST."""
    auth_secret: KeySelector | None = None
    """No token."""
    max_payload_size: int | None = None
    """Bytes; 1048576."""


class EventSourceSpec(ObjectPart):
    """Webhooks by event name."""

    event_bus_name: Literal["default"] = "default"
    replicas: int | None = None
    template: EventPodTemplate | None = None
    webhook: dict[str, WebhookSource]


class EventSource(KubernetesObject):
    """Source of events."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["EventSource"] = "EventSource"
    spec: EventSourceSpec


class DataFilter(ObjectPart):
    """A field of the event that must match one of these unanchored regular expressions."""

    path: str
    type: Literal["string"]
    value: Annotated[tuple[str, ...], Field(min_length=1)]


class Filters(ObjectPart):
    """Conditions on the data of an event, all of which must hold."""

    data: tuple[DataFilter, ...] = ()


class SensorDependency(ObjectPart):
    """An event that a sensor waits for."""

    name: str
    event_source_name: str
    event_name: str
    filters: Filters | None = None


class ParameterSource(ObjectPart):
    """A field of the event; its value is JSON text, unless it is a string."""

    dependency_name: str
    data_key: str


class TriggerParameter(ObjectPart):
    """Copies a field of the event into the created object."""

    src: ParameterSource
    dest: str
    operation: Literal["append"] | None = None
    """Overwrite."""


class ArtifactLocation(ObjectPart):
    """The object to create, written out."""

    resource: dict[str, Any]


class KubernetesTrigger(ObjectPart):
    """Creates an object."""

    operation: Literal["create"] | None = None
    """Create."""
    source: ArtifactLocation
    parameters: tuple[TriggerParameter, ...] = ()


class TriggerTemplate(ObjectPart):
    """The object to create, and the dependency on whose event it is created."""

    name: str
    conditions: str
    k8s: Annotated[KubernetesTrigger, Field(alias="k8s")]


class TriggerRetry(ObjectPart):
    """Growing waits between the tries of a trigger."""

    steps: int | None = None
    """Tries; 1."""
    duration: str | None = None
    """First wait; 1s."""
    factor: float | None = None
    """1."""
    jitter: float | None = None
    """Share of a wait that is random; 0."""


class RateLimit(ObjectPart):
    """Upper bound of how often a trigger fires; events beyond it wait."""

    unit: Literal["Minute"]
    requests_per_unit: Annotated[int, Field(ge=1)]


class SensorTrigger(ObjectPart):
    """A template, its retries and its rate."""

    template: TriggerTemplate
    retry_strategy: TriggerRetry | None = None
    """One try."""
    at_least_once: Literal[True]
    rate_limit: RateLimit | None = None


class SensorSpec(ObjectPart):
    """A dependency, and what it triggers."""

    event_bus_name: Literal["default"] = "default"
    template: EventPodTemplate | None = None
    dependencies: Annotated[tuple[SensorDependency, ...], Field(min_length=1)]
    triggers: Annotated[tuple[SensorTrigger, ...], Field(min_length=1)]


class Sensor(KubernetesObject):
    """Turns events into objects."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["Sensor"] = "Sensor"
    spec: SensorSpec
