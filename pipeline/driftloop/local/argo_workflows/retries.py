"""Retries of pods that ended (`retryStrategy`)."""

from dataclasses import dataclass
from typing import Any

from driftloop.local.argo import expressions
from driftloop.local.argo.expressions import Dialect, ExpressionError
from driftloop.local.argo.nodes import Node
from driftloop.local.argo.times import between, duration
from driftloop.local.argo_workflows.model import Backoff, RetryStrategy

_RETRIED = {"Failed": "OnFailure", "Error": "OnError"}


@dataclass(frozen=True)
class Again:
    """Another attempt, `wait` seconds from now."""

    wait: float


@dataclass(frozen=True)
class Over:
    """No other attempt; `why` is empty when none is needed."""

    why: str = ""


def after(strategy: RetryStrategy, last: Node, *, attempt: int, elapsed: float) -> Again | Over:
    """Return the consequence of the attempt `attempt` (from 0), whose node is `last`.

    The first attempt began `elapsed` seconds ago. ExpressionError for an expression that can't be
    read or evaluated.
    """
    policy = strategy.retry_policy or ("OnFailure" if strategy.expression is None else "Always")
    if policy not in ("Always", _RETRIED.get(last.phase)) or last.phase not in _RETRIED:
        return Over()
    if strategy.expression is not None and not _wanted(strategy.expression, last):
        return Over("retryStrategy.expression evaluated to false")
    if strategy.limit is not None and attempt >= int(strategy.limit):
        return Over("No more retries left")
    if strategy.backoff is None:
        return Again(0.0)
    wait = _wait(strategy.backoff, attempt)
    longest = strategy.backoff.max_duration
    if longest is not None and elapsed + wait > duration(longest):
        return Over("Max duration limit exceeded")
    return Again(wait)


def _wanted(text: str, last: Node) -> bool:
    code = last.outputs.exit_code
    facts = {
        "exitCode": "-1" if code is None else str(code),
        "status": last.phase,
        "duration": str(int(between(last.started, last.finished or last.started))),
        "message": last.message,
    }

    def named(parts: tuple[str, ...]) -> Any:
        if len(parts) != 2 or parts[0] != "lastRetry" or parts[1] not in facts:
            name = ".".join(parts)
            raise ExpressionError(f"retryStrategy.expression: `{name}` is not defined")
        return facts[parts[1]]

    value = expressions.evaluate(expressions.parse(text, Dialect.TAG), named)
    if not isinstance(value, bool):
        raise ExpressionError(
            f"retryStrategy.expression `{text}` is {value!r}, must be true or false"
        )
    return value


def _wait(backoff: Backoff, attempt: int) -> float:
    """Return `duration` times `factor` for every attempt so far, at most `cap`."""
    try:
        wait = duration(backoff.duration) * float(backoff.factor) ** attempt
    except OverflowError:
        wait = float("inf")
    return wait if backoff.cap is None else min(wait, duration(backoff.cap))
