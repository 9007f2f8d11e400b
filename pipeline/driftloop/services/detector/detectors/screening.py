"""Screening of columns of a window that may have moved, by its counts between edges: their tests take a hundred times as long.

Of a column of numbers that hardly repeat, without gaps, the counts bound what its tests could say:

* between two edges both distribution functions grow from one known value to another, which bounds the largest
  gap between them;
* a value lies in the reference between two known ranks, which bounds the mean rank, and the mean distance of ranks
  from the middle.

A column whose bounds together are below what its correction takes off has score 0, whatever its tests say. All others are
tested, and so are columns with levels, ties of which chi-squared is made, or gaps.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftloop.services.detector.detectors.column_tests import MIDDLE, ColumnReference
from driftloop.services.detector.detectors.counts import CountGrid, Counts
from driftloop.services.detector.detectors.statistics import (
    RankMoments,
    restore_scores,
    score_gaps,
    take_ranks,
)
from driftloop.services.detector.rows.values import Rows

Mask = NDArray[np.bool_]

MARGIN = 1e-3
"""Scores so near to the correction are not taken for less: series and tables are no more exact."""
STEPS = 40
"""Halvings by which the gap of a score is found."""
GAPS = 0.25
"""Share of what a column's tests may say together that is left to the gap, where ranks are tested, too."""


@dataclass(frozen=True)
class ColumnBounds:
    """Bounds of columns by the counts of a window."""

    plain: Mask
    """Columns whose tests they bound."""
    gaps: Rows
    """The largest gap between the distribution functions is at most that."""
    ranks: Rows
    """Mean ranks, and mean distances from the middle, are at most so many standard deviations away (columns x 2), 0
    where they are not tested."""
    parts: Rows
    """Parts of a column's rate that its tests have: of gaps, of mean ranks, of mean distances (columns x 3)."""
    rows: int

    def find_quiet(self, correction: float, reference: int) -> Mask:
        """Return the columns whose tests together don't exceed a correction."""
        quiet = np.zeros(len(self.plain), dtype=bool)
        least = correction - MARGIN
        if least <= 0:
            return quiet
        scores = restore_scores(self.ranks)
        ranked = (self.parts[:, 1:] * 10 ** np.minimum(scores, least + 1)).sum(axis=1) / 10**least
        for part in np.unique(self.parts[self.plain, 0]).tolist():
            room = GAPS if part < 1 else 1.0
            gap = _find_gap(least + math.log10(room / part), self.rows, reference)
            quiet |= (self.parts[:, 0] == part) & (self.gaps < gap) & (ranked <= 1 - room)
        return quiet & self.plain


class ColumnScreen:
    """The references of a table's columns, prepared for bounds."""

    def __init__(self, grid: CountGrid, columns: Sequence[ColumnReference]) -> None:
        self._plain = np.array([_is_plain(column) for column in columns])
        self._heads, size = grid.finder.heads, grid.finder.size
        self.rows = columns[0].rows
        before = grid.count_fine(columns)
        # each column has all rows: the share of those in earlier columns is their number
        self._upto = before.cumsum() / self.rows
        self._under = self._upto - before / self.rows
        # values at an edge have known ranks
        owners = np.repeat(np.arange(len(columns)), np.diff([*self._heads, size]))
        between = (np.arange(size) - self._heads[owners]) % 2 == 1
        middle = (self._upto + self._under) / 2 - owners
        self._weights = np.stack(
            [
                middle,
                np.abs(middle - 0.5),
                np.where(between, (self._upto - self._under) / 2, 0.0),
            ]
        )
        """Of a value in each cell: its rank, the rank's distance from the middle, and by how much both
        may be wrong."""
        # without a variance no rank is tested
        none = RankMoments(0.0, 0.0, 0.0)
        moments = [column.sample.moments or (none, none) for column in columns]
        self._means = np.array([[each.mean for each in both] for both in moments])
        self._variances = np.array([[each.variance for each in both] for both in moments])
        self._skewness = np.array([[each.skewness for each in both] for both in moments])

    def bound_tests(self, cells: Counts, rows: int) -> ColumnBounds:
        """Return what a window of so many rows says by its finer cells."""
        shares = cells / rows
        upto = shares.cumsum()
        gaps = np.maximum(upto - self._under, self._upto - upto + shares)
        sums = np.add.reduceat(self._weights * shares, self._heads, axis=1)
        far = np.abs(sums[:2].T - self._means) + sums[2][:, None]
        taken = take_ranks(self._variances, self._skewness, rows, self.rows)
        spreads = np.sqrt(self._variances * (1 / rows + 1 / self.rows))
        ranks = np.where(taken, far / np.where(taken, spreads, 1.0), 0.0)
        weights = np.concatenate([np.ones((len(taken), 1)), taken * [MIDDLE, 1.0]], axis=1)
        return ColumnBounds(
            plain=self._plain & (cells[self._heads] == 0),
            gaps=np.maximum.reduceat(gaps, self._heads),
            ranks=ranks,
            parts=weights / weights.sum(axis=1, keepdims=True),
            rows=rows,
        )


def _is_plain(column: ColumnReference) -> bool:
    """Return True for a column that has Kolmogorov-Smirnov's test, and those of ranks, and no others."""
    return (
        column.column.type in ("number", "text")
        and not len(column.levels)
        and len(column.present) == column.rows > 0
        and bool(column.present[0] != column.present[-1])
    )


@functools.lru_cache(maxsize=1024)
def _find_gap(score: float, window: int, reference: int) -> float:
    """Return a gap below which no score of Kolmogorov and Smirnov's test is above this one."""
    sizes = np.array([window]), np.array([reference])
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        above = float(score_gaps(np.array([middle]), *sizes)[0]) > score
        low, high = (low, middle) if above else (middle, high)
    return low
