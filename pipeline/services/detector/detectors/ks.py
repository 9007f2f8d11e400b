"""Kolmogorov-Smirnov, feature by feature: has the distribution of any input changed?"""

from pipeline.services.detector.config import Config
from pipeline.services.detector.detectors import Judgement, drift
from pipeline.services.detector.detectors.alibi import load
from pipeline.services.detector.payload import Rows


class KolmogorovSmirnov:
    """alibi-detect's KSDrift. The score is the smallest p-value; the threshold is `alarmRate` / features."""

    def __init__(self, config: Config, reference: Rows) -> None:
        self._detector = load("cd.ks", "KSDrift")(reference, p_val=config.alarm_rate, correction="bonferroni")

    def judge(self, rows: Rows) -> Judgement:
        """Judge a window."""
        return drift.judgement(self._detector, rows)
