"""Retries of pods that ended (`retryStrategy`)."""

from dataclasses import dataclass

from driftloop.local.argo import expressions
from driftloop.local.argo.expressions import Expression, ExpressionError
from driftloop.local.argo.nodes import BAD, Node
from driftloop.local.argo.times import duration
from driftloop.local.argo_workflows.model import Backoff, RetryStrategy

_FACTS: tuple[tuple[str, ...], ...] = (
    ("lastRetry", "exitCode"),
    ("lastRetry", "status"),
    ("lastRetry", "message"),
)
"""Names in an expression."""


@dataclass(frozen=True)
class Again:
    """Another attempt, `wait` seconds from now."""

    wait: float


@dataclass(frozen=True)
class Over:
    """No other attempt; `why` is empty when none is needed."""

    why: str = ""


def after(strategy: RetryStrategy, last: Node, *, attempt: int) -> Again | Over:
    """Return the consequence of the attempt `attempt` (from 0), whose node is `last`.

    ExpressionError for an expression that can't be read or evaluated.
    """
    if last.phase not in BAD:
        return Over()
    if strategy.expression is not None and not _allows(strategy.expression, last):
        return Over("retryStrategy.expression evaluated to false")
    if attempt >= int(strategy.limit):
        return Over("No more retries left")
    return Again(_wait(strategy.backoff, attempt))


def parse_expression(text: str) -> Expression:
    """Return the expression of a strategy. ExpressionError for a name that is never defined."""
    expression = expressions.parse(text)
    for parts in expressions.names(expression):
        if parts not in _FACTS:
            raise ExpressionError(
                f"retryStrategy.expression: `{'.'.join(parts)}` is not supported by the local runtime",
                hint=f"must be one of: {', '.join('.'.join(fact) for fact in _FACTS)}",
            )
    return expression


def _allows(text: str, last: Node) -> bool:
    code = last.outputs.exit_code
    facts = dict(
        zip(_FACTS, ("-1" if code is None else str(code), last.phase, last.message), strict=True)
    )
    value = expressions.evaluate(parse_expression(text), facts.__getitem__)
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
