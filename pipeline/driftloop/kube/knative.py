"""eventing.knative.dev/v1: Broker and Trigger."""

from typing import Literal

from driftloop.kube.base import Model, Object, Reference


class Destination(Model):
    """An object's address; `uri` is a path on it."""

    ref: Reference | None = None
    uri: str | None = None


class Delivery(Model):
    """Retries of an event that a subscriber does not take. Times in ISO 8601."""

    retry: int
    backoff_policy: Literal["linear", "exponential"]
    backoff_delay: str
    timeout: str | None = None
    dead_letter_sink: Destination | None = None


class BrokerSpec(Model):
    """Channel behind a Broker, and its delivery."""

    config: Reference
    delivery: Delivery


class Broker(Object):
    """Takes events in and hands them to Triggers."""

    api_version: Literal["eventing.knative.dev/v1"] = "eventing.knative.dev/v1"
    kind: Literal["Broker"] = "Broker"
    spec: BrokerSpec


class Filter(Model):
    """Attributes an event must have, exactly."""

    attributes: dict[str, str]


class TriggerSpec(Model):
    """Filter and subscriber of a Trigger."""

    broker: str
    filter: Filter
    subscriber: Destination
    delivery: Delivery


class Trigger(Object):
    """Hands matching events to a subscriber."""

    api_version: Literal["eventing.knative.dev/v1"] = "eventing.knative.dev/v1"
    kind: Literal["Trigger"] = "Trigger"
    spec: TriggerSpec
