"""Cramér-von Mises, feature by feature: like Kolmogorov-Smirnov, with more weight on the whole
shape than on one gap."""

from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import WindowVerdict, drift
from driftloop.services.detector.detectors.alibi import load_class
from driftloop.services.detector.values import Rows


class CramerVonMisesDetector:
    """alibi-detect's CVMDrift. The score is the smallest p-value; the threshold is `alarmRate` /
    features."""

    def __init__(self, config: DetectorSettings, reference: Rows) -> None:
        self._detector = load_class("cd.cvm", "CVMDrift")(
            reference, p_val=config.alarm_rate, correction="bonferroni"
        )

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        return drift.read_verdict(self._detector, rows)
