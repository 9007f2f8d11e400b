"""P-value of the surest of many levels, exactly: counts take few values, so most levels cannot reach the p-value of
the surest at all, or only one that is far smaller, and Bonferroni's correction counts each of them in full.

Source: Westfall and Wolfinger, "Multiple tests with discrete distributions" (1997), with Fisher's exact test of both sides:
the sum of all outcomes that are no likelier than the one that came.
"""

import numpy as np
from numpy.typing import NDArray

from driftloop.services.detector.detectors.statistics import (
    LOG10,
    Counts,
    Numbers,
    log_factorials,
    sum_logs,
)

MOST_OUTCOMES = 500_000
"""Outcomes of all levels together up to which they are listed."""
EQUAL = 1e-7
"""Logarithms of probabilities that differ by less are those of equally likely outcomes."""


def score_surest(
    hits: Counts, before: Counts, window: int, reference: int, best: int
) -> float | None:
    """Return -log10 of the probability that any of these levels is as sure as the best one, when all have the same share in
    `window` rows and in `reference` rows; None where there are too many outcomes to list."""
    total = hits + before
    low = np.maximum(0, total - reference)
    width = int((np.minimum(total, window) - low).max()) + 1
    if len(hits) * width > MOST_OUTCOMES:
        return None
    logs = _list_chances(total, low[:, None] + np.arange(width), window, reference)
    came = logs[best, int(hits[best] - low[best])]
    own = sum_logs(np.where(logs[best] <= came + EQUAL, logs[best], -np.inf)[None, :])
    reached = _find_reached(logs, float(own[0]) + EQUAL)
    return max(0.0, -float(sum_logs(reached[None, :])[0]) / LOG10)


def _list_chances(total: Counts, hits: Counts, window: int, reference: int) -> Numbers:
    """Return the logarithms of the probabilities of numbers of hits (levels x numbers), by the hypergeometric law; -inf
    of what cannot be."""
    rows, k = window + reference, total[:, None]
    table = log_factorials(rows)
    most = np.minimum(k, window)
    x = np.minimum(hits, most)
    logs = table[k] - table[x] - table[k - x]
    logs = logs + table[rows - k] - table[window - x] - table[rows - k - window + x]
    logs = logs - (table[rows] - table[window] - table[reference])
    return np.where(hits <= most, logs, -np.inf)


def _find_reached(logs: Numbers, bound: float) -> Numbers:
    """Return the logarithm of the largest p-value of each level that is not above a bound; -inf where none is."""
    ordered = np.sort(logs, axis=1)
    sums = np.logaddexp.accumulate(ordered, axis=1)
    last: NDArray[np.bool_] = np.ones(ordered.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        # outcomes that are equally likely count together
        last[:, :-1] = ~(ordered[:, 1:] - ordered[:, :-1] <= EQUAL)
    reached: Numbers = np.where(last & (sums <= bound), sums, -np.inf).max(axis=1)
    return reached
