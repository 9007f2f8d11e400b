"""The tests of one window, column by column: gaps and counts are collected first, and their p-values are
found all at once. What is tested, and how it is corrected, `tabular` says."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.profiles import ColumnProfile
from driftloop.contract.verdicts import ChangeKind, ColumnChange
from driftloop.services.detector.detectors.levels import score_surest
from driftloop.services.detector.detectors.statistics import (
    SortedSample,
    compare_samples,
    score_counts,
    score_gaps,
    score_ranks,
    score_squares,
)
from driftloop.services.detector.rows.values import Rows

MOST_LEVELS = 100
"""Different numbers of a column whose shares are tested each."""
REPEATED = 5
"""Rows that such a number has on average."""
COMMON = 0.05
"""Share of the rows that one value of a column of more numbers has when its share is tested."""
MOST_TESTED = 50
"""Levels of a column that are tested by themselves, the commonest of both samples."""
EXPECTED = 10
"""Rows of a window in which a level of the chi-squared test is expected; with fewer its small p-values
are too small."""
SPREAD = ((0.5, "median"), (0.9, "90 % quantile"), (0.1, "10 % quantile"), (0.99, "99 % quantile"))
"""Quantiles that may describe a shift."""
MIDDLE = 3.0
"""Part of the test of the middle in its column's rate, beside 1 of each other: what moves is moved as a rule."""

Counts = NDArray[np.int64]
_Level = tuple[ChangeKind, str, int, int]
"""A level: kind of its test, name, rows of the window and of the reference."""
Figures = tuple[float, float, str]
"""A figure in the reference and in the window, and its name."""


@dataclass(frozen=True)
class TestResult:
    """One kind of test of a column."""

    kind: ChangeKind
    score: float
    """-log10 p, corrected for the tests of its kind."""
    effect: float
    describe: Callable[[], Figures]
    possible: bool = True
    """False when no window could have moved: none of its rows and of the reference's has what is counted, or
    all have. Such a test takes no part of the rate, since the rows of both together tell it."""
    weight: float = 1.0
    """Part of its column's rate, beside those of the column's other tests."""


class ColumnReference:
    """The reference of one column, prepared for its tests."""

    def __init__(self, column: ColumnProfile, values: Rows) -> None:
        self.column = column
        self.rows = len(values)
        self.present = np.sort(values[~np.isnan(values)])
        self.sample = SortedSample.from_sorted(self.present)
        self.splits = False
        self.levels, self.counts = self._find_levels()
        self.labels = [name for name, _ in column.categories] or [f"{v:g}" for v in self.levels]
        self.singles = self._count_singles()
        self.rest: SortedSample | None = None
        if self.splits and len(self.levels):
            rest = self.present[~np.isin(self.present, self.levels)]
            self.rest = SortedSample.from_sorted(rest) if len(rest) else None

    def _find_levels(self) -> tuple[Rows, Counts]:
        match self.column.type:
            case "number":
                levels, counts = np.unique(self.present, return_counts=True)
                if len(levels) <= MOST_LEVELS and len(self.present) >= REPEATED * len(levels):
                    return levels, counts
                self.splits = True
                common = counts >= COMMON * len(self.present)
                return levels[common], counts[common]
            case "boolean" | "category":
                levels = np.arange(float(len(self.column.categories)))
                counts = np.bincount(self.present.astype(np.int64), minlength=len(levels))
                return levels, counts
            case "text" | "time":
                return np.empty(0), np.empty(0, dtype=np.int64)
            case _:
                assert_never(self.column.type)

    def _count_singles(self) -> int:
        """Return the rows whose value no other row of the training data has."""
        if self.column.type == "category":
            singles = sum(count == 1 for _, count in self.column.categories)
            return round(singles * len(self.present) / max(1, self.column.present))
        return int((self.counts == 1).sum())

    def count_hits(self, present: Rows) -> Counts:
        """Return the rows of a window with each level."""
        positions = self.find_positions(present)
        level = positions[self.levels[positions] == present]
        return np.bincount(level, minlength=len(self.levels)).astype(np.int64)

    def find_positions(self, present: Rows) -> Counts:
        """Return the level of each value, the next one for a value that is none."""
        return np.minimum(np.searchsorted(self.levels, present), len(self.levels) - 1)

    def describe_change(
        self,
        result: TestResult,
        score: float,
        *,
        alarm: bool,
        part: float | None = None,
        windows: int | None = None,
    ) -> ColumnChange:
        """Return what a result of a test says of the column, under a score that is corrected for all."""
        before, after, of = result.describe()
        return ColumnChange(
            column=self.column.name,
            type=self.column.type,
            kind=result.kind,
            of=of,
            before=before,
            after=after,
            effect=result.effect,
            score=score,
            alarm=alarm,
            part=part,
            windows=windows,
        )


