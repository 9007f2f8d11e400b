"""Features of rows that show how columns go together: functions of single columns, and products of two.

* number, text: its normal score (of a text the length's), which is the same in any unit and on any scale,
  and the score's cosine, which shows spread and dependences that are no correlation;
* boolean, category, missing values: as `encoding` has them.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors.encoding import TableEncoder
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.values import Rows

MOST_SINGLE = 64
"""Functions of single columns; their products are 2016."""
FEW_LEVELS = 3
"""Different values up to which a column has neither scores nor a cosine, but its values."""
FARTHEST = 50
"""Spreads from the mean beyond which these values are taken for alike."""
MOST_KNOTS = 500
COSINE = math.exp(-2)
COSINE_SPREAD = math.sqrt((1 + math.exp(-8)) / 2 - math.exp(-4))
"""Mean and spread of cos(2 z) of a normal variable."""

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Feature:
    """Functions of single columns that a feature is of: one, or the product of two."""

    singles: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class NormalScores:
    """The quantile function of a column, as a normal variable would have its values."""

    knots: Rows
    scores: Rows

    @classmethod
    def from_values(cls, values: Rows) -> "NormalScores":
        """Learn from values, NaN for missing ones."""
        present = np.sort(values[~np.isnan(values)])
        if not len(present):
            return cls(np.zeros(1), np.zeros(1))
        knots, first, counts = np.unique(present, return_index=True, return_counts=True)
        shares = (first + counts / 2) / len(present)
        kept = np.unique(np.linspace(0, len(knots) - 1, MOST_KNOTS).astype(int))
        normal = NormalDist()
        return cls(knots[kept], np.array([normal.inv_cdf(float(s)) for s in shares[kept]]))

    def score_values(self, values: Rows) -> Rows:
        """Return the scores; those beyond the values that were learnt from are the outermost."""
        return np.where(np.isnan(values), np.nan, np.interp(values, self.knots, self.scores))


class PairFeatures:
    """Computes the features of rows, as learnt from some rows."""

    def __init__(self, profile: TableProfile, rows: Rows) -> None:
        """Learn from rows (n x columns); FitError when they have too many features."""
        types = [column.type for column in profile.columns]
        learnt = {
            n: NormalScores.from_values(rows[:, n])
            for n, type_ in enumerate(types)
            if type_ in ("number", "text")
        }
        self._scores = {n: s for n, s in learnt.items() if len(s.knots) > FEW_LEVELS}
        scored = self._score_rows(rows)
        self._encoder = TableEncoder(profile, scored)
        many = list(self._scores)
        varying = self._encoder.owners[self._encoder.varying]
        room = MOST_SINGLE - len(varying)
        self._cosines = np.array(many if len(many) <= room else [], dtype=np.int64)
        owners = np.concatenate([varying, self._cosines])
        if len(owners) > MOST_SINGLE:
            raise FitError(
                f"mmd looks at pairs of columns: {len(types)} columns have {len(owners)} features, must be at "
                f"most {MOST_SINGLE}",
                hint="list the columns that belong together in `data.features`, or use `tabular`, which takes any number",
            )
        self._constant = self._encoder.owners[self._encoder.constant]
        self._owners = owners
        one, other = np.triu_indices(len(owners), 1)
        apart = owners[one] != owners[other]
        self._pairs = one[apart], other[apart]
        self.width = len(owners) + len(self._constant) + len(self._pairs[0])

    def _score_rows(self, rows: Rows) -> Rows:
        scored = rows.copy()
        for column, scores in self._scores.items():
            scored[:, column] = scores.score_values(rows[:, column])
        return scored

    def _compute_singles(self, rows: Rows) -> tuple[Rows, NDArray[np.bool_]]:
        scored = self._score_rows(rows)
        singles, differs = self._encoder.encode_rows(scored)
        values = scored[:, self._cosines]
        cosines = np.where(np.isnan(values), 0.0, (np.cos(2 * values) - COSINE) / COSINE_SPREAD)
        singles = np.clip(singles, -FARTHEST, FARTHEST)
        return np.concatenate([singles, cosines], axis=1), differs

    def compute_rows(self, rows: Rows) -> Features:
        """Return the features (n x width)."""
        singles, differs = self._compute_singles(rows)
        one, other = self._pairs
        small = singles.astype(np.float32)
        return np.concatenate(
            [small, differs.astype(np.float32), small[:, one] * small[:, other]], axis=1
        )

    def describe_feature(self, number: int) -> Feature:
        """Return which feature it is."""
        count, constant = len(self._owners), len(self._constant)
        if number < count:
            return Feature((number,), (int(self._owners[number]),))
        if number < count + constant:
            return Feature((), (int(self._constant[number - count]),))
        one, other = (int(pair[number - count - constant]) for pair in self._pairs)
        return Feature((one, other), (int(self._owners[one]), int(self._owners[other])))

    def correlate_rows(self, feature: Feature, rows: Rows) -> float:
        """Return the correlation of the two functions that a feature is the product of."""
        singles = self._compute_singles(rows)[0][:, list(feature.singles)]
        spread = singles.std(axis=0)
        if not spread.all():
            return 0.0
        return float(((singles - singles.mean(axis=0)) / spread).prod(axis=1).mean())
