"""The Broker of a pipeline's namespace, its JetStream channel, and how events are delivered.

Delivery is always spelled out: without it an event whose subscriber is not listening yet is
dropped, and a retry without a back-off crashes the dispatcher.
"""

from driftloop.contract.events import NAMESPACE, PIPELINE
from driftloop.contract.names import BROKER, Names
from driftloop.kube import core, knative, nats
from driftloop.kube.base import ObjectReference
from driftloop.plan import Plan
from driftloop.resources import parts
from driftloop.text.dump import dump_yaml

COMPONENT = "events"
CONFIG = f"{BROKER}-broker"

RETRIES = 400
DELAY = "PT0.5S"
"""Half a second more each time: 11 hours in all, of the 24 that the stream keeps an event. Two tries
are never more than 200 s apart, a timeout of 10 s on top, so that what a subscriber has stored
without answering is recognised: duplicates are for 10 minutes. The channel stops counting tries
only after the last, and what it then drops is in no dead letter."""


def build_broker(plan: Plan) -> knative.Broker:
    """The Broker of model servers' and detectors' events."""
    return knative.Broker(
        metadata=parts.object_meta(
            plan.names,
            BROKER,
            COMPONENT,
            annotations={"eventing.knative.dev/broker.class": "MTChannelBasedBroker"},
        ),
        spec=knative.BrokerSpec(
            config=ObjectReference(
                api_version="v1", kind="ConfigMap", name=CONFIG, namespace=plan.names.namespace
            ),
            delivery=event_delivery(plan.names),
        ),
    )


def broker_config(plan: Plan) -> core.ConfigMap:
    """The channel behind the Broker: on disk, bounded, new subscriptions begin with new events."""
    template = nats.ChannelTemplate(
        spec=nats.ChannelSpec(
            stream=nats.ChannelStream(
                config=nats.StreamConfig(
                    max_bytes=plan.events.broker_bytes,
                    max_age="24h",
                    max_msg_size=2 * 1024**2,
                    replicas=1,
                    duplicate_window="10m",
                )
            ),
            consumer_config_template=nats.ConsumerTemplate(),
        )
    )
    return core.ConfigMap(
        metadata=parts.object_meta(plan.names, CONFIG, COMPONENT),
        data={"channelTemplateSpec": dump_yaml(template.dump_object())},
    )


def event_delivery(names: Names) -> knative.Delivery:
    """Retry with back-off, then the dead letters of the decision service. It replaces the
    Broker's wholesale."""
    return knative.Delivery(
        retry=RETRIES,
        backoff_policy="linear",
        backoff_delay=DELAY,
        timeout="PT10S",
        dead_letter_sink=knative.EventDestination(
            ref=_service_reference(names.decision, names), uri="/deadletter"
        ),
    )


def build_trigger(
    plan: Plan, name: str, component: str, service: str, **attributes: str
) -> knative.Trigger:
    """Hands events of this pipeline that have these attributes to a service."""
    names = plan.names
    own = {**attributes, PIPELINE: names.pipeline, NAMESPACE: names.namespace}
    return knative.Trigger(
        metadata=parts.object_meta(names, name, component),
        spec=knative.TriggerSpec(
            broker=BROKER,
            filter=knative.TriggerFilter(attributes=own),
            subscriber=knative.EventDestination(ref=_service_reference(service, names)),
            delivery=event_delivery(names),
        ),
    )


def _service_reference(name: str, names: Names) -> ObjectReference:
    return ObjectReference(api_version="v1", kind="Service", name=name, namespace=names.namespace)
