"""Tests of a table, column by column and by the type of each; one correction over all of them.

* numbers: Kolmogorov-Smirnov on the values that are there, beside the tests of Mann and Whitney (has the middle
  moved?) and of Ansari and Bradley (has the spread?), which see smaller changes of these. Ties make the first
  conservative, never wrong; the others are left out where few values, or one, make up the column. Where values
  repeat (at most 100 different ones, or some in 5 % of the rows) Fisher's exact test on the share
  of each of these, and chi-squared on all of few levels, keep its power; the rest of a column with a few
  such values and many others is tested by Kolmogorov-Smirnov on its own.
* categories and booleans: Fisher's exact test on the share of each of the 50 commonest; another one, on one
  side, on categories that the training data do not have; chi-squared on those that are expected 10 times in
  the window, and the others as one more, when that makes three.
* text: as numbers, by the length in characters; the words are not looked at.
* every column, times too: Fisher's exact test on the share of rows without a value.

The share of a category that is new in the window is held against that of categories that only one
training row has: a row of the training data would be the first of its kind as often.

Scores are those of windows as they come, of one release, when the fit learnt what these are (`calibration`).
Windows together are judged, too (`lasting`), which takes a small part of `alarmRate`.

Every column has the same part of `alarmRate`; of answers the chosen class has half, and the numbers of all classes
together the other half. The tests of a column share its part, that of the middle three parts and each other one, and count
together (`corrections.combine_scores`). The levels of one test are corrected by what each of them can reach (`levels`).
Which columns have changed is Holm's choice. A test of which the rows of window and reference together say that
it could not alarm (gaps where there are none, a constant column) has no part (Tarone, "A modified Bonferroni
method for discrete data", 1990). All are lowered by what the windows of a release share, its reference
(`statistics.correct_sharing`), so that 19 of 20 releases hold the rate. A test whose effect is below that of its
column's type (`atLeastByType`) counts as if nothing had moved, however certain it is. Sources of the tests:
`statistics`.

Columns whose counts say that no test of theirs can exceed its correction are not tested: their score is 0 in any
case (`screening`).

Rows are n x columns, in the columns' own units, NaN for a missing value; any n from 1. The score is the largest
-log10 p so corrected, the threshold -log10 `alarmRate`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.contract.verdicts import ColumnChange
from driftloop.services.detector.detectors import MOST_SHOWN, WindowVerdict
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.detectors.column_tests import (
    ColumnReference,
    TestBatch,
    TestResult,
)
from driftloop.services.detector.detectors.corrections import combine_scores, find_changed
from driftloop.services.detector.detectors.counts import CountGrid, Counts
from driftloop.services.detector.detectors.lasting import LastingTest, find_part
from driftloop.services.detector.detectors.screening import ColumnScreen
from driftloop.services.detector.detectors.statistics import correct_sharing
from driftloop.services.detector.rows.values import Rows

MOST_QUIET = 3
"""Columns of the details of a window without an alarm."""


class TabularDetector:
    """One test per column by its type, for tables as they are."""

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        self._config = config
        self._calibration = calibration
        self._rows = len(reference)
        self._rate = config.alarm_rate
        self._threshold = -math.log10(config.alarm_rate)
        self._floors = config.at_least_by_type or {}
        self._part = find_part(config)
        self._columns = [
            ColumnReference(column, reference[:, number])
            for number, column in enumerate(profile.columns)
        ]
        self._weights = _weigh_columns(profile)
        self._grid = CountGrid(self._columns)
        self._screen = ColumnScreen(self._grid, self._columns)

    def build_lasting(self, config: DetectorSettings, reference: Rows) -> LastingTest | None:
        """Return the test of windows together; None when the settings turn it off."""
        if not self._part:
            return None
        return LastingTest(config, self._grid, self._columns, reference, self._calibration)

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        return self.score_counted(rows, self._grid.finder.count_rows(rows))

    def score_counted(self, rows: Rows, cells: Counts) -> WindowVerdict:
        """Judge a window whose rows are counted in the finer cells of the grid."""
        results, parts, shared = self._test_columns(rows, cells)
        large = {number: self._drop_small(number, each) for number, each in results.items()}
        with np.errstate(divide="ignore"):
            corrections = shared - np.log10(parts)
        scores = np.zeros(len(self._columns))
        for number, some in large.items():
            scores[number] = max(0.0, _combine(some, results[number]) - corrections[number])
        changed = find_changed(scores.tolist(), self._threshold, parts.tolist())
        worst = {
            number: self._choose_result(some or results[number], float(corrections[number]))
            for number, some in large.items()
        }
        shown = sorted(changed, key=lambda n: -worst[n].effect)[:MOST_SHOWN]
        if not changed:
            shown = sorted(results, key=lambda n: -scores[n])[:MOST_QUIET]
        columns = [
            self._columns[number].describe_change(
                worst[number], float(scores[number]), alarm=number in changed
            )
            for number in shown
        ]
        small = self._list_small(results, corrections, changed)
        columns = [*columns, *small][:MOST_SHOWN] if changed else [*small, *columns][:MOST_QUIET]
        return WindowVerdict(
            alarm=bool(changed),
            score=float(scores.max()),
            threshold=self._threshold,
            details={
                "columns": [to_json(column) for column in columns],
                "changed": len(changed),
                "small": len(small),
            },
        )

    def _test_columns(
        self, rows: Rows, cells: Counts
    ) -> tuple[dict[int, list[TestResult]], Rows, float]:
        """Return the results of the columns that may have moved, or of the first one, which a verdict shows
        when none may; the part of the rate that each column has, 0 where no test could alarm; and what all scores
        are lowered by."""
        bounds = self._screen.bound_tests(cells, len(rows))
        results = self._run_tests(rows, np.flatnonzero(~bounds.plain))
        tested = bounds.plain.copy()
        for number, each in results.items():
            tested[number] = any(result.possible for result in each)
        parts = _share_rate(np.where(tested, self._weights, 0.0))
        shared = self._correct_sharing(int(tested.sum()), len(rows))
        wanted = np.ones(len(tested), dtype=bool)
        if bounds.plain.any():
            most = float(parts[bounds.plain].max())
            wanted = ~bounds.find_quiet(shared - math.log10(most), self._rows)
        wanted &= bounds.plain
        if not results and not wanted.any():
            wanted[0] = True
        results |= self._run_tests(rows, np.flatnonzero(wanted))
        return dict(sorted(results.items())), parts, shared

    def _run_tests(self, rows: Rows, numbers: Counts) -> dict[int, list[TestResult]]:
        if not len(numbers):
            return {}
        columns = [self._columns[number] for number in numbers.tolist()]
        results = TestBatch(columns, self._threshold).test_window(rows[:, numbers])
        tempered = self._temper_results(columns, results, len(rows))
        return dict(zip(numbers.tolist(), tempered, strict=True))

    def _temper_results(
        self, columns: Sequence[ColumnReference], results: list[list[TestResult]], rows: int
    ) -> list[list[TestResult]]:
        """Return the results as windows come, of those of random ones."""
        if self._calibration is None or not self._calibration.effects:
            return results
        owners = [column for column, each in zip(columns, results, strict=True) for _ in each]
        tempered = self._calibration.temper_columns(
            self._config,
            [owner.column.name for owner in owners],
            np.array([result.score for each in results for result in each]),
            rows,
        )
        scores = iter(tempered.tolist())
        return [[replace(result, score=next(scores)) for result in each] for each in results]

    def _drop_small(self, number: int, results: list[TestResult]) -> list[TestResult]:
        """Return the tests of a column that are large enough for an alarm."""
        return [each for each in results if each.effect >= self._find_floor(number, each)]

    def _find_floor(self, number: int, result: TestResult) -> float:
        rare = result.kind in ("missing", "unseen")
        type_ = "missing" if rare else self._columns[number].column.type
        return self._floors.get(type_, 0.0)

    def _list_small(
        self,
        results: Mapping[int, list[TestResult]],
        corrections: Rows,
        changed: set[int],
    ) -> list[ColumnChange]:
        """Return what moved for certain, and too little, of columns that have not changed."""
        small = []
        for number, each in results.items():
            few = [one for one in each if one.effect < self._find_floor(number, one)]
            score = _combine(each, each) - corrections[number]
            if number in changed or score < self._threshold or not few:
                continue
            result = max(few, key=lambda one: one.score)
            change = self._columns[number].describe_change(result, score, alarm=False)
            small.append(replace(change, at_least=self._find_floor(number, result)))
        return sorted(small, key=lambda change: -change.effect)

    def _correct_sharing(self, columns: int, rows: int) -> float:
        """Return what the scores of so many columns of a window are lowered by beside their parts."""
        own = correct_sharing(self._rate, columns, rows, self._rows)
        return own - math.log10(1 - self._part)

    def _choose_result(self, results: list[TestResult], correction: float) -> TestResult:
        """Return the most certain result; one of all levels together only when it is beyond chance
        alone, since it is described by a level that may not be."""
        total = sum(result.weight for result in results if result.possible)
        bound = self._threshold + correction

        def order(result: TestResult) -> tuple[bool, bool, float]:
            own = bound + math.log10(max(1.0, total / result.weight))
            return result.score >= own, result.kind != "mix", result.score

        return max(results, key=order)


def _weigh_columns(profile: TableProfile) -> Rows:
    """Return the parts of the rate that columns have beside each other: the class that a model chooses as much as the
    numbers of all classes, which say the same once more."""
    weights = np.ones(len(profile.columns))
    for number, column in enumerate(profile.columns):
        if column.name == profile.chosen:
            weights[number] = max(1, len(weights) - 1)
    return weights


def _share_rate(weights: Rows) -> Rows:
    """Return parts that sum to 1, of weights."""
    total = float(weights.sum())
    return weights / total if total else weights


def _combine(some: Sequence[TestResult], every: Sequence[TestResult]) -> float:
    """Return the score of some tests of a column together, of which all have parts."""
    total = sum(result.weight for result in every if result.possible)
    if not total:
        return 0.0
    return combine_scores(
        [result.score for result in some], [result.weight / total for result in some]
    )
