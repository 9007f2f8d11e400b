"""The tests of `tabular` on counts, instead of rows: of one column, and of all to find those that need it.

Two distribution functions are compared at the edges by Massart's bound on Kolmogorov's distance,
2 exp(-2 d^2 nm / (n + m)); the asymptotic p-value differs by its second term only. Mean ranks, and mean distances
of ranks from the middle, are compared as those of rows are, each value in the middle of its cell: an edge for each
64th of the rows costs them a thousandth of what they see. Shares are compared by Fisher's exact test. The distance
at the edges is at most that of all values, and ties make it smaller yet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.verdicts import ChangeKind
from driftloop.services.detector.detectors.column_tests import (
    MOST_TESTED,
    SPREAD,
    ColumnReference,
    Figures,
    TestResult,
    choose_figures,
)
from driftloop.services.detector.detectors.counts import CountGrid, Counts
from driftloop.services.detector.detectors.statistics import (
    LOG10,
    RankMoments,
    convert_scores,
    score_counts,
    score_ranks,
)
from driftloop.services.detector.rows.values import Rows

UNLIKELY = 6.0
"""Square of a share's distance, in standard deviations, up to which it is not tested."""
UNLIKELY_SCORE = 1.0
"""Score of a distance of distributions up to which it is not tested."""

Mask = NDArray[np.bool_]
Weights = NDArray[np.float64]


@dataclass(frozen=True)
class CountResult:
    """A test of one column, and the mean of the rows that moved most by it."""

    result: TestResult
    weights: Weights
    """What a row in each cell adds to the mean: 1 in those of a share, or its rank."""
    of: Mask
    """Cells that it is of."""


