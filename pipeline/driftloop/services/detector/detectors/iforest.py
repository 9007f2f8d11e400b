"""Isolation forest: rows that few random cuts separate from the rest."""

import contextlib
import logging

from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import WindowVerdict, outliers
from driftloop.services.detector.detectors.alibi import load_class
from driftloop.services.detector.values import Rows


class IsolationForestDetector:
    """alibi-detect's IForest, 100 trees. The score of a window is its share of outliers."""

    def __init__(self, config: DetectorSettings, reference: Rows) -> None:
        self._config = config
        fit, calibration = outliers.split_reference(config, reference)
        with _silence_warnings():
            self._detector = load_class("od.isolationforest", "IForest")(n_estimators=100)
        # alibi-detect does not pass a seed on, and without one no two fits agree
        self._detector.isolationforest.set_params(random_state=config.seed)
        self._detector.fit(fit)
        self._threshold = outliers.RowThreshold.from_scores(self._detector.score(calibration))

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        return outliers.make_verdict(self._config, self._threshold, self._detector.score, rows)


@contextlib.contextmanager
def _silence_warnings():  # type: ignore[no-untyped-def]
    """Without the warning that no threshold is set: it is computed right after."""
    logger = logging.getLogger("alibi_detect.od.isolationforest")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