@dataclass
class _Shares:
    """Shares that are compared together, and how many rows they are of."""

    owner: int
    kinds: list[ChangeKind]
    names: list[str]
    hits: Counts
    before: Counts
    rows: int
    reference: int

    def build_result(self, scores: Rows, threshold: float) -> TestResult:
        """Return the result of the level that moved most certainly, corrected for their number: exactly where one
        side of its test alone is beyond the threshold."""
        best = int(np.argmax(scores))
        before, after = self.before[best] / self.reference, self.hits[best] / self.rows
        figures = (float(before), float(after), self.names[best])
        total = self.hits + self.before
        possible = int(((total > 0) & (total < self.rows + self.reference)).sum())
        score = max(0.0, float(scores[best]) - math.log10(max(1, possible)))
        if self.kinds[best] == "unseen":
            # one side: that fewer are new is no news
            score = score + math.log10(2) if figures[1] > figures[0] else 0.0
        elif float(scores[best]) + math.log10(2) >= threshold:
            exact = score_surest(self.hits, self.before, self.rows, self.reference, best)
            score = score if exact is None else exact
        effect = abs(figures[1] - figures[0])
        return TestResult(
            self.kinds[best], score, effect, partial(_give, figures), possible=possible > 0
        )


@dataclass
class _Gap:
    owner: int
    kind: ChangeKind
    reference: SortedSample
    window: Rows
    ranked: bool
    """Its ranks are tested, too: no value has a large share of them."""

    @property
    def possible(self) -> bool:
        """Return False when all values of both are the same."""
        one, other = self.reference.values, self.window
        return bool(one[0] != one[-1] or other[0] != other[-1] or one[0] != other[0])


