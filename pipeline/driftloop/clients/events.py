"""CloudEvents 1.0 over HTTP, and the form they are kept in on a stream.

The body is never decoded here: a payload that is not JSON has to travel as it came, and the hot
path pays for nothing it does not need. The SDK parses bodies and times eagerly: `sdk` has it for
programs of few events, and tests hold this module against it.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

import aiohttp

from driftloop.contract import events as contract
from driftloop.contract.documents import escape_text, to_json
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.records import LoopRecord, LoopWait, RunRecord
from driftloop.errors import PipelineError

STRUCTURED = "application/cloudevents+json"
REQUIRED = ("id", "source", "type", "specversion")

# json.dumps makes an encoder for each call that is not its default
_encode = json.JSONEncoder(separators=(",", ":")).encode
_NAME = re.compile(r"[a-z0-9]+\Z")
_JSON_TYPE = re.compile(r"(application|text)/([\w.\-]+\+)?json\s*(;|\Z)", re.IGNORECASE)
_HEADER_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_PLAIN = re.compile(r"[!#$&-~]*\Z")
_MEDIA_TYPE = re.compile(r"[ -~]*\Z")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that CloudEvents 1.0 forbids in attributes: controls and lone surrogates."""

LONGEST_ATTRIBUTE = 1024
"""Characters of an attribute's value. A type is part of a NATS subject, an id of a header there:
NATS closes the connection of a client whose line has more than 4,096 bytes."""
LONGEST_KEY = 512
"""Characters of the key that stands in a header of a NATS message; a longer one is hashed."""
MOST_ATTRIBUTES = 16 * 1024
"""Characters of all values together."""


class MalformedEventError(PipelineError):
    """The input is not a CloudEvent. What its message quotes is printable, whatever was sent: it
    goes into answers and logs."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(escape_text(message), hint=hint)


class EventRefusedError(PipelineError):
    """The receiver could not be reached or did not answer 2xx; `status` is None when there was
    no answer."""

    def __init__(self, message: str, *, status: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class Event:
    """One CloudEvent: its attributes as strings (`datacontenttype` among them) and its body as
    it travels."""

    attributes: Mapping[str, str]
    body: bytes = b""

    @property
    def id(self) -> str:
        return self.attributes["id"]

    @property
    def type(self) -> str:
        return self.attributes["type"]

    @property
    def key(self) -> str:
        """Source and id, which name an event together: each source numbers its own."""
        key = f"{_quote_source(self.attributes['source'])} {self.attributes['id']}"
        return key if len(key) <= LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()

    def get(self, name: str) -> str | None:
        """An attribute's value, or None."""
        return self.attributes.get(name)

    def parse_json(self) -> Any:
        """The body as JSON; MalformedEventError when it is not."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise MalformedEventError(
                f"the body of event {self.id} is not JSON: {error}"
            ) from error

    def extend_attributes(self, **attributes: str) -> "Event":
        """The same event with more (or other) attributes."""
        return Event({**self.attributes, **attributes}, self.body)


def make_event(
    type: str, source: str, data: Any, *, id: str | None = None, **extensions: str
) -> Event:
    """A new event with a JSON body, the time now, and a fresh UUID unless `id` is given."""
    attributes = {
        "specversion": "1.0",
        "id": id or str(uuid.uuid4()),
        "type": type,
        "source": source,
        "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        **extensions,
    }
    return Event(attributes, json.dumps(data, separators=(",", ":")).encode())


def run_finished(
    namespace: str,
    pipeline: str,
    *,
    run: str,
    decision: str,
    outcome: RunOutcome,
    release: str,
) -> Event:
    """Return the event that a run has ended, the same one however often it is made."""
    return make_event(
        contract.RUN_FINISHED,
        contract.event_source(namespace, pipeline),
        to_json(
            RunRecord(
                pipeline=pipeline,
                run=run,
                decision=decision,
                outcome=outcome.kind,
                reason=outcome.reason,
                time=outcome.time,
                obstacle=outcome.obstacle,
            )
        ),
        id=contract.run_id(namespace, pipeline, run, "finished"),
        **{contract.PIPELINE: pipeline, contract.NAMESPACE: namespace, contract.RELEASE: release},
    )


def loop_waits(
    namespace: str, pipeline: str, *, key: str, waits_for: LoopWait, reason: str
) -> Event:
    """Return the event that the loop began to wait, the same one however often it is made."""
    return make_event(
        contract.LOOP_WAITS,
        contract.event_source(namespace, pipeline),
        to_json(LoopRecord(pipeline=pipeline, waits_for=waits_for, reason=reason)),
        id=contract.wait_id(namespace, pipeline, key),
        **{contract.PIPELINE: pipeline, contract.NAMESPACE: namespace},
    )


def from_http(headers: Mapping[str, str], body: bytes) -> Event:
    """The event in an HTTP message, binary or structured mode; MalformedEventError says what is
    missing."""
    attributes: dict[str, str] = {}
    content_type = None
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith("ce-"):
            if value:
                attributes[lower[3:]] = unquote(value) if "%" in value else value
        elif lower == "content-type":
            content_type = value
    if not attributes and content_type is not None and content_type.lower().startswith(STRUCTURED):
        return from_structured(body)
    if not attributes:
        raise MalformedEventError(
            "the request is not a CloudEvent: it has no ce-* header",
            hint=f"send ce-id, ce-source, ce-type and ce-specversion, or a body of type {STRUCTURED}",
        )
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    check_attributes(attributes)
    return Event(attributes, body)


def from_structured(body: bytes) -> Event:
    """The event in a body of type application/cloudevents+json."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedEventError(f"the structured CloudEvent is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedEventError(
            f"the structured CloudEvent is a {type(document).__name__}, must be an object"
        )
    data, encoded = document.pop("data", None), document.pop("data_base64", None)
    attributes: dict[str, str] = {}
    for name, value in document.items():
        if value is None:
            continue
        if isinstance(value, dict | list | float):
            raise MalformedEventError(
                f"attribute `{name}` is {json.dumps(value)[:40]}, must be a string, integer or boolean"
            )
        attributes[name] = value if isinstance(value, str) else json.dumps(value)
    check_attributes(attributes)
    if encoded is not None:
        try:
            return Event(attributes, base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError, TypeError) as error:
            raise MalformedEventError("data_base64 is not base64") from error
    if data is None:
        return Event(attributes)
    content_type = attributes.setdefault("datacontenttype", "application/json")
    try:
        if isinstance(data, str) and not _JSON_TYPE.match(content_type):
            return Event(attributes, data.encode())
        return Event(attributes, json.dumps(data, separators=(",", ":")).encode())
    except (ValueError, RecursionError) as error:
        raise MalformedEventError(f"the data can't be written as bytes: {error}") from error


