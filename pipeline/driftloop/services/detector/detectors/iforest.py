"""Isolation forest: rows that few random cuts separate from the rest (Liu, Ting and Zhou, "Isolation forest",
2008).

Rows are n x columns of any type and unit, encoded and standardised first (`encoding`). A row's score is from 0
to 1, larger for fewer cuts, and 1 more for each constant that it differs in.
"""

import numpy as np

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors import WindowVerdict, outliers
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.detectors.encoding import TableEncoder
from driftloop.services.detector.rows.values import Rows
from driftloop.services.imports import pandas_left_out

TREES = 100
MOST_CALIBRATED = 5000
"""Rows that the bound of a row's score is learnt from."""
MOST_CHANGED = 20
"""Columns that are made ordinary, one after the other, to explain a window: those farthest from it."""
MOST_EXPLAINED = 100
"""Outliers that this is done with."""


class IsolationForestDetector:
    """scikit-learn's IsolationForest. The score of a window is its share of outliers.

    No cut goes through a feature that never varies: a row that differs in one (a value missing where
    none was) scores 1 more for each.
    """

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        with pandas_left_out():
            from sklearn.ensemble import IsolationForest

        fit, rest = outliers.split_reference(config, reference)
        self._encoder = TableEncoder(profile, fit)
        features, _ = self._encoder.encode_rows(fit)
        self._width = features.shape[1]
        self._ordinary = np.median(features, axis=0) if self._width else np.empty(0)
        self._forest = IsolationForest(n_estimators=TREES, random_state=config.seed)
        if self._width:
            self._forest.fit(features)
        self._judge = outliers.OutlierJudge(
            config,
            reference,
            profile,
            rest[:MOST_CALIBRATED],
            order=calibration,
            score=self._score_rows,
            split=self._split_scores,
        )

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        return self._judge.judge_window(rows)

    def _score_rows(self, rows: Rows) -> Rows:
        features, differs = self._encoder.encode_rows(rows)
        scores: Rows = self._score_features(features) + differs.sum(axis=1)
        return scores

    def _score_features(self, features: Rows) -> Rows:
        if not self._width:
            return np.zeros(len(features))
        scores: Rows = -self._forest.score_samples(features)
        return scores

    def _split_scores(self, rows: Rows) -> Rows:
        """Return how much less each of the first rows would score with an ordinary value in each column."""
        features, differs = self._encoder.encode_rows(rows[:MOST_EXPLAINED])
        parts = self._encoder.sum_columns(np.zeros_like(features), differs.astype(np.float64))
        far = self._encoder.sum_columns((features - self._ordinary) ** 2, np.zeros_like(differs))
        scores = self._score_features(features)
        owners = self._encoder.owners[self._encoder.varying]
        columns = np.argsort(-far.mean(axis=0), kind="stable")[:MOST_CHANGED]
        mended = np.concatenate(
            [np.where(owners == column, self._ordinary, features) for column in columns]
        )
        # at once: each pass through the forest takes long, however few rows it has
        less = scores - self._score_features(mended).reshape(len(columns), len(features))
        parts[:, columns] += np.maximum(less, 0.0).T
        return parts
