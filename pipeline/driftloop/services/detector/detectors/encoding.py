"""Rows of a typed table as numbers alone, for detectors that look at whole rows.

Each column becomes one feature or several:

* number, boolean, text: its number (of a text the length); the median where there is none;
* category: 1 or 0 for each of its commonest categories, and for all others together, new ones too;
* every column: 1 where the value is missing.

A feature that never varies in the rows that are learnt from is kept apart: a row that differs there is
unlike any, by as much as one row in so many can be (z = sqrt(n)), in whatever unit the column is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.rows.values import Rows

MOST_LEVELS = 20
"""Categories of a column with a feature of their own, the commonest."""
LEAST_SHARE = 0.01
LEAST_ROWS = 5
"""Rows that such a category has; with fewer a correlation can't be learnt."""
FARTHEST = 1e8
"""Spreads from the mean beyond which values are taken for alike."""

Owners = NDArray[np.int64]


@dataclass(frozen=True)
class CategoryLevels:
    """The categories of a column that have a feature of their own."""

    column: int
    codes: Rows

    def encode_values(self, values: Rows) -> Rows:
        """Return the features (n x levels + 1) of the column's values, the last for all others."""
        hits = values[:, None] == self.codes[None, :]
        other = ~np.isnan(values) & ~hits.any(axis=1)
        return np.concatenate([hits, other[:, None]], axis=1).astype(np.float64)


class TableEncoder:
    """Turns rows into standardised features, as it learnt from some rows."""

    def __init__(self, profile: TableProfile, rows: Rows) -> None:
        """Learn from rows (n x columns)."""
        types = [column.type for column in profile.columns]
        plain = [n for n, type_ in enumerate(types) if type_ in ("number", "boolean", "text")]
        self._plain = np.array(plain, dtype=np.int64)
        self._fill = np.array([_find_median(rows[:, n]) for n in plain])
        self._categories = [
            CategoryLevels(n, _choose_levels(rows[:, n]))
            for n, type_ in enumerate(types)
            if type_ == "category"
        ]
        self.owners = self._find_owners(len(types))
        features = self._encode_raw(rows)
        self._unit = np.maximum(np.abs(features).max(axis=0), np.finfo(np.float64).tiny)
        features = features / self._unit
        self._mean, spread = features.mean(axis=0), features.std(axis=0)
        constant = spread <= 1e-12 * np.abs(self._mean)
        self.varying = np.flatnonzero(~constant)
        """Features that vary."""
        self.constant = np.flatnonzero(constant)
        self._spread = spread[self.varying]
        self.rows = len(rows)

    def _find_owners(self, columns: int) -> Owners:
        """Return the column of each feature."""
        levels = [np.full(len(c.codes) + 1, c.column) for c in self._categories]
        parts: Sequence[Owners] = (self._plain, *levels, np.arange(columns))
        return np.concatenate(parts).astype(np.int64)

    def _encode_raw(self, rows: Rows) -> Rows:
        plain = rows[:, self._plain]
        parts = [np.where(np.isnan(plain), self._fill, plain)]
        parts += [each.encode_values(rows[:, each.column]) for each in self._categories]
        parts.append(np.isnan(rows).astype(np.float64))
        return np.concatenate(parts, axis=1)

    def encode_rows(self, rows: Rows) -> tuple[Rows, NDArray[np.bool_]]:
        """Return the features that vary, in spreads from their mean, and where a row differs in one that
        does not."""
        with np.errstate(over="ignore"):
            features = self._encode_raw(rows) / self._unit
            distances = (features[:, self.varying] - self._mean[self.varying]) / self._spread
        expected = self._mean[self.constant]
        differs = np.abs(features[:, self.constant] - expected) > 1e-9 * np.abs(expected)
        return np.clip(distances, -FARTHEST, FARTHEST), differs

    def sum_columns(self, varying: Rows, constant: Rows) -> Rows:
        """Return the sums over the features of each column (n x columns)."""
        sums = np.zeros((int(self.owners.max()) + 1, len(varying)))
        np.add.at(sums, self.owners[self.varying], varying.T)
        np.add.at(sums, self.owners[self.constant], constant.T)
        return sums.T


def _find_median(values: Rows) -> float:
    present = values[~np.isnan(values)]
    return float(np.median(present)) if len(present) else 0.0


def _choose_levels(values: Rows) -> Rows:
    present = values[~np.isnan(values)]
    codes, counts = np.unique(present, return_counts=True)
    common = counts >= max(LEAST_ROWS, LEAST_SHARE * len(present))
    codes, counts = codes[common], counts[common]
    return np.sort(codes[np.argsort(-counts, kind="stable")[:MOST_LEVELS]])
