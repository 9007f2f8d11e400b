"""The event bus of a namespace: one stream, one subject per event of an EventSource."""

from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from driftloop.clients.nats import ensure_stream, token

MAX_AGE = 7 * 24 * 3600.0
"""Seconds an event is kept."""

MAX_BYTES = 256 * 1024 * 1024
"""Bytes of events kept in one namespace."""

MAX_MESSAGES = 50_000


def stream(namespace: str) -> str:
    """The stream of a namespace's events."""
    return f"EVENTBUS_{token(namespace)}"


def subject(namespace: str, source: str, event: str) -> str:
    """Where one event of an EventSource is published."""
    return f"eventbus.{namespace}.{source}.{event}"


async def ensure(js: JetStreamContext, namespace: str) -> None:
    """The stream exists afterwards. StoreError."""
    await ensure_stream(
        js, stream(namespace), [f"eventbus.{namespace}.>"], max_age=MAX_AGE, max_bytes=MAX_BYTES, duplicate_window=300
    )


def describe(error: Exception) -> str:
    """What NATS said, in a few words."""
    if isinstance(error, nats.js.errors.APIError):
        return str(error.description)
    return str(error) or type(error).__name__


Errors = (nats.errors.Error, TimeoutError)
Event = dict[str, Any]
