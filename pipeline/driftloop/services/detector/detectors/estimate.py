"""Quality that answers are expected to have before their labels come, against that of the held-out rows.

Each answer that is probabilities of classes has a chance to be wrong (`chances`), each that is a number an expected error
(`expected_errors`). Those of a window are tested against those of the answers to held-out rows by their ranks, for a loss only,
as absolute errors are (`losses.ErrorTest`). A loss below `atLeast` is no alarm: of the estimated accuracy; of numbers, how
much oftener than in half of all cases an error is expected to be larger than one of the held-out rows.

Rows are labelled answers (`rows.labelled`), of a window without their labels.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.contract.quality import ACCURACY, ESTIMATE, MAE, EstimatedQuality, EstimateMethod
from driftloop.contract.verdicts import ColumnChange
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.chances import (
    ChanceCalibration,
    expect_quality,
    expect_right,
)
from driftloop.services.detector.detectors.expected_errors import (
    ErrorModel,
    expect_heldout,
    measure_errors,
)
from driftloop.services.detector.detectors.losses import ErrorTest
from driftloop.services.detector.detectors.statistics import correct_sharing
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.labelled import COLUMNS, count_chances, find_inputs
from driftloop.services.detector.rows.values import Rows

LEAST = 50
"""Labelled rows that chances, or errors, are learnt from."""
MEASURES: dict[EstimateMethod, tuple[str, str]] = {
    "cbpe": (ACCURACY, "estimated accuracy"),
    "dle": (MAE, "estimated absolute error"),
}
"""The figure that is tested, and what it is called."""


class QualityEstimator(Protocol):
    """Interface of both ways to estimate."""

    @property
    def heldout(self) -> Rows:
        """How wrong the answer to each held-out row is expected to be."""
        ...

    def estimate_wrong(self, rows: Rows) -> Rows:
        """Return how wrong each answer is expected to be."""
        ...

    def describe_rows(self, rows: Rows) -> EstimatedQuality | None:
        """Return the estimates of rows beside those of the held-out rows; None when nothing of them can be
        estimated."""
        ...


def find_estimator(
    config: DetectorSettings, reference: Rows, profile: TableProfile
) -> QualityEstimator | None:
    """Return the estimator of labelled answers; None where none is asked for, or these have nothing to estimate
    from."""
    if config.by is None or len(reference) < LEAST:
        return None
    if config.by == "dle":
        return ErrorEstimator.fit(reference, profile, config.seed) if profile.inputs else None
    return ChanceEstimator.fit(reference, profile) if count_chances(profile) else None


@dataclass(frozen=True)
class ChanceEstimator:
    """Estimates how good answers are from their probabilities of classes."""

    calibration: ChanceCalibration
    heldout: Rows
    """Chance of each held-out row's answer to be wrong."""
    figures: dict[str, float]
    """Estimates of the held-out rows."""
    spread: float
    """Standard deviation of whether one held-out row's answer is right."""
    classes: int

    @classmethod
    def fit(cls, reference: Rows, profile: TableProfile) -> "ChanceEstimator":
        """Learn from labelled answers."""
        classes = count_chances(profile)
        chances = _choose_chances(reference, classes)
        calibration = ChanceCalibration.fit(chances, reference[:, 2].astype(np.int64))
        calibrated = calibration.calibrate(chances)
        return cls(
            calibration,
            1 - expect_right(calibrated, chances),
            expect_quality(calibrated, chances),
            float(reference[:, 0].std()),
            classes,
        )

    def estimate_wrong(self, rows: Rows) -> Rows:
        """Return the chance of each answer to be wrong."""
        chances = _choose_chances(rows, self.classes)
        wrong: Rows = 1 - expect_right(self.calibration.calibrate(chances), chances)
        return wrong

    def describe_rows(self, rows: Rows) -> EstimatedQuality:
        """Return the estimates of rows beside those of the held-out rows."""
        chances = _choose_chances(rows, self.classes)
        after = expect_quality(self.calibration.calibrate(chances), chances)
        return EstimatedQuality(
            by="cbpe",
            rows=len(rows),
            figures={
                name: (before, after[name])
                for name, before in self.figures.items()
                if name in after
            },
            error=self.spread / math.sqrt(len(rows)),
        )


