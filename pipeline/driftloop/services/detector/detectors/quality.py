"""How good a model's answers are, by their labels: worse than on the held-out rows?

Rows are labelled answers (`rows.labelled`): of classes the share of right answers is tested by Fisher's exact test (1934), of
numbers the ranks of absolute errors by Mann and Whitney's (1947), each for a loss only, and with the chance that is in the
held-out rows, too. A loss below `atLeast` is no alarm, however certain it is.

The score is -log10 p, corrected for what all windows of a release share (`statistics.correct_sharing`). Rows are n x 3.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.contract.verdicts import ColumnChange
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.statistics import (
    SortedSample,
    compare_samples,
    correct_sharing,
    score_counts,
    score_ranks,
)
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.labelled import RIGHT
from driftloop.services.detector.rows.values import Rows

LEAST = 20
"""Labelled rows of the reference."""
LEAST_OF_CLASS = 5
"""Rows of a class whose F1 is told."""
MOST_CLASSES = 3
"""Classes that an alarm names."""
LOST = 0.05
"""F1 that a class has lost when it is named."""
LARGE = 0.75
"""Quantile of the errors above which one is large, where errors take few values."""
TWO = math.log10(2)


@dataclass(frozen=True)
class QualityLoss:
    """What a window says of the answers."""

    score: float
    """-log10 p of a loss, without the correction; 0 without a loss."""
    effect: float
    """The loss, as `atLeast` counts it."""
    columns: tuple[ColumnChange, ...]
    """The measure first."""


class QualityDetector:
    """Tests the answers of a window for a loss against those to held-out rows."""

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
        self._test: _AccuracyTest | _ErrorTest
        if profile.names[0] == RIGHT:
            names = tuple(name for name, _ in profile.columns[-1].categories)
            self._test = _AccuracyTest(reference, names)
        else:
            self._test = _ErrorTest(reference)

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        loss = self._test.measure_loss(rows)
        # a test of one side at this rate is one side of a test of both at twice the rate
        shared = correct_sharing(min(2 * self._rate, 0.5), 1, len(rows), self._rows)
        score = max(0.0, loss.score - shared)
        certain = score >= self._threshold
        alarm = certain and loss.effect >= self._least
        columns = [
            _mark_change(change, score, alarm=alarm, least=self._least if certain else None)
            for change in loss.columns
        ]
        return WindowVerdict(
            alarm=alarm,
            score=score,
            threshold=self._threshold,
            details={
                "columns": [to_json(column) for column in columns],
                "changed": len(columns) if alarm else 0,
                "small": int(certain and not alarm),
                "quality": {
                    column.column if not column.of else f"{column.column} {column.of}": [
                        column.before,
                        column.after,
                    ]
                    for column in loss.columns
                },
            },
        )


def _mark_change(
    change: ColumnChange, score: float, *, alarm: bool, least: float | None
) -> ColumnChange:
    at_least = least if not alarm and change.rows is not None else None
    return replace(change, score=score, alarm=alarm, at_least=at_least)


class _AccuracyTest:
    """Right answers, and the F1 of each class."""

    def __init__(self, reference: Rows, names: tuple[str, ...]) -> None:
        self._rows = len(reference)
        self._right = int(reference[:, 0].sum())
        self._names = names
        self._scores = _measure_f1(reference, len(names))

    def measure_loss(self, rows: Rows) -> QualityLoss:
        """Compare a window with the held-out rows."""
        right, size = int(rows[:, 0].sum()), len(rows)
        before, after = self._right / self._rows, right / size
        counts = [np.array([n]) for n in (right, size, self._right, self._rows)]
        score = float(score_counts(*counts)[0]) + TWO if after < before else 0.0
        accuracy = _change("accuracy", "", before, after, effect=before - after, rows=size)
        return QualityLoss(score, before - after, (accuracy, *self._list_classes(rows)))

    def _list_classes(self, rows: Rows) -> Iterator[ColumnChange]:
        """Yield the classes that have lost most, of those with enough rows on either side."""
        after = _measure_f1(rows, len(self._names))
        lost = self._scores - after
        order = np.argsort(-np.nan_to_num(lost, nan=-1.0), kind="stable")
        for place in order[:MOST_CLASSES].tolist():
            if lost[place] >= LOST:
                before, now = float(self._scores[place]), float(after[place])
                name = f"class {self._names[place][:40]}"
                yield _change(name, "F1", before, now, effect=before - now)


class _ErrorTest:
    """Absolute errors: where they lie, their mean, and the root of their squares' mean."""

    def __init__(self, reference: Rows) -> None:
        errors = np.sort(reference[:, 0])
        self._errors = errors
        self._sample = SortedSample.from_sorted(errors)
        self._mean = float(errors.mean())
        self._root = float(np.sqrt((errors**2).mean()))
        self._large = float(np.quantile(errors, LARGE))

    def measure_loss(self, rows: Rows) -> QualityLoss:
        """Compare a window with the held-out rows."""
        errors = np.sort(rows[:, 0])
        rank = float(compare_samples([(self._sample, errors)]).ranks[0])
        score = self._score_ranks(rank, errors) if rank > 0.5 else 0.0
        mean, root = float(errors.mean()), float(np.sqrt((errors**2).mean()))
        return QualityLoss(
            score,
            rank - 0.5,
            (
                _change(
                    "absolute error", "mean", self._mean, mean, effect=rank - 0.5, rows=len(rows)
                ),
                _change("RMSE", "", self._root, root, effect=rank - 0.5),
            ),
        )

    def _score_ranks(self, rank: float, errors: Rows) -> float:
        moments = self._sample.moments
        size, reference = len(errors), len(self._errors)
        score = None
        if moments is not None:
            score = score_ranks(rank, moments[0], size, reference)
        if score is not None:
            return score + TWO
        # too few different errors for ranks: the large ones are counted, exactly
        hits, before = int((errors > self._large).sum()), int((self._errors > self._large).sum())
        if hits * reference <= before * size:
            return 0.0
        counts = [np.array([n]) for n in (hits, size, before, reference)]
        return float(score_counts(*counts)[0]) + TWO


def _change(
    column: str, of: str, before: float, after: float, *, effect: float, rows: int | None = None
) -> ColumnChange:
    return ColumnChange(
        column=column,
        type="number",
        kind="quality",
        of=of,
        before=before,
        after=after,
        effect=effect,
        score=0.0,
        alarm=False,
        rows=rows,
    )


def _measure_f1(rows: Rows, classes: int) -> Rows:
    """Return the F1 of each class; NaN of one with too few rows."""
    answers, labels = rows[:, 1].astype(np.int64), rows[:, 2].astype(np.int64)
    right = rows[:, 0] > 0
    said = np.bincount(answers, minlength=classes + 1)[:classes]
    are = np.bincount(labels, minlength=classes + 1)[:classes]
    both = np.bincount(labels[right], minlength=classes + 1)[:classes]
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = 2 * both / (said + are)
    return np.where(are >= LEAST_OF_CLASS, scores, np.nan)
