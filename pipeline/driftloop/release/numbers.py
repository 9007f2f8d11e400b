"""Answers that are numbers: two models that err by so much are alike where they differ by no more,
and a server errs as its model did when it was evaluated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from driftloop.contract.measures import MeasureKind

SMALLEST = 0.00001
"""Error, in standard deviations of the labels, below which two errors are not told apart."""


@dataclass(frozen=True)
class NumberAnswers:
    """A row's label, and what both models answer."""

    label: float
    candidate: float
    production: float


def are_numbers(rows: Sequence[NumberAnswers]) -> bool:
    """Return True if the answers measure something: classes are whole numbers, all of them."""
    return any(
        not value.is_integer()
        for row in rows
        for value in (row.label, row.candidate, row.production)
    )


def find_tolerance(rows: Sequence[NumberAnswers]) -> float:
    """Return the distance that both models' residuals explain: the root of the sum of their mean
    squares, as the distance of two models is that err independently of each other."""
    squares = sum(
        (row.candidate - row.label) ** 2 + (row.production - row.label) ** 2 for row in rows
    )
    return math.sqrt(squares / len(rows))


@dataclass(frozen=True)
class NumberAnswer:
    """A row's label, and a server's answer."""

    label: float
    answer: float


@dataclass(frozen=True)
class MeasuredErrors:
    """A measure of a server's errors, and whether the evaluation's figure is theirs, too."""

    value: float
    alike: bool


def compare_errors(
    rows: Sequence[NumberAnswer],
    kind: MeasureKind,
    measured: float,
    *,
    share: float,
    chance: float,
) -> MeasuredErrors | None:
    """Compare the errors of answers with what an evaluation measured; None for a figure that is
    none of this kind.

    Both are compared as a typical error in the label's unit: it may differ by a `share` of itself,
    and by `chance` standard deviations of its mean (0 where the same rows were measured).
    """
    size = len(rows)
    mean = sum(row.label for row in rows) / size
    variance = sum((row.label - mean) ** 2 for row in rows) / size
    distances = [abs(row.answer - row.label) for row in rows]
    absolute = kind == "mae"
    errors = distances if absolute else [distance**2 for distance in distances]
    average = sum(errors) / size
    match kind:
        case "mae" | "mse":
            value, expected = average, measured
        case "rmse":
            value, expected = math.sqrt(average), math.copysign(measured**2, measured)
        case "r2":
            value = 1 - average / variance if variance else 0.0
            expected = (1 - measured) * variance
        case _:
            assert_never(kind)
    if expected < 0 or (kind == "r2" and not variance):
        return None
    typical, error = (expected, average) if absolute else (math.sqrt(expected), math.sqrt(average))
    spread = math.sqrt(sum((each - average) ** 2 for each in errors) / size / size)
    if not absolute:
        spread = spread / (2 * error) if error else 0.0
    allowed = share * typical + chance * spread + SMALLEST * math.sqrt(variance)
    return MeasuredErrors(value, abs(error - typical) <= allowed)