class CountTests:
    """The tests of a table's columns."""

    def __init__(self, grid: CountGrid, columns: Sequence[ColumnReference]) -> None:
        self._columns = columns
        self._edges = grid.edges
        self._heads = grid.starts[:-1]
        self._owners = np.repeat(np.arange(len(columns)), np.diff(grid.starts))
        self._points = [
            (2 * np.searchsorted(edges, column.levels) + 2).astype(np.int64)
            if len(edges)
            else np.empty(0, dtype=np.int64)
            for edges, column in zip(grid.edges, columns, strict=True)
        ]
        """Cells of each column's levels, from its first cell on."""
        self._levels = np.zeros(grid.size, dtype=bool)
        for head, points in zip(self._heads, self._points, strict=True):
            self._levels[head + points] = True
        self._missing = np.zeros(grid.size, dtype=bool)
        self._missing[self._heads] = True
        self._ordered = np.array([c.column.type in ("number", "text") for c in columns])
        self._rests = np.array([column.rest is not None for column in columns])
        self._ranked = np.array([_ranks_values(column) for column in columns])
        self._closed = np.array([_counts_unseen(column) for column in columns])
        self._singles = np.array([column.singles for column in columns])

    def test_column(self, number: int, cells: Counts, before: Counts) -> list[CountResult]:
        """Return the results of the tests of one column's cells."""
        column, edges, points = self._columns[number], self._edges[number], self._points[number]
        gone = np.zeros(len(cells), dtype=bool)
        gone[0] = True
        there = ~gone
        results = [_compare_shares(cells, before, gone | there, [_Share("missing", "", gone)])]
        if not cells[there].any() or not before[there].any():
            return results
        ranked = bool(self._ranked[number])
        if column.column.type in ("number", "text"):
            kind: ChangeKind = "shift" if column.column.type == "number" else "length"
            whole = ranked and column.rest is None
            results += _compare_distributions(kind, cells, before, there, edges, ranked=whole)
        if len(column.levels):
            shares = _list_shares(column, points, cells, before, there)
            results.append(_compare_shares(cells, before, there, shares))
        rest = there.copy()
        rest[points] = False
        if column.rest is not None and cells[rest].any() and before[rest].any():
            results += _compare_distributions("shift", cells, before, rest, edges, ranked=ranked)
        return results

    def list_suspects(
        self, cells: Counts, before: Counts, least: float = UNLIKELY_SCORE
    ) -> list[int]:
        """Return the columns of which one of the tests may say that they have changed; distributions with a
        lower score than `least` say nothing."""
        there = np.where(self._missing, 0, cells), np.where(self._missing, 0, before)
        suspects = self._ordered & (self._score_distances(*there) > least)
        has_levels = self._levels.any()
        rest = there
        if has_levels:
            rest = np.where(self._levels, 0, there[0]), np.where(self._levels, 0, there[1])
            suspects |= self._rests & (self._score_distances(*rest) > least)
        if self._ranked.any():
            mixed = [
                np.where(self._rests[self._owners], *pair) for pair in zip(rest, there, strict=True)
            ]
            suspects |= self._ranked & self._have_other_ranks(mixed[0], mixed[1], least)
        rows, reference = self._sum(cells), self._sum(before)
        suspects |= (
            _measure_squares(cells[self._heads], rows, before[self._heads], reference) > UNLIKELY
        )
        if not has_levels:
            return [int(number) for number in np.flatnonzero(suspects)]
        rows, reference = self._sum(there[0]), self._sum(there[1])
        unseen = _measure_squares(self._sum(rest[0]), rows, self._singles, reference)
        suspects |= self._closed & (unseen > UNLIKELY)
        levels = np.flatnonzero(self._levels)
        owners = self._owners[levels]
        moved = _measure_squares(cells[levels], rows[owners], before[levels], reference[owners])
        suspects[owners[moved > UNLIKELY]] = True
        return [int(number) for number in np.flatnonzero(suspects)]

    def _sum(self, cells: Counts) -> Counts:
        sums: Counts = np.add.reduceat(cells, self._heads)
        return sums

    def _score_distances(self, cells: Counts, before: Counts) -> Rows:
        """Return the score of the largest distance of each column."""
        rows, reference = self._sum(cells), self._sum(before)
        with np.errstate(divide="ignore", invalid="ignore"):
            gaps = np.abs(
                self._cumulate(cells) / rows[self._owners]
                - self._cumulate(before) / reference[self._owners]
            )
        distances = np.maximum.reduceat(np.nan_to_num(gaps), self._heads)
        return score_distances(distances, rows, reference)

    def _have_other_ranks(self, cells: Counts, before: Counts, least: float) -> Mask:
        """Return the columns of which the mean rank, or the mean distance from the middle, has a score above
        `least`; a few more, since their skewness is left out."""
        rows, reference = self._sum(cells), self._sum(before)
        bound = float(convert_scores(np.array([least]))[0])
        far = np.zeros(len(rows), dtype=bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            ranks = (self._cumulate(before) - before / 2) / reference[self._owners]
            for weights in (ranks, np.abs(ranks - 0.5)):
                after, earlier = (
                    np.add.reduceat(np.nan_to_num(weights) * each, self._heads) / count
                    for each, count in ((cells, rows), (before, reference))
                )
                square = (
                    np.add.reduceat(np.nan_to_num(weights) ** 2 * before, self._heads) / reference
                )
                spread = (square - earlier**2) * (1 / rows + 1 / reference)
                far |= np.nan_to_num((after - earlier) ** 2 / spread) > bound**2
        return far

    def _cumulate(self, cells: Counts) -> Counts:
        upto = cells.cumsum()
        ahead = upto[self._heads] - cells[self._heads]
        sums: Counts = upto - ahead[self._owners]
        return sums


def score_distances(distances: Rows, rows: Counts, reference: Counts) -> Rows:
    """Return -log10 of Massart's bound of the probability of distances between samples of so many rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = rows * (reference / (rows + reference))
        scores = (2 * distances**2 * sizes - math.log(2)) / LOG10
    least: Rows = np.maximum(np.nan_to_num(scores), 0.0)
    return least


def _ranks_values(column: ColumnReference) -> bool:
    """Return True for a column whose ranks are tested: those of all its values, or of those that are no level."""
    sample = column.sample if column.rest is None else column.rest
    return column.column.type in ("number", "text") and sample.moments is not None


def _counts_unseen(column: ColumnReference) -> bool:
    """Return True for a column of which values that are no level are tested."""
    return bool(len(column.levels)) and not column.splits and column.column.type != "boolean"


@dataclass(frozen=True)
class _Share:
    kind: ChangeKind
    name: str
    cells: Mask
    before: int | None = None
    """Rows of the reference, when they are others than those of its cells."""


def _list_shares(
    column: ColumnReference, points: Counts, cells: Counts, before: Counts, there: Mask
) -> list[_Share]:
    """Return the levels that are tested each: the commonest of both samples, which leaves each test exact."""

    def _name_level(level: int) -> _Share:
        mask = np.zeros(len(cells), dtype=bool)
        mask[points[level]] = True
        return _Share("level", column.labels[level], mask)

    if column.column.type == "boolean":
        return [_name_level(1)]
    order = np.argsort(-(cells[points] + before[points]), kind="stable")[:MOST_TESTED]
    shares = [_name_level(level) for level in order.tolist()]
    if _counts_unseen(column):
        unseen = there.copy()
        unseen[points] = False
        shares.append(_Share("unseen", "", unseen, column.singles))
    return shares


def _compare_shares(
    cells: Counts, before: Counts, of: Mask, shares: Sequence[_Share]
) -> CountResult:
    """Test shares of the same rows; return the one that moved most certainly, corrected for their number."""
    count = len(shares)
    rows, reference = np.full(count, cells[of].sum()), np.full(count, before[of].sum())
    hits = np.array([cells[share.cells].sum() for share in shares])
    was = np.array(
        [before[each.cells].sum() if each.before is None else each.before for each in shares]
    )
    far = _measure_squares(hits, rows, was, reference) > UNLIKELY
    scores = np.zeros(count)
    if far.any():
        scores[far] = score_counts(hits[far], rows[far], was[far], reference[far])
    moved = np.abs(hits / rows - was / reference)
    best = int(np.argmax(scores if far.any() else moved))
    figures = (float(was[best] / reference[0]), float(hits[best] / rows[0]), shares[best].name)
    score = max(0.0, float(scores[best]) - math.log10(count))
    describe = partial(_give, figures)
    total = hits + was
    possible = bool(((total > 0) & (total < rows + reference)).any())
    result = TestResult(shares[best].kind, score, float(moved[best]), describe, possible=possible)
    return CountResult(result, shares[best].cells.astype(np.float64), of)


def _give(figures: Figures) -> Figures:
    return figures


def _measure_squares(hits: Counts, rows: Counts, was: Counts, reference: Counts) -> Rows:
    """Return the squares of the distances of shares, in standard deviations; 0 where there are no rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (hits + was) / (rows + reference)
        widths = pooled * (1 - pooled) * (1 / rows + 1 / reference)
        squares = (hits / rows - was / reference) ** 2 / widths
    finite: Rows = np.nan_to_num(squares, nan=0.0, posinf=0.0)
    return finite


def _compare_distributions(
    kind: ChangeKind, cells: Counts, before: Counts, of: Mask, edges: Rows, *, ranked: bool
) -> list[CountResult]:
    """Test two distribution functions, and their mean ranks and distances from the middle."""
    after, earlier = np.where(of, cells, 0), np.where(of, before, 0)
    rows, reference = int(after.sum()), int(earlier.sum())
    upto = earlier.cumsum() / reference
    gaps = np.abs(after.cumsum() / rows - upto)
    place = int(np.argmax(gaps))
    effect = float(gaps[place])
    score = score_distances(gaps[[place]], np.array([rows]), np.array([reference]))
    describe = partial(_describe_shift, edges, earlier, after)
    below = (of & (np.arange(len(cells)) <= place)).astype(np.float64)
    results = [CountResult(TestResult(kind, float(score[0]), effect, describe), below, of)]
    ranks = upto - earlier / (2 * reference)
    for weights in (ranks, np.abs(ranks - 0.5)) if ranked else ():
        moments = RankMoments.from_counts(weights, earlier)
        ranked_score = score_ranks(float(after @ weights) / rows, moments, rows, reference)
        if ranked_score is not None:
            found = TestResult(kind, ranked_score, effect, describe)
            results.append(CountResult(found, np.where(of, weights, 0.0), of))
    return results


def _describe_shift(edges: Rows, earlier: Counts, after: Counts) -> Figures:
    return choose_figures(
        [
            (_find_quantile(edges, earlier, share), _find_quantile(edges, after, share), name)
            for share, name in SPREAD
        ]
    )


def _find_quantile(edges: Rows, cells: Counts, share: float) -> float:
    """Return a quantile of counted values, which are taken to lie evenly between two edges."""
    upto = cells[1:-1].cumsum() / cells[1:].sum()
    return float(np.interp(share, upto, np.repeat(edges, 2)))
