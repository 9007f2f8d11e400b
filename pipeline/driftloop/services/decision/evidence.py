"""Stored verdicts behind alarms: an event at the broker is anybody's word, the verdict stream has
the detector's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg

from driftloop.clients.nats import HINT
from driftloop.contract.documents import DocumentError, parse_json
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.contract.verdicts import VerdictRecord, describe_changes, read_changes
from driftloop.errors import StoreError

MOST_NAMED = 3
"""Columns of an alarm that a cause names."""


@dataclass(frozen=True)
class StoredVerdict:
    """A verdict as the detector has stored it."""

    verdict: VerdictRecord
    words: str
    """Columns that have changed, in words; empty when the detector names none."""


async def find_stored(
    js: JetStreamContext, namespace: str, pipeline: str, verdict: VerdictRecord
) -> StoredVerdict | None:
    """Return this verdict as the detector has stored it, `lasting` or not; None when it has not. StoreError
    when NATS is away.

    Windows of a release are stored in order, each once: the place is found by halving.
    """
    subject = DetectorStreams(namespace, pipeline, verdict.detector, verdict.release).verdicts
    try:
        last = await js.get_last_msg(VERDICTS.name, subject)
        stored = _read(last, subject)
        if stored.verdict.window > verdict.window:
            stored, _ = await _find_window(js, subject, verdict.window, last)
    except nats.js.errors.NotFoundError:
        return None
    except (nats.errors.Error, TimeoutError) as error:
        raise StoreError(
            f"stream {VERDICTS.name}: {error or type(error).__name__}", hint=HINT
        ) from error
    same = replace(stored.verdict, lasting=None) == replace(verdict, lasting=None)
    return stored if same else None


async def read_last(
    js: JetStreamContext, streams: DetectorStreams, count: int
) -> tuple[VerdictRecord, ...]:
    """Return the verdicts of a detector's last windows of a release, `count` at most, in order; none when it
    has stored none. StoreError when NATS is away, or one can't be read."""
    subject = streams.verdicts
    try:
        last = await js.get_last_msg(VERDICTS.name, subject)
        newest = _read(last, subject).verdict.window
        first, place = await _find_window(js, subject, newest - count + 1, last)
        found = [first.verdict]
        while found[-1].window < newest:
            message = await js.get_msg(VERDICTS.name, seq=place + 1, subject=subject, next=True)
            place = message.seq or place + 1
            found.append(_read(message, subject).verdict)
    except nats.js.errors.NotFoundError:
        return ()
    except DocumentError as error:
        raise StoreError(error.message) from error
    except (nats.errors.Error, TimeoutError) as error:
        raise StoreError(
            f"stream {VERDICTS.name}: {error or type(error).__name__}", hint=HINT
        ) from error
    return tuple(found)


async def _find_window(
    js: JetStreamContext, subject: str, window: int, last: RawStreamMsg
) -> tuple[StoredVerdict, int]:
    """The first verdict whose window is at least `window`, and its place in the stream; `last` is one of
    those."""
    candidate, place = _read(last, subject), last.seq or 1
    low, high = 1, place
    while low < high:
        middle = (low + high) // 2
        message = await js.get_msg(VERDICTS.name, seq=middle, subject=subject, next=True)
        stored = _read(message, subject)
        if stored.verdict.window < window:
            low = (message.seq or middle) + 1
        else:
            candidate, place, high = stored, message.seq or middle, middle
    return candidate, place


def _read(message: RawStreamMsg, subject: str) -> StoredVerdict:
    document = parse_json(message.data or b"", label=f"the verdict of {subject}")
    verdict = VerdictRecord.read(document)
    details = document.get("details")
    changes = read_changes(details) if isinstance(details, Mapping) else ()
    return StoredVerdict(verdict, describe_changes(changes, MOST_NAMED))
