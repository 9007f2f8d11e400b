"""Expected quality of answers that are probabilities of classes, without their labels: confidence-based performance
estimation (CBPE), with the numbers of NannyML 0.13.

Probabilities are calibrated on labelled ones by isotonic regression (Ayer et al., 1955): of two classes those of the second,
of more those of each class against all others, which are then made to sum to 1. Where cross-validation says that this makes
the calibration error no smaller, they are taken as they are. A calibrated probability of an answer is the chance that it is
right. So the expected accuracy is their mean, and the expected numbers of true and false positives of a class make its F1 and
the area below its ROC curve.

It holds while labels depend on what the model says as they did: it sees answers that get less sure, and never that the same
answers have become wrong.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.quality import ACCURACY, AUC, F1
from driftloop.services.detector.rows.values import Rows

SPLITS, TESTED = 10, 0.1
"""Splits of the cross-validation, and the share of rows that each tests on."""
SEED = 42
BINS = 10
SEPARATED = 0.999
"""Area below the ROC curve from which on probabilities are taken as they are."""

Places = NDArray[np.int64]


@dataclass(frozen=True)
class IsotonicCurve:
    """A function that never falls, linear between its points, and level beyond them."""

    scores: Rows
    values: Rows

    @classmethod
    def fit(cls, scores: Rows, hits: Rows) -> "IsotonicCurve":
        """Return the curve with the least squared distance from the hits (0 or 1)."""
        points, places = np.unique(scores, return_inverse=True)
        weights = np.bincount(places).astype(np.float64)
        means = np.bincount(places, weights=hits) / weights
        return cls(points, _pool_violators(means, weights))

    def calibrate(self, scores: Rows) -> Rows:
        """Return the values of the curve."""
        return np.interp(scores, self.scores, self.values)


def _pool_violators(means: Rows, weights: Rows) -> Rows:
    """Return the closest values that never fall: neighbours that do are pooled."""
    pooled: list[tuple[float, float, int]] = []
    for mean, weight in zip(means.tolist(), weights.tolist(), strict=True):
        now, mass, count = mean, weight, 1
        while pooled and pooled[-1][0] >= now:
            before, heavy, more = pooled.pop()
            now = (before * heavy + now * mass) / (heavy + mass)
            mass, count = mass + heavy, count + more
        pooled.append((now, mass, count))
    return np.repeat([value for value, _, _ in pooled], [count for _, _, count in pooled])


@dataclass(frozen=True)
class ChanceCalibration:
    """Meaning of probabilities of classes, learnt from labelled ones."""

    curves: tuple[IsotonicCurve | None, ...]
    """Of each class; of two only the second's. None: they are taken as they are."""

    @classmethod
    def fit(cls, chances: Rows, labels: Places) -> "ChanceCalibration":
        """Learn from probabilities (n x classes) and the places of the labels (n)."""
        return cls(
            tuple(
                _fit_curve(chances[:, place], (labels == place).astype(np.float64))
                for place in _list_places(chances.shape[1])
            )
        )

    def calibrate(self, chances: Rows) -> Rows:
        """Return calibrated probabilities (n x classes)."""
        classes = chances.shape[1]
        columns = [
            chances[:, place] if curve is None else curve.calibrate(chances[:, place])
            for place, curve in zip(_list_places(classes), self.curves, strict=True)
        ]
        if classes == 2:
            return np.stack([1 - columns[0], columns[0]], axis=1)
        calibrated = np.stack(columns, axis=1)
        sums = calibrated.sum(axis=1, keepdims=True)
        even = np.full_like(calibrated, 1 / classes)
        shared: Rows = np.divide(calibrated, sums, out=even, where=sums != 0)
        return shared


def _list_places(classes: int) -> tuple[int, ...]:
    return (1,) if classes == 2 else tuple(range(classes))


def _fit_curve(scores: Rows, hits: Rows) -> IsotonicCurve | None:
    return IsotonicCurve.fit(scores, hits) if needs_calibration(scores, hits) else None


def needs_calibration(scores: Rows, hits: Rows) -> bool:
    """Return True when the calibration error of rows that were held out, in ten bins of as many rows, is smaller with
    a curve than without."""
    right = int(hits.sum())
    if min(right, len(hits) - right) < 2 or measure_area(scores, hits) > SEPARATED:
        return False
    plain, curved, truth = [], [], []
    for train, test in _split_rows(hits.astype(np.int64)):
        plain.append(scores[test])
        curved.append(IsotonicCurve.fit(scores[train], hits[train]).calibrate(scores[test]))
        truth.append(hits[test])
    known = np.concatenate(truth)
    if len(known) < 4:
        return False
    before, after = (_measure_error(np.concatenate(each), known) for each in (plain, curved))
    return before > after


