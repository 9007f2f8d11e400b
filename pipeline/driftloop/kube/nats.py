"""messaging.knative.dev/v1alpha1: the JetStream channel behind a Broker (as a template in its
ConfigMap)."""

from typing import Literal

from driftloop.kube.base import ObjectPart


class StreamConfig(ObjectPart):
    """Limits of the stream; without them a disk fills up."""

    retention: Literal["Limits"] = "Limits"
    max_bytes: int
    discard: Literal["Old", "New"] = "Old"
    max_age: str
    max_msg_size: int | None = None
    storage: Literal["File"] = "File"
    replicas: int
    duplicate_window: str


class ChannelStream(ObjectPart):
    """The stream of a channel."""

    config: StreamConfig


class ConsumerTemplate(ObjectPart):
    """Start of a new subscription; the channel's own default would replay everything."""

    deliver_policy: Literal["New"] = "New"


class ChannelSpec(ObjectPart):
    """A JetStream channel."""

    stream: ChannelStream
    consumer_config_template: ConsumerTemplate


class ChannelTemplate(ObjectPart):
    """Template of a Broker's channels."""

    api_version: Literal["messaging.knative.dev/v1alpha1"] = "messaging.knative.dev/v1alpha1"
    kind: Literal["NatsJetStreamChannel"] = "NatsJetStreamChannel"
    spec: ChannelSpec
