"""Stored verdicts behind alarms: an event at the broker is anybody's word, the verdict stream has
the detector's."""

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg

from driftloop.clients.nats import HINT
from driftloop.contract.documents import parse_json
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.contract.verdicts import VerdictRecord
from driftloop.errors import StoreError


async def is_stored(
    js: JetStreamContext, namespace: str, pipeline: str, verdict: VerdictRecord
) -> bool:
    """Return True when the detector has stored this verdict. StoreError when NATS is away.

    Windows of a release are stored in order, each once: the place is found by halving.
    """
    subject = DetectorStreams(namespace, pipeline, verdict.detector, verdict.release).verdicts
    try:
        last = await js.get_last_msg(VERDICTS.name, subject)
        if (newest := _read(last, subject)) == verdict or newest.window < verdict.window:
            return newest == verdict
        return await _find_window(js, subject, verdict.window, last) == verdict
    except nats.js.errors.NotFoundError:
        return False
    except (nats.errors.Error, TimeoutError) as error:
        raise StoreError(
            f"stream {VERDICTS.name}: {error or type(error).__name__}", hint=HINT
        ) from error


async def _find_window(
    js: JetStreamContext, subject: str, window: int, last: RawStreamMsg
) -> VerdictRecord:
    """The first verdict whose window is at least `window`; `last` is one of those."""
    candidate = _read(last, subject)
    low, high = 1, last.seq or 1
    while low < high:
        middle = (low + high) // 2
        message = await js.get_msg(VERDICTS.name, seq=middle, subject=subject, next=True)
        verdict = _read(message, subject)
        if verdict.window < window:
            low = (message.seq or middle) + 1
        else:
            candidate, high = verdict, middle
    return candidate


def _read(message: RawStreamMsg, subject: str) -> VerdictRecord:
    return VerdictRecord.read(parse_json(message.data or b"", label=f"the verdict of {subject}"))
