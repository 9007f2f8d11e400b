"""Small changes that last: consecutive windows are judged together, by counts that add up.

A change of 0.15 standard deviations in one column of thirty is far below what 200 rows can tell; 6000 rows
tell it from chance. So beside each window the last 4, 8, 16, ... windows are judged, up to 128 of them, 25,600
rows and four times the rows of the reference (more would tell little: the reference is a sample, too). So many
windows are judged whenever half as many have closed, so that no change has to wait for their beginning.

What is tested is what `tabular` tests, on the counts (`count_tests`). A column whose order matters is held to larger
changes, as one window is (`calibration`).

*The rate.* Alarms of windows together count by themselves, without another one. So their rate is what two alarms
in a row would have: the square of `alarmRate`, a tenth of it at most, in the mean over all windows; each number of
windows has the same part of it. Window by window alarms on the rest.

*Lasting.* The change must show, with half the score, when the windows that speak most for it are left out: an eighth
of them, one at least; and the newer half must show it by itself, at 0.01. One window of garbage is no change that
lasts, nor is one that is over.

*Large enough.* A change that is too small to matter is no alarm, however certain it is. Nor is one that the
training data have themselves: the same number of rows, as they lie, is held against all others, and what moves
there (seasons, a sorted file) must move further to be an alarm. A column whose windows are alike from one to the
next (`calibration`), as by day and by night, must move further than it does from block to block of the training data
in any case: its rows of traffic may lie in one night where as many of the training data are of several.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.budgets import expect_alarms
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.verdicts import ChangeKind, ColumnChange
from driftloop.services.detector.detectors.calibration import Calibration, temper_scores
from driftloop.services.detector.detectors.column_tests import ColumnReference
from driftloop.services.detector.detectors.corrections import find_changed
from driftloop.services.detector.detectors.count_tests import (
    UNLIKELY_SCORE,
    CountResult,
    CountTests,
)
from driftloop.services.detector.detectors.counts import CountGrid, Counts
from driftloop.services.detector.detectors.statistics import convert_scores
from driftloop.services.detector.rows.values import Rows

FEWEST_WINDOWS, MOST_WINDOWS = 4, 128
MOST_ROWS = 25_600
MOST_OF_REFERENCE = 4
"""Rows of merged windows for each row of the reference."""
LARGEST_PART = 0.1
"""Part of `alarmRate` that is theirs at most."""
LEFT_OUT = 8
"""One in so many windows is left out."""
REST = 0.5
"""Part of the score that windows have without those that are left out."""
NEWER = 2.0
"""Score of the newer half of the windows, not corrected, without which a change is over."""
LEAST_EFFECT = 0.02
"""Difference of two shares of the rows below which a change does not matter."""
POWER = 0.84
"""Standard deviations by which a change must exceed the bound to be seen in four of five cases."""
RANKS = math.sqrt(3 / math.pi)
"""How far the mean rank of normal values moves, in its standard errors, for one of the mean of the values."""
FEWEST_BLOCKS = 8
"""Blocks of the training data from which on they say how far a column moves by itself."""
MOST_LISTED = 3


def find_part(config: DetectorSettings) -> float:
    """Return the part of a detector's `alarmRate` that is for windows together: they alarm as often by
    chance as alarms of single windows count, of two in a row without a budget."""
    if config.lasting is False:
        return 0.0
    budget = config.budget
    if budget is None:
        return min(config.alarm_rate, LARGEST_PART)
    counting = expect_alarms(config.alarm_rate, 1.0, budget.least, budget.of)
    return min(counting / config.alarm_rate, LARGEST_PART)


@dataclass(frozen=True)
class LastingChange:
    """Verdict of windows together."""

    windows: int
    rows: int
    alarm: bool
    score: float
    """On the scale of single windows, so that it is an alarm beyond the same threshold."""
    columns: tuple[ColumnChange, ...]
    """Columns that have changed, the largest effect first."""


@dataclass(frozen=True)
class _Scale:
    """So many windows, and what is an alarm of them."""

    windows: int
    level: float
    floors: Rows
    """Smallest effect of each column."""

    @property
    def hop(self) -> int:
        return self.windows // 2


class LastingTest:
    """The test of consecutive windows together."""

    def __init__(
        self,
        config: DetectorSettings,
        grid: CountGrid,
        columns: Sequence[ColumnReference],
        reference: Rows,
        calibration: Calibration | None = None,
    ) -> None:
        self._columns = columns
        effects = calibration.effects if calibration is not None else {}
        self._inflations = {
            number: effects[column.column.name].inflation
            for number, column in enumerate(columns)
            if column.column.name in effects
        }
        self._rate = config.alarm_rate
        self._size = config.window
        self.grid = grid
        self._before = self.grid.count_references(columns)
        self._tests = CountTests(self.grid, columns)
        numbers = _list_scales(config.window, len(reference))
        part = find_part(config) * config.alarm_rate / max(1, len(numbers))
        blocks = self._count_blocks(reference) if numbers else []
        seasons = [
            column.column.name in effects and effects[column.column.name].lasting
            for column in columns
        ]
        least = self._measure_moves(blocks, np.array(seasons, dtype=bool))
        floors = least
        self.scales: list[_Scale] = []
        for number in numbers:
            scale = _Scale(number, min(part * number / 2, self._rate / 2), floors)
            floors = np.maximum(self._learn_floors(scale, blocks), least)
            self.scales.append(_Scale(number, scale.level, floors))

    @property
    def most_windows(self) -> int:
        """Windows that are judged together at most; 0: there is too little reference for any."""
        return max((scale.windows for scale in self.scales), default=0)

    def list_due(self, number: int) -> tuple[int, ...]:
        """Return how many windows are judged together when the window of a number has closed."""
        return tuple(
            scale.windows
            for scale in self.scales
            if number >= scale.windows and number % scale.hop == 0
        )

    def find_next(self, number: int) -> tuple[int, int] | None:
        """Return the number of the window, this one or a later one, with which windows are judged together
        next, and how many at most; None: there is too little reference for any."""
        dues = [
            (max(math.ceil(number / scale.hop) * scale.hop, scale.windows), scale.windows)
            for scale in self.scales
        ]
        return min(dues, key=lambda due: (due[0], -due[1]), default=None)

    def test_windows(self, windows: Sequence[Counts]) -> LastingChange:
        """Judge the counts of windows together, as many as are due."""
        scale = next(scale for scale in self.scales if scale.windows == len(windows))
        parts = np.stack(windows)
        merged = parts.sum(axis=0)
        scores, findings = self._score_columns(merged, self._before, scale)
        threshold = -math.log10(scale.level)
        changed = [
            number
            for number in find_changed(scores.tolist(), threshold)
            if self._lasts(number, findings[number], parts, threshold)
        ]
        for number in set(findings) - set(changed):
            scores[number] = min(scores[number], math.nextafter(threshold, 0))
        shift = threshold + math.log10(self._rate)
        changed.sort(key=lambda n: -findings[n].result.effect)
        return LastingChange(
            windows=len(windows),
            rows=self._count_all(merged),
            alarm=bool(changed),
            score=max(0.0, float(scores.max(initial=0.0)) - shift),
            columns=tuple(
                self._columns[number].describe_change(
                    findings[number].result,
                    max(0.0, float(scores[number]) - shift),
                    alarm=True,
                    windows=len(windows),
                )
                for number in changed
            ),
        )

    def describe(self) -> Iterator[str]:
        """Yield what a person should know, a line each."""
        reference = int(self._before[: self.grid.starts[1]].sum())
        if not self.scales:
            least = math.ceil(FEWEST_WINDOWS * self._size / MOST_OF_REFERENCE)
            why = (
                f"{FEWEST_WINDOWS} windows of {self._size} rows are more than {MOST_ROWS}"
                if FEWEST_WINDOWS * self._size > MOST_ROWS
                else f"the reference has {reference} rows, of at least {least} that this takes"
            )
            yield f"lasting changes: windows are judged one by one, not together: {why}"
            return
        most = self.scales[-1]
        rows = most.windows * self._size
        yield (
            f"lasting changes: up to {most.windows} windows ({rows} rows) are judged together: {self._describe_power(most, reference)}"
        )
        moves = np.max([scale.floors for scale in self.scales], axis=0)
        for number in np.argsort(-moves, kind="stable")[:MOST_LISTED].tolist():
            if moves[number] > LEAST_EFFECT:
                yield (
                    f"lasting changes: `{self._columns[number].column.name}` moves by {moves[number]:.2g} within the "
                    "training data, so many rows as they lie against all others: only larger changes are alarms"
                )

    def _describe_power(self, scale: _Scale, reference: int) -> str:
        """Return what alarms in four of five cases: the distance of two distributions, which is normal at its
        place and 1/2 wide at most, and the shift of a normal column; and what no number of windows shows."""
        rows = scale.windows * self._size
        tests = 3 * len(self._columns)
        far = math.sqrt(math.log(2 * tests / scale.level) / 2) + POWER / 2
        z = float(convert_scores(np.array([math.log10(tests / scale.level)]))[0]) + POWER
        least = float(scale.floors.min())
        distance = far / math.sqrt(rows * reference / (rows + reference))
        shift, limit = (
            max(z / RANKS / math.sqrt(size), least * math.sqrt(2 * math.pi))
            for size in (rows * reference / (rows + reference), reference)
        )
        text = f"a Kolmogorov distance of {max(distance, least):.2g}"
        if any(column.column.type == "number" for column in self._columns):
            text += f", or a shift of {shift:.2g} standard deviations,"
        return (
            f"{text} is seen in four of five cases; with {reference} reference rows no number of windows would show a "
            f"shift of less than {limit:.2g}"
        )

    def _count_all(self, cells: Counts) -> int:
        return int(cells[: self.grid.starts[1]].sum())

    def _count_blocks(self, reference: Rows) -> list[Counts]:
        """Return the counts of the reference as it lies, a window each."""
        ends = range(self._size, len(reference) + 1, self._size)
        return [self.grid.count_rows(reference[end - self._size : end]) for end in ends]

    def _measure_moves(self, blocks: Sequence[Counts], chosen: NDArray[np.bool_]) -> Rows:
        """Return the largest effects that blocks of the training data have in the chosen columns."""
        floors = np.full(len(self._columns), LEAST_EFFECT)
        sizes = [size for size in (4, 2, 1) if len(blocks) // size >= FEWEST_BLOCKS]
        size = sizes[0] if sizes else 1
        for end in range(size, len(blocks) + 1, size) if chosen.any() else ():
            merged = np.sum(blocks[end - size : end], axis=0)
            rest = self._before - merged
            for number in np.flatnonzero(chosen).tolist():
                tests = self._tests.test_column(
                    number, self._slice(merged, number), self._slice(rest, number)
                )
                floors[number] = max(floors[number], *(test.result.effect for test in tests))
        return floors

    def _learn_floors(self, scale: _Scale, blocks: Sequence[Counts]) -> Rows:
        """Return the effects that the training data have themselves, over so many windows; with too few rows
        to tell, those of fewer windows, which the scale has."""
        ends = range(scale.windows, len(blocks) + 1, scale.windows)
        if len(ends) < 2:
            return scale.floors
        floors = np.full(len(self._columns), LEAST_EFFECT)
        free = _Scale(scale.windows, scale.level, floors.copy())
        for end in ends:
            merged = np.sum(blocks[end - scale.windows : end], axis=0)
            scores, findings = self._score_columns(merged, self._before - merged, free)
            for number in find_changed(scores.tolist(), -math.log10(scale.level)):
                floors[number] = max(floors[number], findings[number].result.effect)
        return floors

    def _score_columns(
        self, merged: Counts, before: Counts, scale: _Scale
    ) -> tuple[Rows, dict[int, CountResult]]:
        """Return the score of each column, corrected for all tests, and the test behind it of those
        that may have moved."""
        scores = np.zeros(len(self._columns))
        findings: dict[int, CountResult] = {}
        # below that its score is 0 on the scale of single windows
        least = math.log10(self._rate / scale.level) + math.log10(len(self._columns))
        for number in self._tests.list_suspects(merged, before, max(UNLIKELY_SCORE, least)):
            tests = self._test_column(
                number, self._slice(merged, number), self._slice(before, number)
            )
            large = [test for test in tests if test.result.effect > scale.floors[number]]
            if large:
                best = max(large, key=lambda test: test.result.score)
                findings[number] = best
                scores[number] = max(0.0, best.result.score - self._correct(tests))
        return scores, findings

    def _lasts(self, number: int, finding: CountResult, parts: Counts, threshold: float) -> bool:
        """Return True when a column has changed in the newer half, and without the windows that speak most
        for it."""
        own, before = parts[:, self._column(number)], self._slice(self._before, number)
        sums, rows = own @ finding.weights, own @ finding.of
        mean = float(before @ finding.weights) / max(1.0, float(before @ finding.of))
        further = sums - mean * rows
        if further.sum() < 0:
            further = -further
        half = len(parts) // 2
        left = np.sort(np.argsort(further, kind="stable")[: -max(1, len(parts) // LEFT_OUT)])
        kind = finding.result.kind
        newer, _ = self._score_part(number, own[half:], kind)
        least, correction = self._score_part(number, own[left], kind)
        return (
            further[half:].sum() > 0 and newer >= NEWER and least - correction >= REST * threshold
        )

    def _score_part(self, number: int, own: Counts, kind: ChangeKind) -> tuple[float, float]:
        """Return the score of some of a column's windows by one kind of test, and its correction for all."""
        tests = self._test_column(number, own.sum(axis=0), self._slice(self._before, number))
        scores = (test.result.score for test in tests if test.result.kind == kind)
        return max(scores, default=0.0), self._correct(tests)

    def _test_column(self, number: int, cells: Counts, before: Counts) -> list[CountResult]:
        """Return the results of a column as windows come, of those of random ones."""
        tests = self._tests.test_column(number, cells, before)
        inflation = self._inflations.get(number, 1.0)
        if inflation == 1.0 or not tests:
            return tests
        scores = temper_scores(np.array([test.result.score for test in tests]), inflation)
        return [
            replace(test, result=replace(test.result, score=score))
            for test, score in zip(tests, scores.tolist(), strict=True)
        ]

    def _correct(self, tests: Sequence[CountResult]) -> float:
        possible = sum(test.result.possible for test in tests)
        return math.log10(max(1, possible)) + math.log10(len(self._columns))

    def _column(self, number: int) -> slice:
        return slice(int(self.grid.starts[number]), int(self.grid.starts[number + 1]))

    def _slice(self, cells: Counts, number: int) -> Counts:
        return cells[self._column(number)]


def _list_scales(window: int, reference: int) -> list[int]:
    most = min(MOST_ROWS, MOST_OF_REFERENCE * reference)
    numbers, number = [], FEWEST_WINDOWS
    while number <= MOST_WINDOWS and number * window <= most:
        numbers.append(number)
        number *= 2
    return numbers
