"""The last requests that callers have sent to production, from the stream of one of its detectors."""

from collections import deque

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from driftloop.clients import cancellation, events
from driftloop.clients.nats import open_connection, read_stored
from driftloop.contract.events import PROTOCOL
from driftloop.contract.records import CapturedRequests
from driftloop.contract.streams import DetectorStreams
from driftloop.errors import StoreError

MOST = 100
"""Requests that are read."""
REACH = 20
"""Messages that are looked through for one request, since other releases' may lie between."""
LARGEST = 4 * 1024 * 1024
"""Bytes of them."""


def read_captured(url: str, streams: DetectorStreams) -> CapturedRequests:
    """Read the last requests of a release. What keeps it from that is the note, never an error: a
    candidate is rehearsed without them, too."""
    return cancellation.run(_read_captured(url, streams))


async def _read_captured(url: str, streams: DetectorStreams) -> CapturedRequests:
    try:
        async with open_connection(url, name=f"{streams.pipeline}-capture") as js:
            bodies = await _read_bodies(js, streams)
    except nats.js.errors.NotFoundError:
        bodies = []
    except (nats.errors.Error, nats.js.errors.Error, StoreError, TimeoutError) as error:
        return CapturedRequests((), streams.release, f"they can't be read: {error}")
    note = "" if bodies else f"{streams.detector} has kept none of {streams.release}"
    return CapturedRequests(tuple(bodies), streams.release, note)


async def _read_bodies(js: JetStreamContext, streams: DetectorStreams) -> list[str]:
    """Read the newest bodies that a rehearsed server can be asked, the oldest first."""
    subject = streams.event_subject(streams.release)
    last = (await js.get_last_msg(streams.stream, subject)).seq or 1
    first = max(1, last - MOST * REACH + 1)
    newest: deque[str] = deque(maxlen=MOST)
    async for message in read_stored(js, streams.stream, subject, first=first):
        event = events.unpack_event(message.data)
        if event.get(PROTOCOL) in (None, "seldon"):
            newest.append(event.body.decode(errors="replace"))
    bodies = list(newest)
    while sum(map(len, bodies)) > LARGEST:
        bodies.pop(0)
    return bodies