def to_http(event: Event) -> dict[str, str]:
    """The headers of an event in binary mode; its body is the HTTP body. ValueError for an
    attribute with a lone surrogate, which `from_http` refuses."""
    headers: dict[str, str] = {}
    attributes = event.attributes
    # one look for all, nearly always enough: a logger's media type is plain, too
    if _PLAIN.match("".join(attributes.values())):
        headers = {f"ce-{name}": value for name, value in attributes.items()}
        if (media_type := headers.pop("ce-datacontenttype", None)) is not None:
            headers["Content-Type"] = media_type
        return headers
    for name, value in attributes.items():
        if name == "datacontenttype":
            headers["Content-Type"] = (
                value if _MEDIA_TYPE.match(value) else quote(value, safe=_HEADER_SAFE + " ")
            )
        else:
            headers["ce-" + name] = (
                value if _PLAIN.match(value) else quote(value, safe=_HEADER_SAFE)
            )
    return headers


def pack_event(event: Event) -> bytes:
    """An event as a stream's message: its attributes as one line of JSON, then the body
    untouched.

    Header by header (the CloudEvents binding for NATS) costs nats-py a third of its rate; this
    form keeps it.
    """
    return _encode(event.attributes).encode() + b"\n" + event.body


def unpack_event(message: bytes) -> Event:
    """The event in a stream's message; MalformedEventError when somebody else wrote it."""
    line, _, body = message.partition(b"\n")
    try:
        # bytes would have their encoding looked for first
        attributes = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise MalformedEventError(
            "the message on the stream does not start with the event's attributes"
        ) from error
    if not isinstance(attributes, dict):
        raise MalformedEventError(
            "the message on the stream does not start with the event's attributes"
        )
    return Event(attributes, body)


async def post_event(
    session: aiohttp.ClientSession,
    url: str,
    event: Event,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109
) -> None:
    """Send an event in binary mode; EventRefusedError unless the answer is 2xx within `timeout`
    seconds."""
    try:
        # not aiohttp's own timeout: it swallows a cancellation that comes in the same moment (3.14)
        async with (
            asyncio.timeout(timeout),
            session.post(
                url, data=event.body, headers=to_http(event), timeout=aiohttp.ClientTimeout()
            ) as answer,
        ):
            text = (await answer.read())[:200]
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EventRefusedError(
            f"{url} can't be reached: {error or type(error).__name__}"
        ) from error
    if not 200 <= answer.status < 300:
        raise EventRefusedError(f"{url} answered {answer.status}: {text!r}", status=answer.status)


def check_attributes(attributes: Mapping[str, str]) -> None:
    """MalformedEventError unless the required attributes are there, and all are bounded text."""
    found = attributes.get
    if not (found("id") and found("source") and found("type") and found("specversion")):
        missing = [name for name in REQUIRED if not found(name)]
        raise MalformedEventError(f"the CloudEvent has no {', '.join(missing)}")
    if attributes["specversion"] != "1.0":
        raise MalformedEventError(f"specversion is `{attributes['specversion'][:20]}`, must be 1.0")
    if (name := _find_odd_name(tuple(attributes))) is not None:
        raise MalformedEventError(
            f"attribute name `{name[:40]}` must be lower-case letters and digits only"
        )
    together = "".join(attributes.values())
    if len(together) > LONGEST_ATTRIBUTE or not together.isprintable():
        _check_values(attributes)


@lru_cache(maxsize=64)
def _find_odd_name(names: tuple[str, ...]) -> str | None:
    """Return the first name that is none; the events of one sender have the same ones."""
    return next((name for name in names if not _NAME.match(name)), None)


@lru_cache(maxsize=64)
def _quote_source(source: str) -> str:
    return quote(source, safe=_HEADER_SAFE)


def _check_values(attributes: Mapping[str, str]) -> None:
    for name, value in attributes.items():
        if len(value) > LONGEST_ATTRIBUTE:
            raise MalformedEventError(
                f"attribute `{name}` has {len(value)} characters, must have at most {LONGEST_ATTRIBUTE}"
            )
        if (match := _FORBIDDEN.search(value)) is not None:
            raise MalformedEventError(
                f"attribute `{name}` has the character U+{ord(match[0]):04X}, must have no control"
                " characters and no lone surrogates"
            )
    if (total := sum(map(len, attributes.values()))) > MOST_ATTRIBUTES:
        raise MalformedEventError(
            f"the attributes have {total} characters, must have at most {MOST_ATTRIBUTES}"
        )
