"""What a JetStream stream holds, message by message."""

from dataclasses import dataclass

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError


@dataclass(frozen=True)
class Stored:
    """One message of a stream; `id` is what its publisher called it (Nats-Msg-Id)."""

    sequence: int
    subject: str
    id: str
    data: bytes


async def stored(js: JetStreamContext, stream: str, *, subject: str = ">") -> list[Stored]:
    """All messages in the stream's order; an empty list when there is no such stream."""
    found: list[Stored] = []
    try:
        subscription = await js.pull_subscribe(
            subject,
            stream=stream,
            config=ConsumerConfig(ack_policy=AckPolicy.NONE, inactive_threshold=30),
        )
    except NotFoundError:
        return found
    left = (await subscription.consumer_info()).num_pending or 0
    while left:
        for message in await subscription.fetch(min(left, 500), timeout=60):
            sequence = message.metadata.sequence.stream
            id = (message.headers or {}).get("Nats-Msg-Id", "")
            found.append(Stored(sequence, message.subject, id, message.data))
            left -= 1
    await subscription.unsubscribe()
    return found
