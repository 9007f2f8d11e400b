"""Isolation forest: rows that few random cuts separate from the rest."""

import contextlib
import logging

from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import Judgement, outliers
from driftloop.services.detector.detectors.alibi import load
from driftloop.services.detector.payload import Rows


class IsolationForest:
    """alibi-detect's IForest, 100 trees. The score of a window is its share of outliers."""

    def __init__(self, config: DetectorSettings, reference: Rows) -> None:
        self._config = config
        fit, calibration = outliers.split(config, reference)
        with _quiet():
            self._detector = load("od.isolationforest", "IForest")(n_estimators=100)
        # alibi-detect does not pass a seed on, and without one no two fits agree
        self._detector.isolationforest.set_params(random_state=config.seed)
        self._detector.fit(fit)
        self._threshold = outliers.Threshold.of(self._detector.score(calibration))

    def judge(self, rows: Rows) -> Judgement:
        """Judge a window."""
        return outliers.judgement(self._config, self._threshold, self._detector.score, rows)


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """Without the warning that no threshold is set: it is computed right after."""
    logger = logging.getLogger("alibi_detect.od.isolationforest")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
