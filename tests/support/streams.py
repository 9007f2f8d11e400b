"""What a JetStream stream holds, message by message."""

from dataclasses import dataclass

from nats.js import JetStreamContext
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
    sequence = 1
    while True:
        try:
            message = await js.get_msg(stream, sequence, next=True, subject=subject)
        except NotFoundError:
            return found
        headers = message.headers or {}
        found.append(
            Stored(message.seq or 0, message.subject or "", headers.get("Nats-Msg-Id", ""), message.data or b"")
        )
        sequence = (message.seq or 0) + 1
