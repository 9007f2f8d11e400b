"""CloudEvents by the SDK, for programs that read or send few of them.

It parses data and times of every event, at nine times the cost of `events`; the broker and the
detectors, which take every request of a pipeline, keep `events` (docs/decisions/0007).
"""

from collections.abc import Mapping
from datetime import datetime
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from cloudevents.core.bindings.http import HTTPMessage, from_http, to_binary
from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from driftloop.clients.events import Event, EventRefusedError, MalformedEventError, check_attributes

_FORMAT = JSONFormat()


def read_event(headers: Mapping[str, str], body: bytes) -> Event:
    """Return the event in an HTTP message, binary or structured; MalformedEventError otherwise,
    and for attributes that `events` refuses."""
    try:
        event = from_http(HTTPMessage(dict(headers), body), _FORMAT, CloudEvent)
        attributes = {name: _write_value(value) for name, value in event.get_attributes().items()}
        binary = to_binary(event, _FORMAT)
    except (
        BaseCloudEventException,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        # the SDK takes JSON objects, strings and times for granted where they must be
        raise MalformedEventError(f"the request is not a CloudEvent: {error}") from error
    check_attributes(attributes)
    return Event(attributes, binary.body)


def send_event(url: str, event: Event, *, timeout: float = 10.0) -> None:
    """Send an event in binary mode; EventRefusedError unless the answer is 2xx in `timeout`
    seconds."""
    message = write_event(event)
    request = Request(url, data=message.body, headers=message.headers, method="POST")  # noqa: S310
    try:
        with urlopen(request, timeout=timeout):  # noqa: S310
            return
    except HTTPError as error:
        raise EventRefusedError(
            f"{url} answered {error.code}: {error.read(200)!r}", status=error.code
        ) from error
    except (URLError, TimeoutError, OSError) as error:
        raise EventRefusedError(f"{url} can't be reached: {error}") from error


def write_event(event: Event) -> HTTPMessage:
    """Return an event as an HTTP message in binary mode; its `time` must be in ISO 8601."""
    attributes: dict[str, object] = dict(event.attributes)
    if (time := event.get("time")) is not None:
        attributes["time"] = datetime.fromisoformat(time)
    return to_binary(CloudEvent(attributes, event.body), _FORMAT)


def _write_value(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)
