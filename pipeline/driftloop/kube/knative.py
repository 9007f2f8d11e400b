"""eventing.knative.dev/v1: Broker and Trigger."""

from typing import Literal

from driftloop.kube.base import KubernetesObject, ObjectPart, ObjectReference


class EventDestination(ObjectPart):
    """An object's address; `uri` is a path on it."""

    ref: ObjectReference | None = None
    uri: str | None = None


class Delivery(ObjectPart):
    """Retries of an event that a subscriber does not take. Times in ISO 8601."""

    retry: int
    backoff_policy: Literal["linear", "exponential"]
    backoff_delay: str
    timeout: str | None = None
    dead_letter_sink: EventDestination | None = None


class BrokerSpec(ObjectPart):
    """Channel behind a Broker, and its delivery."""

    config: ObjectReference
    delivery: Delivery


class Broker(KubernetesObject):
    """Takes events in and hands them to Triggers."""

    api_version: Literal["eventing.knative.dev/v1"] = "eventing.knative.dev/v1"
    kind: Literal["Broker"] = "Broker"
    spec: BrokerSpec


class TriggerFilter(ObjectPart):
    """Attributes an event must have, exactly."""

    attributes: dict[str, str]


class TriggerSpec(ObjectPart):
    """Filter and subscriber of a Trigger."""

    broker: str
    filter: TriggerFilter
    subscriber: EventDestination
    delivery: Delivery


class Trigger(KubernetesObject):
    """Hands matching events to a subscriber."""

    api_version: Literal["eventing.knative.dev/v1"] = "eventing.knative.dev/v1"
    kind: Literal["Trigger"] = "Trigger"
    spec: TriggerSpec
