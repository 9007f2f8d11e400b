"""Schedule of labelled batches, and the recorder's memory of them: decisions without I/O."""

from collections.abc import Mapping
from dataclasses import replace

from driftloop.contract.batches import BatchRange, BatchResult, BatchSettings, BatchState
from driftloop.contract.captures import RecorderTrouble
from driftloop.contract.recorders import RecorderState
from driftloop.contract.times import SECOND, format_now

LONGEST_REASON = 500


def note_labels(state: RecorderState, moment: int, counts: Mapping[str, int]) -> RecorderState:
    """Return a state that knows of the labels of a part."""
    if not (labels := counts.get("labels", 0)):
        return state
    known = state.batch or BatchState(looked=moment)
    return replace(state, batch=replace(known, waiting=known.waiting + labels))


def choose_batch(
    state: RecorderState, settings: BatchSettings | None, now: int
) -> BatchRange | None:
    """Return the batch that is being written, or the next one when a look at the labels is due."""
    known = state.batch
    if settings is None or known is None:
        return None
    if known.range is not None:
        return known.range
    if not known.waiting or now - known.looked < settings.every * SECOND:
        return None
    return BatchRange(number=known.number + 1, after=known.after, last=state.number, moment=now)


def begin_batch(state: RecorderState, range: BatchRange) -> RecorderState:
    """Return a state in which a batch is being written."""
    return replace(state, batch=replace(state.batch or BatchState(), range=range))


def end_batch(state: RecorderState, range: BatchRange, result: BatchResult) -> RecorderState:
    """Return a state in which a look at the labels is over."""
    known = state.batch or BatchState()
    done = replace(
        known,
        after=result.after,
        waiting=max(result.waiting, int(result.more)),
        looked=0 if result.more else range.moment,
        range=None,
        trouble=None,
    )
    counts = dict(state.counts)
    added = {
        "batches": int(result.rows > 0),
        "labelled": result.rows,
        "corrected": result.corrected,
        "unfit": result.unfit,
    }
    for what, count in added.items():
        counts[what] = counts.get(what, 0) + count
    if result.rows:
        done = replace(done, number=range.number, written=format_now())
    return replace(state, batch=done, counts=counts)


def note_trouble(state: RecorderState, why: str) -> RecorderState:
    """Return a state that says since when no batch can be written, and why."""
    known = state.batch or BatchState()
    if known.trouble is not None:
        return state
    trouble = RecorderTrouble(since=format_now(), why=why[:LONGEST_REASON])
    return replace(state, batch=replace(known, trouble=trouble))
