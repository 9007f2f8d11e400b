"""Cramér-von Mises, feature by feature: like Kolmogorov-Smirnov, with more weight on the whole shape than on one
gap."""

from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import Judgement, drift
from driftloop.services.detector.detectors.alibi import load
from driftloop.services.detector.payload import Rows


class CramerVonMises:
    """alibi-detect's CVMDrift. The score is the smallest p-value; the threshold is `alarmRate` / features."""

    def __init__(self, config: DetectorSettings, reference: Rows) -> None:
        self._detector = load("cd.cvm", "CVMDrift")(reference, p_val=config.alarm_rate, correction="bonferroni")

    def judge(self, rows: Rows) -> Judgement:
        """Judge a window."""
        return drift.judgement(self._detector, rows)
