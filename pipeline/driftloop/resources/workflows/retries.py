"""Rules by which a step is tried again."""

from dataclasses import dataclass

from driftloop.spec.resources import LONGEST_WAIT, Retries

LOST = 2
"""Times that a step is tried again whose pod went away."""

_LONGEST_WAIT = int(LONGEST_WAIT.total_seconds())

TIMEOUT = 124
"""Exit code of `driftloop-train` when the user's function took too long."""

_TIMELESS = '!(lastRetry.message contains "deadline")'
_FITTING = '!(lastRetry.message contains "OOMKilled")'

AWAY = f'lastRetry.status == "Error" || lastRetry.exitCode in ["137", "143"] && {_TIMELESS} && {_FITTING}'
"""Deleted pods are errors; what a node kills on its way down is a failure by signal, as are two
that come again: no time left, no memory left."""


@dataclass(frozen=True)
class RetryRule:
    """Tries of a step after the first one; each waits twice as long as the one before."""

    limit: int
    """Number of tries at most."""
    first_wait: int
    """Seconds before the first of them."""
    longest_wait: int | None = None
    """Seconds before any of them at most."""
    expression: str | None = None
    """Condition on the last try, in Argo's language; None: after any failure."""


def own_retries(limit: int) -> RetryRule:
    """Return the rule for a step of ours: after any failure `limit` times; 0: only when its pod
    went away."""
    return RetryRule(limit=limit or LOST, first_wait=10, expression=None if limit else AWAY)


def user_retries(retries: Retries | None, *, resumes: bool = False) -> RetryRule:
    """Return the rule for a step of the user's: when its pod went away, and as the spec says
    when it failed by itself.

    With `resumes` a try goes on where the one before stopped, so one that ran out of time is
    worth another.
    """
    if retries is None:
        return own_retries(0)
    in_time = f'{_TIMELESS} && lastRetry.exitCode != "{TIMEOUT}"'
    return RetryRule(
        limit=retries.limit,
        first_wait=_first_wait(retries),
        longest_wait=_LONGEST_WAIT,
        expression=_FITTING if resumes else f"{in_time} && {_FITTING}",
    )


def total_seconds(limit: int, retries: Retries | None) -> int:
    """Return the seconds that all tries of a step take that may take `limit` each, with the
    waits between them."""
    if retries is None:
        return limit
    waits = (min(_first_wait(retries) << n, _LONGEST_WAIT) for n in range(retries.limit))
    return (1 + retries.limit) * limit + sum(waits)


def _first_wait(retries: Retries) -> int:
    return int(retries.wait.total_seconds()) or 1
