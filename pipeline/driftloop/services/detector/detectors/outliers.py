"""When a window has too many outliers.

A row is an outlier when it scores above the j-th largest of m calibration rows the detector was
not fitted on. A new row of the same kind does so with a probability that is Beta(j, m + 1 - j)
distributed, so the outliers among n rows are beta-binomial: exact, whatever the scores look
like, and honest about how little m rows can say. The window alarms when as many outliers as it
has would come up less often than `alarmRate`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.values import Rows

OUTLIER_SHARE = 0.01
"""Rows in a hundred that count as outliers although nothing is wrong."""
CALIBRATION_SHARE = 0.3
LEAST = 50

Scores = NDArray[np.float64]


def split_reference(config: DetectorSettings, reference: Rows) -> tuple[Rows, Rows]:
    """Rows to fit on and rows to calibrate on, by the seed."""
    if len(reference) < LEAST:
        raise FitError(
            f"{config.kind} has {len(reference)} reference rows, must be at least {LEAST}"
        )
    order = np.random.default_rng(config.seed).permutation(len(reference))
    cut = int(len(reference) * CALIBRATION_SHARE)
    return reference[order[cut:]], reference[order[:cut]]


@dataclass(frozen=True)
class RowThreshold:
    """The bound of a row's score, and how certain it is."""

    value: float
    rank: int
    calibration: int

    @classmethod
    def from_scores(cls, scores: Scores) -> "RowThreshold":
        """From the scores of the calibration rows."""
        rank = max(1, int(OUTLIER_SHARE * (len(scores) + 1)))
        return cls(float(np.sort(scores)[-rank]), rank, len(scores))

    def count_most(self, rows: int, alarm_rate: float) -> int:
        """The most outliers a window of this many rows may have without an alarm."""
        from scipy.stats import betabinom

        law = betabinom(rows, self.rank, self.calibration + 1 - self.rank)
        return int(law.isf(alarm_rate))


def make_verdict(
    config: DetectorSettings, threshold: RowThreshold, score: Callable[[Rows], Scores], rows: Rows
) -> WindowVerdict:
    """Score is the share of outliers, threshold the largest share that is not an alarm."""
    scores = score(rows)
    outliers = np.flatnonzero(scores > threshold.value)
    most = threshold.count_most(len(rows), config.alarm_rate)
    return WindowVerdict(
        alarm=len(outliers) > most,
        score=len(outliers) / len(rows),
        threshold=most / len(rows),
        details={
            "outliers": len(outliers),
            "rowThreshold": threshold.value,
            "highest": float(scores.max()),
        },
        outliers=tuple(int(i) for i in outliers),
    )
