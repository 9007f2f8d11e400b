"""Retries: whether a pod that ended is tried again, and when (`retryStrategy`)."""

from dataclasses import dataclass

from pipeline.runtimes.local.argo.model import Backoff, RetryStrategy
from pipeline.runtimes.local.argo.nodes import Phase
from pipeline.runtimes.local.argo.times import duration

_RETRIED = {"Failed": "OnFailure", "Error": "OnError"}


@dataclass(frozen=True)
class Again:
    """Try once more, `wait` seconds from now."""

    wait: float


@dataclass(frozen=True)
class Over:
    """No more tries; `why` is empty when the last one needed none."""

    why: str = ""


def after(strategy: RetryStrategy, *, phase: Phase, attempt: int, elapsed: float) -> Again | Over:
    """What follows the attempt number `attempt` (from 0) that ended in `phase`, `elapsed` seconds after the first."""
    if strategy.retry_policy not in ("Always", _RETRIED.get(phase)) or phase not in _RETRIED:
        return Over()
    if strategy.limit is not None and attempt >= int(strategy.limit):
        return Over("No more retries left")
    if strategy.backoff is None:
        return Again(0.0)
    wait = _wait(strategy.backoff, attempt)
    longest = strategy.backoff.max_duration
    if longest is not None and elapsed + wait > duration(longest):
        return Over("Max duration limit exceeded")
    return Again(wait)


def _wait(backoff: Backoff, attempt: int) -> float:
    """`duration` times `factor` for every try so far, at most `cap`."""
    try:
        wait = duration(backoff.duration) * float(backoff.factor) ** attempt
    except OverflowError:
        wait = float("inf")
    return wait if backoff.cap is None else min(wait, duration(backoff.cap))
