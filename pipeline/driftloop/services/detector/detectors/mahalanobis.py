"""Mahalanobis distance: rows that are far from the reference, measured by its spread and its correlations.

The distance is that of standardised features (`encoding`) by their correlation matrix, shrunk towards no
correlation as far as so few rows ask for (Ledoit and Wolf, "A well-conditioned estimator for
large-dimensional covariance matrices", 2004). So it exists for columns that sum to 1, that repeat each
other, or that are more than the rows. It is learnt once; no window moves it.

A row's distance is the sum of its columns' parts: the squares of the features after the whitening that
changes them least, by the symmetric root of the inverse (Garthwaite and Koch, "Evaluating the
contributions of individual variables to a quadratic form", 2016).

Rows are n x columns of any type and unit. A distance is squared, in spreads of the training data: about as large
as there are features for a row like those.
"""

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors import WindowVerdict, outliers
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.detectors.encoding import TableEncoder
from driftloop.services.detector.rows.values import Rows

LEAST_SHRINKAGE = 1e-6
"""Keeps the matrix from being singular where the estimate is 0."""
CHUNK = 2_000_000
"""Numbers that are computed with at once."""


class MahalanobisDistance:
    """The score of a window is its share of outliers; a row's is its squared distance."""

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        fit, rest = outliers.split_reference(config, reference)
        self._encoder = TableEncoder(profile, fit)
        self._whitening = Whitening(self._encoder.encode_rows(fit)[0])
        self._judge = outliers.OutlierJudge(
            config,
            reference,
            profile,
            rest,
            order=calibration,
            score=self._score_rows,
            split=self.split_scores,
        )

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        return self._judge.judge_window(rows)

    def split_scores(self, rows: Rows) -> Rows:
        """Return the part of each column (n x columns) in the score of each row."""
        distances, differs = self._encoder.encode_rows(rows)
        squares = self._whitening.whiten_rows(distances) ** 2
        return self._encoder.sum_columns(squares, differs.astype(np.float64) * self._encoder.rows)

    def _score_rows(self, rows: Rows) -> Rows:
        step = max(1, CHUNK // len(self._encoder.owners))
        parts = [self._score_part(rows[n : n + step]) for n in range(0, len(rows), step)]
        return np.concatenate(parts)

    def _score_part(self, rows: Rows) -> Rows:
        distances, differs = self._encoder.encode_rows(rows)
        squares = self._whitening.whiten_rows(distances) ** 2
        scores: Rows = squares.sum(axis=1) + differs.sum(axis=1) * float(self._encoder.rows)
        return scores


class Whitening:
    """The symmetric root of the inverse of a shrunk correlation matrix, as it changes the principal axes
    and, by one factor, all that is not along one."""

    def __init__(self, rows: Rows) -> None:
        """Learn from standardised rows (n x features)."""
        self.shrinkage = max(LEAST_SHRINKAGE, estimate_shrinkage(rows))
        variances, self._axes = _find_axes(rows)
        self._rest = 1 / np.sqrt(self.shrinkage)
        roots = np.sqrt((1 - self.shrinkage) * variances + self.shrinkage)
        self._changes = 1 / roots - self._rest

    def whiten_rows(self, rows: Rows) -> Rows:
        """Return rows without correlation, of the same features."""
        along = (rows @ self._axes) * self._changes
        whitened: Rows = rows * self._rest + along @ self._axes.T
        return whitened


def estimate_shrinkage(rows: Rows) -> float:
    """Return the weight of the identity in Ledoit and Wolf's estimate for centred rows (n x features)."""
    count, width = rows.shape
    if not width:
        return 1.0
    squares = (rows**2).sum(axis=1)
    mean = float(squares.sum()) / (count * width)
    products = rows.T @ rows if width <= count else rows @ rows.T
    square = float((products**2).sum()) / count**2
    noise = (float((squares**2).sum()) / count - square) / (count * width)
    distance = square / width - mean**2
    return 1.0 if distance <= 0 else max(0.0, min(noise, distance) / distance)


def _find_axes(rows: Rows) -> tuple[NDArray[np.float64], Rows]:
    """Return the variances along the principal axes, and these (features x axes)."""
    count, width = rows.shape
    if width <= count:
        variances, axes = np.linalg.eigh(rows.T @ rows / count)
        return np.maximum(variances, 0.0), axes
    variances, sides = np.linalg.eigh(rows @ rows.T / count)
    kept = variances > 1e-10 * variances.max(initial=0.0)
    variances, sides = variances[kept], sides[:, kept]
    return variances, rows.T @ sides / np.sqrt(count * variances)
