"""The event bus of a namespace: one stream, one subject per event of an EventSource."""

from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from driftloop.clients.nats import ensure_contract_stream
from driftloop.contract.streams import event_bus_stream, event_bus_subject


def stream(namespace: str) -> str:
    """Return the name of the stream of a namespace's events."""
    return event_bus_stream(namespace).name


def subject(namespace: str, source: str, event: str) -> str:
    """Return the subject of one event of an EventSource."""
    return event_bus_subject(namespace, source, event)


async def ensure(js: JetStreamContext, namespace: str) -> None:
    """Make the stream unless it exists. StoreError."""
    await ensure_contract_stream(js, event_bus_stream(namespace))


def describe(error: Exception) -> str:
    """Return an error of NATS in a few words."""
    if isinstance(error, nats.js.errors.APIError):
        return str(error.description)
    return str(error) or type(error).__name__


Errors = (nats.errors.Error, TimeoutError)
Event = dict[str, Any]