def _measure_error(scores: Rows, hits: Rows) -> float:
    """Return the expected calibration error, in bins of as many rows."""
    order = np.argsort(scores)
    bins = BINS if len(scores) > 2 * BINS else len(scores) // 2
    edges = np.arange(0, len(scores) + 1, len(scores) // bins)
    edges[-1] = len(scores)
    gaps = np.add.reduceat((scores - hits)[order], edges[:-1])
    return float(np.abs(gaps).sum() / len(scores))


def _split_rows(classes: Places) -> Iterator[tuple[Places, Places]]:
    """Yield rows to learn from and to test on, with as many of either class as all have.

    The draws are those of scikit-learn's StratifiedShuffleSplit, by which NannyML decides whether to calibrate.
    """
    random = np.random.RandomState(SEED)
    counts = np.bincount(classes)
    members = np.split(np.argsort(classes, kind="stable"), np.cumsum(counts)[:-1])
    tested = math.ceil(TESTED * len(classes))
    for _ in range(SPLITS):
        learnt = _share_draws(counts, len(classes) - tested, random)
        held = _share_draws(counts - learnt, tested, random)
        train, test = [], []
        for own, first, more in zip(members, learnt, held, strict=True):
            order = own[random.permutation(len(own))]
            train.append(order[:first])
            test.append(order[first : first + more])
        yield (
            random.permutation(np.concatenate(train)),
            random.permutation(np.concatenate(test)),
        )


def _share_draws(counts: Places, draws: int, random: np.random.RandomState) -> Places:
    """Return how many of so many draws each class gets; what is left over is drawn, the largest fractions first."""
    exact = counts / counts.sum() * draws
    shares = np.floor(exact)
    missing = int(draws - shares.sum())
    fractions = exact - shares
    for fraction in np.sort(np.unique(fractions))[::-1] if missing else ():
        (equal,) = np.where(fractions == fraction)
        chosen = random.choice(equal, size=min(len(equal), missing), replace=False)
        shares[chosen] += 1
        missing -= len(chosen)
        if not missing:
            break
    whole: Places = shares.astype(np.int64)
    return whole


def expect_quality(calibrated: Rows, chances: Rows) -> dict[str, float]:
    """Return the expected accuracy, mean F1 of all classes and mean area below their ROC curves of answers with these
    calibrated probabilities; the area is left out where a class is not expected, or nothing else is."""
    figures = {ACCURACY: float(expect_right(calibrated, chances).mean())}
    figures[F1] = float(expect_f1(calibrated, chances).mean())
    areas = [
        measure_area(chances[:, place], calibrated[:, place])
        for place in _list_places(chances.shape[1])
    ]
    area = float(np.mean(areas))
    if math.isfinite(area):
        figures[AUC] = area
    return figures


def expect_right(calibrated: Rows, chances: Rows) -> Rows:
    """Return the chance of each answer, the class with the largest probability, to be right."""
    chosen: Rows = calibrated[np.arange(len(chances)), chances.argmax(axis=1)]
    return chosen


def expect_f1(calibrated: Rows, chances: Rows) -> Rows:
    """Return the expected F1 of each class."""
    said = chances.argmax(axis=1)[:, None] == np.arange(chances.shape[1])
    both = np.where(said, calibrated, 0.0).sum(axis=0)
    wrong = np.where(said, 1 - calibrated, calibrated).sum(axis=0)
    whole = both + wrong / 2
    scores: Rows = np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)
    return scores


def measure_area(scores: Rows, hits: Rows) -> float:
    """Return the area below the ROC curve of scores whose rows are hits, or with a chance to be one; NaN when none is,
    or all are."""
    points, places = np.unique(-scores, return_inverse=True)
    positive = np.concatenate([[0.0], np.cumsum(np.bincount(places, weights=hits))])
    negative = np.concatenate([[0.0], np.cumsum(np.bincount(places, weights=1 - hits))])
    if not len(points) or positive[-1] <= 0 or negative[-1] <= 0:
        return math.nan
    heights = (positive[1:] + positive[:-1]) / 2
    return float((np.diff(negative) * heights).sum() / (positive[-1] * negative[-1]))
