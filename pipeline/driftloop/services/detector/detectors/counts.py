"""Rows counted column by column between fixed edges. Such counts are small, and those of several windows add
up to the counts of all their rows, so that windows can be judged together when their rows are gone.

The edges of a column are values of the reference: its levels, and its quantiles where it has more values
than that. A column with k edges has 2k + 2 cells: its missing values, then in turn the values below the
first edge, at it, between it and the second, ..., beyond the last. The distribution function of numbers is
known at each edge and just below it, exactly.

Rows are counted between finer edges first, which have all of these among them: `screening` needs them, of one window.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftloop.services.detector.detectors.column_tests import SPREAD, ColumnReference
from driftloop.services.detector.detectors.edges import CellFinder
from driftloop.services.detector.rows.values import Rows

Counts = NDArray[np.int64]

MOST_EDGES, FEWEST_EDGES = 64, 16
"""Quantiles of a column that are edges."""
FINER = 2
"""Quantiles of a column that are finer edges, for each that is an edge."""
MOST_CELLS = 20_000
"""Cells of a table below which columns have as many."""
_LEVEL = 2
"""Of zlib: the next ones take twice to ten times as long for a tenth to a fifth less."""
_STORED = np.dtype("<u4")
_DIGITS = 12


class CountGrid:
    """The edges of a table's columns."""

    def __init__(self, columns: Sequence[ColumnReference]) -> None:
        quantiles = min(max(MOST_CELLS // (2 * max(1, len(columns))), FEWEST_EDGES), MOST_EDGES)
        self.edges = [_choose_edges(column, quantiles) for column in columns]
        sizes = [2 * len(edges) + 2 for edges in self.edges]
        self.starts: Counts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        """First cell of each column, and the number of all cells."""
        self.fine_edges = [
            np.union1d(edges, _choose_edges(column, FINER * quantiles - 1))
            for edges, column in zip(self.edges, columns, strict=True)
        ]
        self.finder = CellFinder(self.fine_edges)
        self._joins = np.concatenate(
            [
                head + _find_coarse(edges, fine)
                for head, edges, fine in zip(
                    self.finder.heads.tolist(), self.edges, self.fine_edges, strict=True
                )
            ]
        )
        ends = b"".join(edges.tobytes() + b"|" for edges in self.edges)
        self.name = hashlib.sha256(ends).hexdigest()[:_DIGITS]
        """Digits that are others when any edge is another."""

    @property
    def size(self) -> int:
        """Cells of all columns."""
        return int(self.starts[-1])

    def count_rows(self, rows: Rows) -> Counts:
        """Return the rows of a window (n x columns) in each cell."""
        return self.join_cells(self.finder.count_rows(rows))

    def join_cells(self, fine: Counts) -> Counts:
        """Return the counts of the cells, of those of the finer ones."""
        cells: Counts = np.add.reduceat(fine, self._joins)
        return cells

    def count_references(self, columns: Sequence[ColumnReference]) -> Counts:
        """Return the rows of the reference in each cell."""
        return self.join_cells(self.count_fine(columns))

    def count_fine(self, columns: Sequence[ColumnReference]) -> Counts:
        """Return the rows of the reference in each of the finer cells."""
        cells = [
            _count_sorted(edges, column.present, column.rows)
            for edges, column in zip(self.fine_edges, columns, strict=True)
        ]
        return np.concatenate(cells)

    def write_counts(self, counts: Counts) -> str:
        """Return counts as text; `read_counts` reads it back."""
        packed = zlib.compress(counts.astype(_STORED).tobytes(), _LEVEL)
        return f"{self.name}:{base64.b64encode(packed).decode()}"

    def read_counts(self, text: str) -> Counts | None:
        """Read counts; None for those of other edges, or what is none."""
        name, _, packed = text.partition(":")
        if name != self.name:
            return None
        most = self.size * _STORED.itemsize
        try:
            unpacking = zlib.decompressobj()
            data = unpacking.decompress(base64.b64decode(packed, validate=True), most + 1)
        except (binascii.Error, zlib.error):
            return None
        return np.frombuffer(data, _STORED).astype(np.int64) if len(data) == most else None


def _choose_edges(column: ColumnReference, quantiles: int) -> Rows:
    if column.column.type == "time" or not len(column.present):
        return np.empty(0)
    if len(column.levels) and not column.splits:
        return np.asarray(column.levels, dtype=np.float64)
    values = column.present if column.rest is None else column.rest.values
    shares = np.union1d(np.linspace(0, 1, quantiles), [share for share, _ in SPREAD])
    places = (shares * (len(values) - 1)).round().astype(np.int64)
    return np.union1d(values[places], column.levels)


def _find_coarse(edges: Rows, fine: Rows) -> Counts:
    """Return the first of the finer cells in each cell of a column."""
    at = 2 * np.searchsorted(fine, edges) + 2
    return np.concatenate([[0, 1], np.stack([at, at + 1], axis=1).ravel()]).astype(np.int64)


def _count_sorted(edges: Rows, present: Rows, rows: int) -> Counts:
    cells = np.zeros(2 * len(edges) + 2, dtype=np.int64)
    cells[0] = rows - len(present)
    upto = np.empty(2 * len(edges) + 2, dtype=np.int64)
    upto[0], upto[-1] = 0, len(present)
    upto[1:-1:2] = present.searchsorted(edges, side="left")
    upto[2:-1:2] = present.searchsorted(edges, side="right")
    cells[1:] = np.diff(upto)
    return cells
