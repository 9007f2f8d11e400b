"""Answers that are numbers: two models that err by so much are alike where they differ by no more."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


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
