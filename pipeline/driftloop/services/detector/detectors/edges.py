"""Counting the values of a window between the edges of its columns, of all columns at once.

The cells of a column with k edges are 2k + 2: missing values, then in turn the values below the first edge, at it,
between it and the second, ..., beyond the last.

Each column is divided into buckets of the same width, and a table says how many edges lie in the buckets before
each: only edges in a value's own bucket are compared with it. Rounding is the same for edges and for values, and
greater values never have lesser buckets, so that cells are exact. Columns whose edges crowd into a bucket are
searched by halving.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftloop.services.detector.rows.values import Rows

Counts = NDArray[np.int64]

BUCKETS = 32
"""Buckets of a column for each of its edges."""
CROWDED = 4
"""Edges in one bucket beyond which a column is searched by halving."""
AT_ONCE = 32_768
"""Values that are looked up at once: what is made of them stays in the processor's cache."""


class CellFinder:
    """The edges of a table's columns, each column's sorted and without repeats."""

    def __init__(self, edges: Sequence[Rows]) -> None:
        self._edges = edges
        sizes = [2 * len(each) + 2 for each in edges]
        self.heads = _find_starts(sizes)
        """First cell of each column."""
        self.size = sum(sizes)
        """Cells of all columns."""
        buckets = np.array([BUCKETS * len(each) for each in edges], dtype=np.int64)
        self._lowest = _find_starts(buckets + 1).astype(np.float64)
        self._highest = self._lowest + buckets
        self._scale, self._shift = self._divide_columns(buckets)
        # the next edge of each open cell; beyond its last edge a column has one that no value is above or at
        self._next = np.full(self.size, np.nan)
        cells, self._crowded = [], list[int]()
        for number, (head, each) in enumerate(zip(self.heads.tolist(), edges, strict=True)):
            self._next[head + 1 : head + 1 + 2 * len(each) : 2] = each
            own = self._find_buckets(each[None, :], slice(number, number + 1)).ravel()
            counts = np.bincount(
                own - int(self._lowest[number]), minlength=int(buckets[number]) + 1
            )
            open_cells = 1 + 2 * (np.cumsum(counts) - counts)
            cells.append(np.where(counts > 0, -open_cells, open_cells))
            if counts.max() > CROWDED:
                self._crowded.append(number)
        self._cells = np.concatenate(cells).astype(np.int32)
        """By bucket, the open cell of its column above the edges of the buckets before it; negative where the
        bucket has edges itself."""

    def count_rows(self, rows: Rows) -> Counts:
        """Return the rows of a window (n x columns) in each cell."""
        counts = np.empty(self.size, dtype=np.int64)
        step, width = max(1, AT_ONCE // max(1, len(rows))), rows.shape[1]
        for start in range(0, width, step):
            columns = slice(start, min(start + step, width))
            first = int(self.heads[start])
            end = self.size if columns.stop == width else int(self.heads[columns.stop])
            # column by column, since the tables of one stay in the processor's nearest cache
            values = np.ascontiguousarray(rows[:, columns].T)
            cells = self._find_cells(values, columns)
            counts[first:end] = np.bincount(cells.ravel(), minlength=end - first)
        return counts

    def _find_cells(self, values: Rows, columns: slice) -> Counts:
        """Return the cell of each value of some columns (columns x n), counted from the first one's."""
        found = self._cells[self._find_buckets(values, columns)]
        for number in self._crowded:
            if columns.start <= number < columns.stop:
                own = self._edges[number].searchsorted(values[number - columns.start])
                found[number - columns.start] = -1 - 2 * own
        near = np.flatnonzero(found < 0)
        first = self.heads[columns.start]
        heads, following = self.heads[columns, None] - first, self._next[first:]
        cells: Counts = heads + np.absolute(found, out=found)
        flat, given = cells.ravel(), values.ravel()[near]
        while len(near):
            edges = following[flat[near]]
            flat[near[edges == given]] += 1
            above = edges < given
            near, given = near[above], given[above]
            flat[near] += 2
        missing = np.isnan(values)
        return np.where(missing, heads, cells) if missing.any() else cells

    def _find_buckets(self, values: Rows, columns: slice) -> Counts:
        with np.errstate(over="ignore", invalid="ignore"):
            places = values * self._scale[columns, None]
            places += self._shift[columns, None]
        # of NaN and another value these return the other one
        np.fmax(places, self._lowest[columns, None], out=places)
        np.fmin(places, self._highest[columns, None], out=places)
        buckets: Counts = places.astype(np.int64)
        return buckets

    def _divide_columns(self, buckets: Counts) -> tuple[Rows, Rows]:
        """Return what values are multiplied by, and what is added, for their bucket among those of all
        columns; 0 and the first one where they can't be told apart so."""
        low = np.array([each[0] if len(each) else 0.0 for each in self._edges])
        high = np.array([each[-1] if len(each) else 0.0 for each in self._edges])
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scale = buckets / (high - low)
            shift = self._lowest - low * scale
        usable = np.isfinite(scale) & np.isfinite(shift)
        return np.where(usable, scale, 0.0), np.where(usable, shift, self._lowest)


def _find_starts(sizes: Sequence[int] | Counts) -> Counts:
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
