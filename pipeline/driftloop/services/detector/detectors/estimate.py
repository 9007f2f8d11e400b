"""Quality that answers are expected to have before their labels come (`chances`), against that of the held-out rows.

Each answer has a chance to be wrong. The chances of a window are tested against those of the answers to held-out rows by
their ranks, for a loss only, as absolute errors are (`losses.ErrorTest`). A loss of the estimated accuracy below `atLeast` is
no alarm.

Rows are labelled answers (`rows.labelled`), of a window without their labels.
"""

import math
from dataclasses import dataclass

import numpy as np

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.contract.quality import ACCURACY, ESTIMATE, EstimatedQuality
from driftloop.contract.verdicts import ColumnChange
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.chances import (
    ChanceCalibration,
    expect_quality,
    expect_right,
)
from driftloop.services.detector.detectors.losses import ErrorTest
from driftloop.services.detector.detectors.statistics import correct_sharing
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.labelled import COLUMNS, count_chances
from driftloop.services.detector.rows.values import Rows

LEAST = 50
"""Labelled rows that chances are learnt from."""


@dataclass(frozen=True)
class ChanceEstimator:
    """Estimates how good answers are from their probabilities of classes."""

    calibration: ChanceCalibration
    heldout: Rows
    """Chance of each held-out row's answer to be right."""
    figures: dict[str, float]
    """Estimates of the held-out rows."""
    spread: float
    """Standard deviation of whether one held-out row's answer is right."""
    classes: int

    @classmethod
    def fit(cls, reference: Rows, profile: TableProfile) -> "ChanceEstimator":
        """Learn from labelled answers; FitError for too few of them."""
        if len(reference) < LEAST:
            raise FitError(
                f"an estimate has {len(reference)} labelled reference rows, must be at least {LEAST}",
                hint="hold more rows out with `data.heldout`",
            )
        classes = count_chances(profile)
        chances = _choose_chances(reference, classes)
        calibration = ChanceCalibration.fit(chances, reference[:, 2].astype(np.int64))
        calibrated = calibration.calibrate(chances)
        return cls(
            calibration,
            expect_right(calibrated, chances),
            expect_quality(calibrated, chances),
            float(reference[:, 0].std()),
            classes,
        )

    def estimate_right(self, rows: Rows) -> Rows:
        """Return the chance of each answer to be right."""
        chances = _choose_chances(rows, self.classes)
        return expect_right(self.calibration.calibrate(chances), chances)

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


class EstimateDetector:
    """Tests the chances of a window's answers to be right against those of held-out rows."""

    def __init__(self, config: DetectorSettings, reference: Rows, profile: TableProfile) -> None:
        self._least = config.at_least or 0.0
        self._threshold = -math.log10(config.alarm_rate)
        self._rate = config.alarm_rate
        self._rows = len(reference)
        self._estimator = ChanceEstimator.fit(reference, profile)
        self._test = ErrorTest(1 - self._estimator.heldout[:, None])

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        estimate = self._estimator.describe_rows(rows)
        wrong = 1 - self._estimator.estimate_right(rows)
        before, after = estimate.figures[ACCURACY]
        # a test of one side at this rate is one side of a test of both at twice the rate
        shared = correct_sharing(min(2 * self._rate, 0.5), 1, len(rows), self._rows)
        loss = self._test.measure_loss(wrong[:, None])
        score = max(0.0, loss.score - shared) if after < before else 0.0
        certain = score >= self._threshold
        alarm = certain and before - after >= self._least
        change = ColumnChange(
            column="estimated accuracy",
            type="number",
            kind="estimate",
            before=before,
            after=after,
            effect=before - after,
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
