"""A sample of the events that a window was judged by, as its detector's stream still keeps them, without
the values of columns that are private."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg

from driftloop.clients import cancellation, events
from driftloop.clients.events import MalformedEventError
from driftloop.clients.nats import HINT, open_connection
from driftloop.contract.events import INFERENCE, PROTOCOL, REQUEST_ID
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.times import format_time
from driftloop.errors import StoreError
from driftloop.release.bodies import parse_body
from driftloop.release.payloads import read_parts
from driftloop.release.tables import BAD_PAYLOAD, shape_column, shape_rows
from driftloop.spec.model import Spec

MOST_EVENTS = 8
"""Events of a sample, spread evenly over the window."""
LARGEST = 256 * 1024
"""Bytes of a body that is read; a page shows a few values of it."""
MOST_COLUMNS = 60
"""Columns of an event that are kept."""
LONGEST = 80
"""Characters of a value."""
HIDDEN = "hidden"
UNNAMED = "its values have no names here, so private ones can't be told from others"


@dataclass(frozen=True)
class SampledEvent:
    """The first row of one request or answer."""

    side: str
    """`request` or `response`."""
    request: str
    time: str
    rows: int
    """Rows that it has in all; 0 when it can't be read."""
    values: Mapping[str, str]
    """Column to its value, as JSON; HIDDEN of a private one."""
    problem: str = ""
    """Why there are no values."""


def list_private(spec: Spec) -> frozenset[str]:
    """Return the columns whose values nobody is to see: `capture` drops or hashes them, or detectors
    don't get them."""
    ignored = {name for name, use in spec.data.columns.items() if use == "ignore"}
    captured = spec.capture.private if spec.capture is not None else ()
    return frozenset({*ignored, *captured})


def read_sample(
    url: str, streams: DetectorStreams, first: int, last: int, private: frozenset[str]
) -> tuple[SampledEvent, ...]:
    """Read a sample of the events of a release from the first to the last of a window, in their order; none
    when none is kept any more. StoreError when NATS is away."""
    return cancellation.run(_read_sample(url, streams, first, last, private))


async def _read_sample(
    url: str, streams: DetectorStreams, first: int, last: int, private: frozenset[str]
) -> tuple[SampledEvent, ...]:
    found: dict[int, SampledEvent] = {}
    async with open_connection(url, name="driftloop-sample", wait=5) as js:
        for sequence in _spread(first, last):
            message = await _find_next(js, streams, sequence)
            if message is None or message.seq is None or message.seq > last:
                break
            if message.seq not in found and message.data is not None:
                found[message.seq] = describe_event(message.data, _read_time(message), private)
    return tuple(found[sequence] for sequence in sorted(found))


def _spread(first: int, last: int) -> Iterator[int]:
    """Yield sequences from first to last, at equal distances."""
    count = min(MOST_EVENTS, last - first + 1)
    for number in range(count):
        yield first + number * (last - first) // max(1, count - 1)


async def _find_next(
    js: JetStreamContext, streams: DetectorStreams, sequence: int
) -> RawStreamMsg | None:
    """Return the first event of the release at or after a sequence; None without one."""
    subject = streams.event_subject(streams.release)
    try:
        return await js.get_msg(streams.stream, sequence, subject=subject, next=True)
    except nats.js.errors.NotFoundError:
        return None
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise StoreError(
            f"stream {streams.stream}: {error or type(error).__name__}", hint=HINT
        ) from error


def _read_time(message: RawStreamMsg) -> str:
    return format_time(message.time.astimezone(UTC)) if message.time is not None else ""


def describe_event(data: bytes, time: str, private: frozenset[str]) -> SampledEvent:
    """Return the first row of an event of a stream, without private values."""
    try:
        event = events.unpack_event(data)
    except MalformedEventError:
        return SampledEvent("", "", time, 0, {}, "it is not an event")
    side, request = event.type.removeprefix(INFERENCE), event.get(REQUEST_ID) or ""
    if len(event.body) > LARGEST:
        why = f"it has {len(event.body)} bytes; a page reads {LARGEST} at most"
        return SampledEvent(side, request, time, 0, {}, why)
    try:
        named, count = _read_first_row(event.body, event.get(PROTOCOL))
    except (*BAD_PAYLOAD, IndexError):
        return SampledEvent(side, request, time, 0, {}, "it can't be read as rows")
    if private and any(name is None for name, _ in named):
        return SampledEvent(side, request, time, count, {}, UNNAMED)
    values = {
        name or f"[{place}]": HIDDEN if name in private else _write_value(value, private)
        for place, (name, value) in enumerate(named[:MOST_COLUMNS])
    }
    return SampledEvent(side, request, time, count, values)


def _read_first_row(body: bytes, protocol: str | None) -> tuple[list[tuple[str | None, Any]], int]:
    """Return names and values of the first row of a body, and how many rows there are."""
    parts = read_parts(parse_body(body), protocol)
    if any(part.name is not None for part in parts):
        columns = [(part.name, shape_column(part)) for part in parts]
        return [(name, values[0]) for name, values in columns], len(columns[0][1])
    (part,) = parts
    rows = shape_rows(part)
    row = rows[0]
    if isinstance(row, dict):
        return [(str(name), value) for name, value in row.items()], len(rows)
    if not isinstance(row, list):
        # one row that is no list in another: its values are the columns, where they have names
        row, rows = (rows, [rows]) if len(part.names) == len(rows) else ([row], rows)
    names: tuple[str | None, ...] = part.names if len(part.names) == len(row) else ()
    return list(zip(names or (None,) * len(row), row, strict=True)), len(rows)


def _write_value(value: Any, private: frozenset[str]) -> str:
    """Return a value as JSON, not too long; what may have private values inside is not shown."""
    if private and _holds_names(value):
        return HIDDEN
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _holds_names(value: Any) -> bool:
    if isinstance(value, list):
        return any(_holds_names(item) for item in value)
    return isinstance(value, dict)
