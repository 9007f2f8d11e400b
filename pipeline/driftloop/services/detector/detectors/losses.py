"""Losses of answers against those to held-out rows: of right answers, and of absolute errors.

Of classes the share of right answers is tested by Fisher's exact test (1934), of numbers the ranks of absolute errors by Mann
and Whitney's (1947), each for a loss only, and with the chance that is in the held-out rows, too.

Figures beside it: the F1 of the classes that occur, in the mean; of probabilities the expected calibration error of the
answers, in ten bins of equal width (Guo et al., 2017), and the Brier score of all classes (1950), each row's between 0 and 2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from driftloop.contract.profiles import TableProfile
from driftloop.contract.quality import ACCURACY, BRIER, ECE, F1, MAE, RMSE, Figures
from driftloop.contract.verdicts import ColumnChange
from driftloop.services.detector.detectors.statistics import (
    SortedSample,
    compare_samples,
    score_counts,
    score_ranks,
)
from driftloop.services.detector.rows.labelled import COLUMNS, RIGHT, count_chances
from driftloop.services.detector.rows.values import Rows

LEAST_OF_CLASS = 5
"""Rows of a class whose F1 is told."""
MOST_CLASSES = 3
"""Classes that an alarm names."""
LOST = 0.05
"""F1 that a class has lost when it is named."""
LARGE = 0.75
"""Quantile of the errors above which one is large, where errors take few values."""
BINS = 10
"""Of the expected calibration error."""
TWO = math.log10(2)


@dataclass(frozen=True)
class QualityLoss:
    """Losses of answers, row by row."""

    score: float
    """-log10 p of a loss, without any correction; 0 without a loss."""
    effect: float
    """The loss, as `atLeast` counts it."""
    columns: tuple[ColumnChange, ...]
    """The measure first."""
    figures: Figures


def build_loss_test(reference: Rows, profile: TableProfile) -> "AccuracyTest | ErrorTest":
    """Return the test of rows of labelled answers that are held against a reference."""
    if profile.names[0] != RIGHT:
        return ErrorTest(reference)
    names = tuple(name for name, _ in profile.columns[COLUMNS - 1].categories)
    return AccuracyTest(reference, names, chances=count_chances(profile))


class AccuracyTest:
    """Right answers, and the F1 of each class."""

    def __init__(self, reference: Rows, names: tuple[str, ...], *, chances: int) -> None:
        """`chances` columns of rows are probabilities of classes."""
        self._rows = len(reference)
        self._right = int(reference[:, 0].sum())
        self._names = names
        self._chances = chances
        self._scores = _measure_f1(reference, len(names))
        self._figures = self._measure(reference)

    def measure_loss(self, rows: Rows) -> QualityLoss:
        """Compare rows with the held-out ones."""
        right, size = int(rows[:, 0].sum()), len(rows)
        before, after = self._right / self._rows, right / size
        counts = [np.array([n]) for n in (right, size, self._right, self._rows)]
        score = float(score_counts(*counts)[0]) + TWO if after < before else 0.0
        accuracy = _change(ACCURACY, "", before, after, effect=before - after, rows=size)
        return QualityLoss(
            score,
            before - after,
            (accuracy, *self._list_classes(rows)),
            _pair_figures(self._figures, self._measure(rows)),
        )

    def _measure(self, rows: Rows) -> dict[str, float]:
        figures = {ACCURACY: float(rows[:, 0].mean()), F1: average_f1(rows, len(self._names))}
        chances = rows[:, COLUMNS : COLUMNS + self._chances]
        if self._chances:
            figures[ECE] = measure_calibration(chances.max(axis=1), rows[:, 0])
            figures[BRIER] = measure_brier(chances, rows[:, 2])
        return figures

    def _list_classes(self, rows: Rows) -> Iterator[ColumnChange]:
        """Yield the classes that have lost most, of those with enough rows on either side."""
        after = _measure_f1(rows, len(self._names))
        lost = self._scores - after
        order = np.argsort(-np.nan_to_num(lost, nan=-1.0), kind="stable")
        for place in order[:MOST_CLASSES].tolist():
            if lost[place] >= LOST:
                before, now = float(self._scores[place]), float(after[place])
                name = f"class {self._names[place][:40]}"
                yield _change(name, F1, before, now, effect=before - now)


class ErrorTest:
    """Absolute errors: where they lie, their mean, and the root of their squares' mean."""

    def __init__(self, reference: Rows) -> None:
        errors = np.sort(reference[:, 0])
        self._errors = errors
        self._sample = SortedSample.from_sorted(errors)
        self._figures = _measure_errors(errors)
        self._large = float(np.quantile(errors, LARGE))

    def measure_loss(self, rows: Rows) -> QualityLoss:
        """Compare rows with the held-out ones."""
        errors = np.sort(rows[:, 0])
        rank = float(compare_samples([(self._sample, errors)]).ranks[0])
        score = self._score_ranks(rank, errors) if rank > 0.5 else 0.0
        figures = _pair_figures(self._figures, _measure_errors(errors))
        mean = _change("absolute error", "mean", *figures[MAE], effect=rank - 0.5, rows=len(rows))
        root = _change(RMSE, "", *figures[RMSE], effect=rank - 0.5)
        return QualityLoss(score, rank - 0.5, (mean, root), figures)

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


def measure_calibration(confidence: Rows, right: Rows) -> float:
    """Return the expected calibration error: how far the share of right answers lies from the mean of their
    probabilities, in each of ten bins of these, weighted by the bins' rows."""
    bins = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(np.int64)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(right))


def measure_brier(chances: Rows, labels: Rows) -> float:
    """Return the Brier score of the probabilities of all classes (n x classes); a label is a class's place, or one
    beyond them."""
    places = labels.astype(np.int64)
    known = places < chances.shape[1]
    right = np.where(known, chances[np.arange(len(places)), np.where(known, places, 0)], 0.0)
    return float(((chances**2).sum(axis=1) - 2 * right + 1).mean())


def average_f1(rows: Rows, classes: int) -> float:
    """Return the mean F1 of the classes that occur among answers or labels; a class of no known name is one."""
    said, are, both = _count_classes(rows, classes + 1)
    occur = said + are > 0
    return float((2 * both[occur] / (said + are)[occur]).mean())


def _measure_f1(rows: Rows, classes: int) -> Rows:
    """Return the F1 of each class; NaN of one with too few rows."""
    said, are, both = (counts[:classes] for counts in _count_classes(rows, classes + 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = 2 * both / (said + are)
    return np.where(are >= LEAST_OF_CLASS, scores, np.nan)


def _count_classes(rows: Rows, classes: int) -> tuple[Rows, Rows, Rows]:
    """Return how many rows of each class are answered so, are so, and are both."""
    answers, labels = rows[:, 1].astype(np.int64), rows[:, 2].astype(np.int64)
    said, are, both = (
        np.bincount(values, minlength=classes).astype(np.float64)
        for values in (answers, labels, labels[rows[:, 0] > 0])
    )
    return said, are, both


def _measure_errors(errors: Rows) -> dict[str, float]:
    return {MAE: float(errors.mean()), RMSE: float(np.sqrt((errors**2).mean()))}


def _pair_figures(before: dict[str, float], after: dict[str, float]) -> Figures:
    return {name: (before[name], value) for name, value in after.items() if name in before}


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
