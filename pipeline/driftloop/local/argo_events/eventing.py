"""EventSources and Sensors, as far as the local runtime understands them."""

from typing import Any, Literal

from pydantic import Field

from driftloop.local.argo.parts import Duration, KeyRef, Number, Part, Text, Whole


class Webhook(Part):
    """One endpoint of an EventSource."""

    ACCEPTED = frozenset({"port"})
    endpoint: str = Field(pattern="^/")
    method: Literal["POST", "PUT"] = "POST"
    auth_secret: KeyRef | None = None
    max_payload_size: int = 1048576
    metadata: dict[str, str] = Field(default_factory=dict)


class EventSourceSpec(Part):
    """Webhooks by event name."""

    ACCEPTED = frozenset({"replicas", "service", "template"})
    event_bus_name: Literal["default"] = "default"
    webhook: dict[str, Webhook]


class DataFilter(Part):
    """A value in the event that has to be one of these; strings are unanchored regular expressions."""

    path: str
    type: Literal["string", "number", "bool"]
    comparator: Literal["", ">=", ">", "=", "!=", "<", "<="] = "="
    value: list[Text] = Field(min_length=1)


class Filters(Part):
    """What a dependency's event must look like."""

    data: list[DataFilter] = Field(default_factory=list)
    data_logical_operator: Literal["and", "or", ""] = "and"


class Dependency(Part):
    """An event of an EventSource."""

    name: str
    event_source_name: str
    event_name: str
    filters: Filters | None = None


class TriggerSource(Part):
    """The value a parameter takes: from the event's data, else the default."""

    dependency_name: str
    data_key: str | None = None
    value: Text | None = None
    use_raw_data: bool = False


class TriggerParameter(Part):
    """Where that value goes in the resource."""

    src: TriggerSource
    dest: str
    operation: Literal["overwrite", "append", "prepend", ""] = "overwrite"


class TriggerResource(Part):
    """The resource a trigger creates."""

    resource: dict[str, Any]


class KubernetesTrigger(Part):
    """Creates the resource."""

    operation: Literal["create", ""] = "create"
    source: TriggerResource
    parameters: list[TriggerParameter] = Field(default_factory=list)


class TriggerTemplate(Part):
    """When a trigger fires (`conditions` over dependency names; all of them unless given) and what it does."""

    name: str
    conditions: str | None = None
    k8s: KubernetesTrigger


class TriggerRetry(Part):
    """Growing waits between tries."""

    steps: Whole = "1"
    duration: Duration = "1s"
    factor: Number = "1"
    jitter: Number = "0"


class RateLimit(Part):
    """How many triggers in a unit of time; more have to wait."""

    unit: Literal["Second", "Minute", "Hour"] = "Second"
    requests_per_unit: int = Field(default=1, ge=1)


class Trigger(Part):
    """A trigger and how failures are met."""

    template: TriggerTemplate
    retry_strategy: TriggerRetry | None = None
    rate_limit: RateLimit | None = None
    at_least_once: bool = False


class SensorSpec(Part):
    """Dependencies and what they trigger."""

    ACCEPTED = frozenset({"template", "replicas", "revisionHistoryLimit", "errorOnFailedRound", "loggingFields"})
    event_bus_name: Literal["default"] = "default"
    dependencies: list[Dependency] = Field(min_length=1)
    triggers: list[Trigger] = Field(min_length=1)
