"""Corrections for many tests: of one column, and of all."""

import math
from collections.abc import Sequence


def find_changed(
    scores: Sequence[float], threshold: float, parts: Sequence[float] | None = None
) -> set[int]:
    """Return the columns that have changed: Bonferroni's correction is Holm's for the first, and each
    column after it need only hold against those that are left. `parts` are those of the rate that each score is
    corrected by, equal ones by default; a column without one has not changed."""
    count = len(scores)
    own = [1 / count] * count if parts is None else parts
    changed: set[int] = set()
    left = 1.0
    for number in sorted(range(count), key=lambda n: -scores[n]):
        if own[number] <= 0 or scores[number] - math.log10(max(left, own[number])) < threshold:
            break
        changed.add(number)
        left -= own[number]
    return changed


def combine_scores(scores: Sequence[float], parts: Sequence[float]) -> float:
    """Return -log10 p of several tests together, of which each has a part of the rate: the weighted harmonic mean of
    their p-values (Wilson, "The harmonic mean p-value for combining dependent tests", 2019).

    Where one test is much surer than the others it is that one, corrected by its part; where others are nearly as sure it
    is more. What the mean of independent p-values exceeds a p-value by is taken off, to the second order.
    """
    top = max(scores, default=0.0)
    if top <= 0:
        return 0.0
    weight = sum(part * 10 ** (score - top) for score, part in zip(scores, parts, strict=True))
    score = top + math.log10(weight) if weight > 0 else 0.0
    tests = sum(part > 0 for part in parts)
    if score <= 0 or tests < 2:
        return max(0.0, score)
    surplus = (1 - 1 / tests) * 10**-score * (math.log(tests) + score * math.log(10))
    return max(0.0, score - math.log10(1 + surplus))