def _choose_chances(rows: Rows, classes: int) -> Rows:
    return rows[:, COLUMNS : COLUMNS + classes]


@dataclass(frozen=True)
class ErrorEstimator:
    """Estimates the errors of answers that are numbers from the requests and the answers."""

    model: ErrorModel
    heldout: Rows
    """Error expected of each held-out row's answer."""
    figures: dict[str, float]
    """Those of the held-out rows' errors."""
    spread: float
    """Standard deviation of one of them."""
    inputs: slice
    """Columns of the request."""

    @classmethod
    def fit(cls, reference: Rows, profile: TableProfile, seed: int) -> "ErrorEstimator":
        """Learn from labelled answers."""
        inputs = find_inputs(profile)
        errors = reference[:, 0]
        seen = _choose_inputs(reference, inputs)
        return cls(
            ErrorModel.fit(seen, errors),
            expect_heldout(seen, errors, seed),
            measure_errors(errors, errors**2),
            float(errors.std()),
            inputs,
        )

    def estimate_wrong(self, rows: Rows) -> Rows:
        """Return the error expected of each answer."""
        return self.model.expect_errors(_choose_inputs(rows, self.inputs)).absolute

    def describe_rows(self, rows: Rows) -> EstimatedQuality | None:
        """Return the estimates of rows whose requests are known beside those of the held-out rows."""
        known = rows[~np.isnan(rows[:, self.inputs]).all(axis=1)]
        if not len(known):
            return None
        after = self.model.expect_errors(_choose_inputs(known, self.inputs)).figures
        return EstimatedQuality(
            by="dle",
            rows=len(known),
            figures={name: (before, after[name]) for name, before in self.figures.items()},
            error=self.spread / math.sqrt(len(known)),
        )


def _choose_inputs(rows: Rows, inputs: slice) -> Rows:
    """Return what errors are estimated from: the columns of the request, and the answer."""
    return np.concatenate([rows[:, inputs], rows[:, 1:2]], axis=1)


class EstimateDetector:
    """Tests how wrong a window's answers are expected to be against the answers to held-out rows."""

    def __init__(self, config: DetectorSettings, reference: Rows, profile: TableProfile) -> None:
        self._least = config.at_least or 0.0
        self._threshold = -math.log10(config.alarm_rate)
        self._rate = config.alarm_rate
        self._rows = len(reference)
        self._by: EstimateMethod = config.by or "cbpe"
        if len(reference) < LEAST:
            raise FitError(
                f"an estimate has {len(reference)} labelled reference rows, must be at least {LEAST}",
                hint="hold more rows out with `data.heldout`",
            )
        estimator = find_estimator(config, reference, profile)
        if estimator is None:
            raise FitError(
                f"the labelled answers have nothing that `{self._by}` estimates from",
                hint="train anew: they were learnt for another monitor",
            )
        self._estimator = estimator
        self._test = ErrorTest(estimator.heldout[:, None])
        self.hardest = reference[int(estimator.estimate_wrong(reference).argmax())]
        """The held-out row whose answer is expected to be the worst."""

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        estimate = self._estimator.describe_rows(rows)
        if estimate is None:
            return WindowVerdict(alarm=False, score=0.0, threshold=self._threshold)
        figure, called = MEASURES[self._by]
        before, after = estimate.figures[figure]
        loss = self._test.measure_loss(self._estimator.estimate_wrong(rows)[:, None])
        effect = loss.effect if self._by == "dle" else before - after
        # a test of one side at this rate is one side of a test of both at twice the rate
        shared = correct_sharing(min(2 * self._rate, 0.5), 1, len(rows), self._rows)
        score = max(0.0, loss.score - shared) if effect > 0 else 0.0
        certain = score >= self._threshold
        alarm = certain and effect >= self._least
        change = ColumnChange(
            column=called,
            of="mean" if self._by == "dle" else "",
            type="number",
            kind="estimate",
            before=before,
            after=after,
            effect=effect,
            score=score,
            alarm=alarm,
            at_least=self._least if certain and not alarm else None,
            rows=len(rows),
        )
        return WindowVerdict(
            alarm=alarm,
            score=score,
            threshold=self._threshold,
            details={
                "columns": [to_json(change)],
                "changed": int(alarm),
                "small": int(certain and not alarm),
                ESTIMATE: to_json(estimate),
            },
        )