@dataclass
class TestBatch:
    """All tests of one window."""

    columns: Sequence[ColumnReference]
    threshold: float = math.inf
    """Score from which on levels are corrected exactly: of less an alarm cannot come."""
    _gaps: list[_Gap] = field(default_factory=list)
    _shares: list[_Shares] = field(default_factory=list)
    _mixes: list[tuple[int, TestResult]] = field(default_factory=list)

    def test_window(self, rows: Rows) -> list[list[TestResult]]:
        """Return the results of every column."""
        ordered = np.sort(rows.T, axis=1)
        counts = len(rows) - np.isnan(ordered).sum(axis=1)
        for owner, count in enumerate(counts):
            if count and len(self.columns[owner].present):
                self._test_column(owner, ordered[owner, :count])
        results = self._test_missing(len(rows) - counts, len(rows))
        for shares, scores in zip(self._shares, self._score_shares(), strict=True):
            results[shares.owner].append(shares.build_result(scores, self.threshold))
        for gap, found in zip(self._gaps, self._score_gaps(), strict=True):
            results[gap.owner].extend(found)
        for owner, mix in self._mixes:
            results[owner].append(mix)
        return results

    def _test_missing(self, hits: Counts, rows: int) -> list[list[TestResult]]:
        reference = np.array([column.rows for column in self.columns])
        before = reference - np.array([len(column.present) for column in self.columns])
        possible = (hits + before > 0) & (hits + before < rows + reference)
        scores = np.zeros(len(hits))
        if possible.any():
            scores = score_counts(hits, np.full(len(hits), rows), before, reference)
        shares = zip((before / reference).tolist(), (hits / rows).tolist(), strict=True)
        return [
            [
                TestResult(
                    "missing",
                    score,
                    abs(after - share),
                    partial(_give, (share, after, "")),
                    possible=can,
                )
            ]
            for score, can, (share, after) in zip(
                scores.tolist(), possible.tolist(), shares, strict=True
            )
        ]

    def _test_column(self, owner: int, present: Rows) -> None:
        reference = self.columns[owner]
        if reference.column.type in ("number", "text"):
            kind: ChangeKind = "shift" if reference.column.type == "number" else "length"
            ranked = reference.rest is None
            self._gaps.append(_Gap(owner, kind, reference.sample, present, ranked))
        if len(reference.levels):
            self._test_levels(owner, reference, present)
        if reference.rest is not None:
            rest = present[~np.isin(present, reference.levels)]
            if len(rest):
                self._gaps.append(_Gap(owner, "shift", reference.rest, rest, ranked=True))

    def _test_levels(self, owner: int, reference: ColumnReference, present: Rows) -> None:
        hits = reference.count_hits(present)
        rows, before = len(present), len(reference.present)
        if reference.column.type == "boolean":
            true: _Level = ("level", reference.labels[1], int(hits[1]), int(reference.counts[1]))
            self._add_shares(owner, [true], rows, before)
            return
        self._add_shares(owner, _select_levels(reference, hits), rows, before)
        if not reference.splits:
            # a test of its own: few rows are news, and the others' number would hide them
            new: _Level = ("unseen", "", rows - int(hits.sum()), reference.singles)
            self._add_shares(owner, [new], rows, before)
            mix = _test_mix(reference, hits, present)
            if mix is not None:
                self._mixes.append((owner, mix))

    def _add_shares(
        self,
        owner: int,
        levels: Sequence[_Level],
        rows: int,
        reference: int,
    ) -> None:
        kinds, names, hits, before = zip(*levels, strict=True)
        self._shares.append(
            _Shares(
                owner, list(kinds), list(names), np.array(hits), np.array(before), rows, reference
            )
        )

    def _score_shares(self) -> list[Rows]:
        if not self._shares:
            return []
        sizes = [len(shares.hits) for shares in self._shares]
        scores = score_counts(
            np.concatenate([shares.hits for shares in self._shares]),
            np.repeat([shares.rows for shares in self._shares], sizes),
            np.concatenate([shares.before for shares in self._shares]),
            np.repeat([shares.reference for shares in self._shares], sizes),
        )
        return np.split(scores, np.cumsum(sizes)[:-1])

    def _score_gaps(self) -> list[list[TestResult]]:
        """Return the results of Kolmogorov-Smirnov, and of the ranks where there are enough."""
        if not self._gaps:
            return []
        found = compare_samples([(gap.reference, gap.window) for gap in self._gaps])
        window = np.array([len(gap.window) for gap in self._gaps])
        reference = np.array([len(gap.reference.values) for gap in self._gaps])
        scores = score_gaps(found.gaps, window, reference)
        figures = zip(scores.tolist(), found.gaps.tolist(), strict=True)
        means = zip(found.ranks.tolist(), found.distances.tolist(), strict=True)
        return [
            _build_results(gap, score, effect, ranks)
            for gap, (score, effect), ranks in zip(self._gaps, figures, means, strict=True)
        ]


