"""Kolmogorov-Smirnov, feature by feature: has the distribution of any input changed?

Rows are n x features, finite numbers in any unit: the test looks at their order only (Smirnov, "Table for
estimating the goodness of fit of empirical distributions", 1948).
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors import WindowVerdict, drift
from driftloop.services.detector.detectors.alibi import load_class
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.rows.values import Rows

Scores = tuple[NDArray[np.float32], NDArray[np.float32]]


class KolmogorovSmirnovDetector:
    """alibi-detect's KSDrift. The score is the smallest p-value; the threshold is `alarmRate` /
    features, less what all windows of a release share (`statistics.correct_sharing`).

    KSDrift calls scipy once per feature and sorts the reference anew each time. `feature_score`,
    the one method it leaves to subclasses, is answered here for all features at once from a
    reference sorted once: the same numbers (a test compares them), ten times sooner.
    """

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        self._detector = load_class("cd.ks", "KSDrift")(
            reference, p_val=config.alarm_rate, correction="bonferroni"
        )
        self._least = config.at_least
        self._temper = drift.build_temper(calibration, config, profile)
        self._sorted = [np.sort(column) for column in reference.T]
        self._detector.feature_score = self._feature_score

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        return drift.read_verdict(self._detector, rows, least=self._least, temper=self._temper)

    def _feature_score(self, reference: Any, rows: Rows) -> Scores:
        """Two-sided p-values (asymptotic, as KSDrift asks scipy for) and distances of each
        feature."""
        distances = np.array(
            [_measure_distance(a, np.sort(b)) for a, b in zip(self._sorted, rows.T, strict=True)]
        )
        n, m = len(self._sorted[0]), len(rows)
        large, small = max(float(n), float(m)), min(float(n), float(m))
        size = float(np.round(large * small / (large + small)))
        p_values = np.array([_p_value(float(distance), size) for distance in distances])
        return p_values.astype(np.float32), distances.astype(np.float32)


@functools.lru_cache(maxsize=65_536)
def _p_value(distance: float, size: float) -> float:
    """Distances of two samples take few different values, and scipy needs long for each."""
    from scipy.stats import distributions

    return float(np.clip(distributions.kstwo.sf(distance, size), 0, 1))


def _measure_distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest gap between two empirical distribution functions, of sorted values."""
    both = np.concatenate([one, other])
    gaps = np.searchsorted(one, both, side="right") / len(one) - np.searchsorted(
        other, both, side="right"
    ) / len(other)
    return float(np.abs(gaps).max())
