"""Mahalanobis distance: rows far from the reference, measured along its own principal
directions."""

import copy

import numpy as np

from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import WindowVerdict, outliers
from driftloop.services.detector.detectors.alibi import load_class
from driftloop.services.detector.values import Rows

COMPONENTS = 10


class MahalanobisDistance:
    """alibi-detect's Mahalanobis. The score of a window is its share of outliers.

    alibi-detect moves the mean and covariance with every batch it scores, drifting along with
    the traffic. Here each window is judged by a copy of what the reference taught, so the same
    rows always get the same judgement.
    """

    def __init__(self, config: DetectorSettings, reference: Rows) -> None:
        self._config = config
        fit, calibration = outliers.split_reference(config, reference)
        components = min(COMPONENTS, reference.shape[1])
        self._taught = load_class("od.mahalanobis", "Mahalanobis")(
            threshold=0.0, n_components=components
        )
        self._taught.score(fit.astype(np.float64))
        self._threshold = outliers.RowThreshold.from_scores(self._score_rows(calibration))

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        return outliers.make_verdict(self._config, self._threshold, self._score_rows, rows)

    def _score_rows(self, rows: Rows) -> outliers.Scores:
        scores: outliers.Scores = copy.deepcopy(self._taught).score(rows.astype(np.float64))
        return scores
