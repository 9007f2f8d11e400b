"""What people are told of the loop's pauses: owed in the state, until it is known to be told."""

import hashlib
from dataclasses import replace

from driftloop.contract.records import LoopWait
from driftloop.retrain.causes import KEPT_ENDED
from driftloop.retrain.state import RetrainState, UntoldWait


def tell_wait(state: RetrainState, key: str, waits_for: LoopWait, reason: str) -> RetrainState:
    """Owe people the news of a wait; the same wait is told once."""
    short = hashlib.sha256(f"{state.pipeline}|{key}".encode()).hexdigest()[:12]
    untold = UntoldWait(short, waits_for, reason)
    return replace(state, waits_untold=(*state.waits_untold, untold)[-KEPT_ENDED:])
