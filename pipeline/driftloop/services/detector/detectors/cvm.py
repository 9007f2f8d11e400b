"""Cramér-von Mises, feature by feature: like Kolmogorov-Smirnov, with more weight on the whole
shape than on one gap.

Rows are n x features, finite numbers in any unit (Anderson, "On the distribution of the two-sample Cramér-von
Mises criterion", 1962).
"""

import numpy as np

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors import WindowVerdict, drift
from driftloop.services.detector.detectors.alibi import load_class
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.detectors.statistics import SortedSample, measure_gaps
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.values import Rows

MOST_TIES = 0.002
"""Pairs of rows with the same value, as a share of all; with more, clean windows alarm several times as
often as stated, and with 0.03 all of them."""


class CramerVonMisesDetector:
    """alibi-detect's CVMDrift. The score is the smallest p-value; the threshold is `alarmRate` /
    features, less what all windows of a release share (`statistics.correct_sharing`).

    The test's p-values are right for values that do not repeat; a column whose values do is refused.
    """

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        for name, column in zip(profile.names, reference.T, strict=True):
            _refuse_ties(name, column)
        self._detector = load_class("cd.cvm", "CVMDrift")(
            reference, p_val=config.alarm_rate, correction="bonferroni"
        )
        self._least = config.at_least
        self._temper = drift.build_temper(calibration, config, profile)
        self._samples = [SortedSample.from_sorted(np.sort(column)) for column in reference.T]

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        columns = [np.sort(column) for column in rows.T]
        distances = measure_gaps(list(zip(self._samples, columns, strict=True)))
        return drift.read_verdict(self._detector, rows, distances, self._least, self._temper)


def _refuse_ties(name: str, column: Rows) -> None:
    values, counts = np.unique(column, return_counts=True)
    ties = float((counts * (counts - 1)).sum() / (len(column) * (len(column) - 1)))
    if ties > MOST_TIES:
        common = int(counts.argmax())
        raise FitError(
            f"column `{name}` has {len(values)} different values in {len(column)} rows, `{values[common]:g}` in "
            f"{counts[common] / len(column):.0%}: cvm takes values that hardly repeat, and would alarm on clean windows",
            hint="use `tabular`, or leave the column out of `data.features`",
        )
