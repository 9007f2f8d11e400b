"""Rows that a window has more than once, held against how many such rows the training data have.

The duplicates of n rows are n less the different ones among them. If a window is as the N rows of the training
data are, its rows are n of the N + n drawn without order, whatever values these have and how often: each value
that they have m times comes to the window c times (hypergeometric), and leaves max(c - 1, 0) duplicates. Such
counts are negatively associated (Joag-Dev & Proschan, 1983), so Chernoff's bound of a sum of independent ones
holds for theirs: P(duplicates >= d) <= min over t of exp(-t d) * product of E[exp(t max(c - 1, 0))], where the
moments of c are bounded by those of the binomial (Hoeffding, 1963). It is never too small. Where many rows come
more than once anyway, a single one that comes again and again is seen by Fisher's exact test on its share
(`score_counts`), corrected for all rows that may. The smaller p-value of the two counts, doubled.

Rows are equal when the detector sees the same in them: of a text it sees the length, of a time nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftloop.services.detector.detectors.statistics import log_factorials, score_counts
from driftloop.services.detector.rows.values import Rows

Keys = NDArray[np.uint64]
Counts = NDArray[np.int64]

_TILTS = np.geomspace(1e-3, 40.0, 80)
"""Values of t that are tried: each bounds the p-value."""
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))
"""Constants of splitmix64 (Steele et al., 2014)."""


@dataclass(frozen=True)
class DuplicateCount:
    """Duplicates in a window."""

    share: float
    """Of its rows."""
    before: float
    """What is expected of as many rows of the training data."""
    score: float
    """-log10 of the bound of the p-value."""


class DuplicateReference:
    """Count of each distinct row of the training data."""

    def __init__(self, reference: Rows) -> None:
        self._keys, self._counts = np.unique(_make_keys(reference), return_counts=True)
        self._sizes = np.unique(self._counts, return_counts=True)
        self._rows = len(reference)

    def count_duplicates(self, window: Rows) -> DuplicateCount:
        """Judge a window (n x columns), n at least 1."""
        keys, counts = np.unique(_make_keys(window), return_counts=True)
        rows = len(window)
        duplicates = rows - len(keys)
        drawn = min(rows, self._rows)
        sizes, values = self._sizes
        different = float((values * (1 - _miss(sizes, drawn, self._rows))).sum())
        before = max(0.0, 1 - different / drawn)
        score = self._score(keys, counts, rows) if duplicates else 0.0
        return DuplicateCount(duplicates / rows, before, score)

    def _score(self, keys: Keys, counts: Counts, rows: int) -> float:
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        known = self._keys[places] == keys
        pooled = self._counts.copy()
        pooled[places[known]] += counts[known]
        pooled = np.concatenate([pooled, counts[~known]])
        pooled = pooled[pooled > 1]
        again = counts > 1
        single = score_counts(
            counts[again],
            np.full(again.sum(), rows),
            np.where(known, self._counts[places], 0)[again],
            np.full(again.sum(), self._rows),
        ).max() - math.log10(len(pooled))
        together = self._bound_sum(pooled, rows, rows - len(keys))
        return max(0.0, max(float(single), together) - math.log10(2))

    def _bound_sum(self, pooled: Counts, rows: int, duplicates: int) -> float:
        """Return -log10 of the bound for so many duplicates; `pooled` is how often the rows of both samples
        are there that are more than once."""
        total = self._rows + rows
        sizes, values = np.unique(pooled, return_counts=True)
        grown = np.expm1(_TILTS)[:, None]
        moments = np.minimum(
            rows * np.log1p(sizes / total * grown), sizes * np.log1p(rows / total * grown)
        )
        with np.errstate(divide="ignore"):
            never = np.log(_miss(sizes, rows, total)) + np.log(-np.expm1(-_TILTS))[:, None]
        each = np.logaddexp(moments - _TILTS[:, None], never)
        bounds = (each * values).sum(axis=1) - _TILTS * duplicates
        return max(0.0, -float(bounds.min()) / math.log(10))


def _miss(sizes: Counts, drawn: int, total: int) -> Rows:
    """Return the probability that none of `drawn` rows out of `total` is one of so many."""
    left = total - sizes
    possible = left >= drawn
    table = log_factorials(total)
    logs = (
        table[np.maximum(left, 0)]
        + table[total - drawn]
        - table[np.maximum(left - drawn, 0)]
        - table[total]
    )
    return np.where(possible, np.exp(logs), 0.0)


def _make_keys(rows: Rows) -> Keys:
    """Return a number of each row (n), equal for equal rows."""
    values = np.where(np.isnan(rows), np.nan, rows.astype(np.float64) + 0.0)  # -0.0 is 0.0
    keys = np.zeros(len(rows), dtype=np.uint64)
    for column in np.ascontiguousarray(values.T).view(np.uint64):
        keys = _mix(keys * _ODD + column)
    return keys


def _mix(keys: Keys) -> Keys:
    for shift, factor in _MIX:
        keys = (keys ^ (keys >> np.uint64(shift))) * factor
    return keys ^ (keys >> np.uint64(31))
