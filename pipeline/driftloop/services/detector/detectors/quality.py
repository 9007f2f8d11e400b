"""Quality of a model's answers by their labels, against that on the held-out rows.

Rows are labelled answers (`rows.labelled`). All rows of a window are tested for a loss (`losses`), and so are those of each
slice: the rows whose request has one value in a column, where a slice has at least 10 of the window. All rows have half of
the window's rate of alarms, and the slices the other half, in even parts (Bonferroni); without slices all rows have it all. A
loss below `atLeast` is no alarm, however certain it is.

The score is -log10 p, corrected for these tests and for what all windows of a release share (`statistics.correct_sharing`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.contract.quality import ESTIMATE, QUALITY, SLICES, SlicedQuality, SliceQuality
from driftloop.contract.verdicts import ColumnChange
from driftloop.services.detector.detectors import MOST_SHOWN, WindowVerdict
from driftloop.services.detector.detectors.estimate import find_estimator
from driftloop.services.detector.detectors.losses import (
    AccuracyTest,
    ErrorTest,
    QualityLoss,
    build_loss_test,
)
from driftloop.services.detector.detectors.statistics import correct_sharing
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.labelled import list_slices
from driftloop.services.detector.rows.values import Rows

LEAST = 20
"""Labelled rows of the reference, and of a slice of it."""
LEAST_OF_SLICE = 10
"""Rows of a slice in a window that are judged."""


@dataclass(frozen=True)
class _Slice:
    column: int
    """Column of the rows."""
    code: int
    name: str
    """Of the column."""
    value: str
    reference: int
    """Labelled rows of the reference."""
    test: AccuracyTest | ErrorTest

    def choose_rows(self, rows: Rows) -> Rows:
        chosen: Rows = rows[rows[:, self.column] == self.code]
        return chosen


@dataclass(frozen=True)
class _Judged:
    """A loss, and what it says beside the other tests of the window."""

    loss: QualityLoss
    score: float
    certain: bool
    alarm: bool


class QualityDetector:
    """Tests the answers of a window, and of its slices, for a loss against those to held-out rows."""

    def __init__(self, config: DetectorSettings, reference: Rows, profile: TableProfile) -> None:
        if len(reference) < LEAST:
            raise FitError(
                f"quality has {len(reference)} labelled reference rows, must be at least {LEAST}",
                hint="hold more rows out with `data.heldout`",
            )
        self._rate = config.alarm_rate
        self._least = config.at_least or 0.0
        self._threshold = -math.log10(config.alarm_rate)
        self._rows = len(reference)
        self._test = build_loss_test(reference, profile)
        self._first_slice = len(profile.columns) - len(list_slices(profile))
        self._slices = tuple(_list_slices(reference, profile))
        self._estimator = find_estimator(config, reference, profile)

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        parts = [(each, each.choose_rows(rows)) for each in self._slices]
        tested = [(each, part) for each, part in parts if len(part) >= LEAST_OF_SLICE]
        half = 2 if tested else 1
        overall = self._judge(self._test.measure_loss(rows), len(rows), self._rows, half)
        slices = [
            (
                each,
                len(part),
                self._judge(
                    each.test.measure_loss(part), len(part), each.reference, 2 * len(tested)
                ),
            )
            for each, part in tested
        ]
        slices.sort(key=lambda item: (not item[2].alarm, -item[2].loss.effect))
        columns = list(self._list_changes(overall, slices))
        alarm = overall.alarm or any(judged.alarm for _, _, judged in slices)
        return WindowVerdict(
            alarm=alarm,
            score=max(overall.score, *(judged.score for _, _, judged in slices), 0.0),
            threshold=self._threshold,
            details={
                "columns": [to_json(column) for column in columns[:MOST_SHOWN]],
                "changed": sum(column.alarm for column in columns),
                "small": sum(column.at_least is not None for column in columns),
                QUALITY: _show_figures(overall.loss),
                **self._estimate(rows),
                **({SLICES: to_json(self._describe_slices(rows, parts, slices))} if parts else {}),
            },
        )

    def _estimate(self, rows: Rows) -> Mapping[str, object]:
        """Return what would have been estimated of the rows without their labels."""
        estimate = None if self._estimator is None else self._estimator.describe_rows(rows)
        return {} if estimate is None else {ESTIMATE: to_json(estimate)}

    def _judge(self, loss: QualityLoss, rows: int, reference: int, tests: int) -> _Judged:
        """Judge a loss that is one of so many tests of its window."""
        rate = self._rate / tests
        # a test of one side at this rate is one side of a test of both at twice the rate
        shared = correct_sharing(min(2 * rate, 0.5), 1, rows, reference)
        score = max(0.0, loss.score - shared - math.log10(tests))
        certain = score >= self._threshold
        return _Judged(loss, score, certain, certain and loss.effect >= self._least)

    def _list_changes(
        self, overall: _Judged, slices: list[tuple[_Slice, int, _Judged]]
    ) -> Iterator[ColumnChange]:
        """Yield the measure and what explains it first, then the slices that moved for certain."""
        for change in overall.loss.columns:
            yield self._mark_change(change, overall)
        for each, _, judged in slices:
            if judged.certain:
                measure = judged.loss.columns[0]
                told = f"{measure.column} {measure.of}".rstrip()
                yield self._mark_change(
                    replace(measure, column=f"{each.name} = {each.value[:40]}", of=told), judged
                )

    def _mark_change(self, change: ColumnChange, judged: _Judged) -> ColumnChange:
        small = judged.certain and not judged.alarm and change.rows is not None
        return replace(
            change,
            score=judged.score,
            alarm=judged.alarm,
            at_least=self._least if small else None,
        )

    def _describe_slices(
        self,
        rows: Rows,
        parts: list[tuple[_Slice, Rows]],
        slices: list[tuple[_Slice, int, _Judged]],
    ) -> SlicedQuality:
        few = [len(part) for each, part in parts if len(part) < LEAST_OF_SLICE and len(part) > 0]
        codes = rows[:, self._first_slice :]
        unknown = int(np.isnan(codes).sum())
        return SlicedQuality(
            slices=tuple(
                SliceQuality(
                    column=each.name,
                    value=each.value,
                    rows=count,
                    figures=judged.loss.figures,
                    score=judged.score,
                    alarm=judged.alarm,
                )
                for each, count, judged in slices
            ),
            few=len(few),
            few_rows=sum(few),
            other_rows=codes.size - unknown - sum(len(part) for _, part in parts),
            unknown_rows=unknown,
        )


def _list_slices(reference: Rows, profile: TableProfile) -> Iterator[_Slice]:
    """Yield the slices that have enough rows of the reference."""
    columns = list_slices(profile)
    first = len(profile.columns) - len(columns)
    for place, column in enumerate(columns, first):
        for code, (value, _) in enumerate(column.categories):
            rows = reference[reference[:, place] == code]
            if len(rows) >= LEAST:
                test = build_loss_test(rows, profile)
                yield _Slice(place, code, column.name, value, len(rows), test)


def _show_figures(loss: QualityLoss) -> Mapping[str, list[float]]:
    shown = {name: list(pair) for name, pair in loss.figures.items()}
    for change in loss.columns:
        shown[f"{change.column} {change.of}".rstrip()] = [change.before, change.after]
    return shown
