"""argoproj.io/v1alpha1 of Argo Events: EventBus, EventSource, Sensor."""

from typing import Annotated, Any, Literal

from pydantic import Field

from driftloop.kube.base import Model, Object
from driftloop.kube.core import KeySelector, PodSecurityContext, Resources, SecurityContext


class ContainerTemplate(Model):
    """What a controller-made container asks for and may do."""

    resources: Resources | None = None
    security_context: SecurityContext | None = None


class SharedJetStream(Model):
    """A NATS that is there already; Argo Events insists on TLS."""

    url: str
    stream_config: str


class EventBusSpec(Model):
    """How events travel from sources to sensors."""

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
    """An HTTP door; the port is text."""

    port: str
    endpoint: str
    method: Literal["POST"]
    auth_secret: KeySelector
    max_payload_size: int


class EventSourceSpec(Model):
    """Named webhooks."""

    event_bus_name: str
    replicas: int
    template: PodTemplate
    webhook: dict[str, Webhook]


class EventSource(Object):
    """Where events come from."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["EventSource"] = "EventSource"
    spec: EventSourceSpec


class DataFilter(Model):
    """A field of the event that must match; text values are regular expressions."""

    path: str
    type: Literal["string", "number", "bool"]
    value: tuple[str, ...]


class Filters(Model):
    """All must hold."""

    data: tuple[DataFilter, ...]


class Dependency(Model):
    """An event that a sensor waits for."""

    name: str
    event_source_name: str
    event_name: str
    filters: Filters | None = None


class ParameterSource(Model):
    """A field of the event, or a default."""

    dependency_name: str
    data_key: str
    value: str | None = None


class TriggerParameter(Model):
    """Copies a field of the event into the object that is created."""

    src: ParameterSource
    dest: str
    operation: Literal["overwrite", "append", "prepend"] | None = None


class ArtifactLocation(Model):
    """The object to create, written out."""

    resource: dict[str, Any]


class KubernetesTrigger(Model):
    """Creates an object."""

    operation: Literal["create"]
    source: ArtifactLocation
    parameters: tuple[TriggerParameter, ...]


class TriggerTemplate(Model):
    """What happens under which condition."""

    name: str
    conditions: str
    k8s: Annotated[KubernetesTrigger, Field(alias="k8s")]


class RetryStrategy(Model):
    """How often and how fast a trigger is tried again."""

    steps: int
    duration: str
    factor: float
    jitter: float


class RateLimit(Model):
    """How often a trigger fires at most; events beyond it wait."""

    unit: Literal["Second", "Minute", "Hour"]
    requests_per_unit: int


class Trigger(Model):
    """A template, and how it is retried."""

    template: TriggerTemplate
    retry_strategy: RetryStrategy
    at_least_once: bool
    rate_limit: RateLimit | None = None


class SensorSpec(Model):
    """Events in, objects out."""

    event_bus_name: str
    template: PodTemplate
    dependencies: tuple[Dependency, ...]
    triggers: tuple[Trigger, ...]


class Sensor(Object):
    """Turns events into objects."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["Sensor"] = "Sensor"
    spec: SensorSpec