def _build_results(
    gap: _Gap, score: float, effect: float, means: tuple[float, float]
) -> list[TestResult]:
    """Return the results of a gap, and those of the mean rank and the mean distance from the middle."""
    describe = partial(_describe_shift, gap.reference.values, gap.window)
    results = [TestResult(gap.kind, score, effect, describe, possible=gap.possible)]
    if gap.reference.moments is None or not gap.ranked:
        return results
    sizes = len(gap.window), len(gap.reference.values)
    for mean, moments, weight in zip(means, gap.reference.moments, (MIDDLE, 1.0), strict=True):
        ranked = score_ranks(mean, moments, *sizes)
        if ranked is not None:
            results.append(TestResult(gap.kind, ranked, effect, describe, weight=weight))
    return results


def _give(figures: Figures) -> Figures:
    return figures


def _select_levels(reference: ColumnReference, hits: Counts) -> list[_Level]:
    """Choose the commonest levels of both samples, which leaves the test of each exact."""
    counts, labels = reference.counts, reference.labels
    order = np.argsort(-(hits + counts), kind="stable")
    return [("level", labels[n], int(hits[n]), int(counts[n])) for n in order[:MOST_TESTED]]


def _test_mix(reference: ColumnReference, hits: Counts, present: Rows) -> TestResult | None:
    """Test all levels by chi-squared: of numbers neighbours together, of categories the rare ones with
    those that the reference does not have."""
    rows, size = len(present), len(reference.present)
    before = reference.counts
    if reference.column.type == "number":
        hits = np.bincount(reference.find_positions(present), minlength=len(before))
        groups = _pool_neighbours(np.multiply(hits + before, rows / (rows + size)))
    else:
        common = (hits + before) * (rows / (rows + size)) >= EXPECTED
        groups = np.where(common, np.cumsum(common) - 1, common.sum())
        groups = np.append(groups, common.sum())
        hits, before = np.append(hits, rows - hits.sum()), np.append(before, 0)
    samples = np.stack([np.bincount(groups, hits), np.bincount(groups, before)])
    samples = samples[:, samples.sum(axis=0) > 0]
    if samples.shape[1] < 3:
        return None
    expected = samples.sum(axis=0) * np.array([[rows], [size]]) / (rows + size)
    square = float(((samples - expected) ** 2 / expected).sum())
    figures = _describe_mix(reference, reference.count_hits(present), rows)
    score = score_squares(square, samples.shape[1] - 1)
    moved = float(np.abs(samples[0] / rows - samples[1] / size).sum()) / 2
    return TestResult("mix", score, moved, partial(_give, figures))


def _describe_mix(reference: ColumnReference, hits: Counts, rows: int) -> Figures:
    """Return the level whose share moved furthest."""
    before, after = reference.counts / len(reference.present), hits / rows
    level = int(np.argmax(np.abs(after - before)))
    return float(before[level]), float(after[level]), reference.labels[level]


def _describe_shift(reference: Rows, window: Rows) -> Figures:
    """Return the median, or the quantile that moved furthest when it moved twice as far; both samples
    are sorted."""
    return choose_figures(
        [
            (_find_quantile(reference, share), _find_quantile(window, share), name)
            for share, name in SPREAD
        ]
    )


def choose_figures(figures: Sequence[Figures]) -> Figures:
    """Return the median, which comes first, or the quantile that moved furthest when it moved twice as
    far."""
    furthest = max(figures, key=lambda figure: abs(figure[1] - figure[0]))
    moved = abs(figures[0][1] - figures[0][0]), abs(furthest[1] - furthest[0])
    return figures[0] if moved[0] >= moved[1] / 2 else furthest


def _find_quantile(ordered: Rows, share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def _pool_neighbours(expected: Rows) -> Counts:
    """Return the group of each level: neighbours together until one is expected often enough."""
    groups = np.zeros(len(expected), dtype=np.int64)
    group, filled = 0, 0.0
    for level, rows in enumerate(expected):
        if filled >= EXPECTED:
            group, filled = group + 1, 0.0
        groups[level] = group
        filled += float(rows)
    if filled < EXPECTED and group:
        groups[groups == group] = group - 1
    return groups
