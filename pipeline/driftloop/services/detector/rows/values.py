"""Values of a typed column as numbers, the form in which tables are judged.

* number: itself. A boolean is 0 or 1.
* boolean: 0 or 1, also of the texts `true` and `false` in any case.
* category: the position of the category in the profile; beyond the last one for a category that the
  training data do not have. Numbers and booleans are categories by their text, `3.0` as `3`.
* text: its length in characters. Numbers and booleans count by their text.
* time: 0. Only whether there is a value is judged.

A missing value (null, NaN, a key that is not there) is NaN in every column. A value that does not fit the
type (text in a column of numbers, a list, an infinite number) is unreadable: NaN, too, and counted.
"""

from collections import Counter
from dataclasses import dataclass, field
from math import nan
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.documents import escape_text
from driftloop.contract.profiles import ColumnProfile
from driftloop.release.values import category_key, is_missing, read_number, read_truth

Rows = NDArray[np.float64]
"""Rows of a table (n x columns), or one of its columns (n)."""

MOST_NAMES = 20
"""Names that one window, or one process, tells apart in each of its counts."""
LONGEST_NAME = 120
"""Characters of one: callers choose names of columns, and categories."""
OTHERS = "others"
PRECISION = 12
"""Significant digits in which fractions are compared."""


@dataclass
class RowFaults:
    """Counts of what was wrong with rows: nothing is left out without one."""

    rejected: Counter[str] = field(default_factory=Counter)
    """Rows that are not judged, by reason."""
    unreadable: Counter[str] = field(default_factory=Counter)
    """Values that don't fit the type of their column, by column."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Values of columns that the training data do not have, by name."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Values of categories that the training data do not have, as `COLUMN CATEGORY`."""

    @property
    def found(self) -> bool:
        """Return True when there is any."""
        return bool(self.rejected or self.unreadable or self.unknown or self.unseen)

    def add_faults(self, other: "RowFaults") -> None:
        """Count those of other rows, too."""
        if not other.found:
            return
        for mine, theirs in (
            (self.rejected, other.rejected),
            (self.unreadable, other.unreadable),
            (self.unknown, other.unknown),
            (self.unseen, other.unseen),
        ):
            for name, count in theirs.items():
                count_name(mine, name, count)

    def list_counts(self) -> dict[str, dict[str, int]]:
        """Return the counts that are not empty, as the details of a verdict carry them."""
        parts = {
            "reasons": self.rejected,
            "unreadable": self.unreadable,
            "unknown": self.unknown,
            "unseen": self.unseen,
        }
        return {key: dict(counts.most_common()) for key, counts in parts.items() if counts}


def count_name(counts: Counter[str], name: str, count: int) -> None:
    """Count under a name, under `others` when there are too many names."""
    short = escape_text(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}...")
    counts[short if short in counts or len(counts) < MOST_NAMES else OTHERS] += count


@dataclass(frozen=True)
class ColumnEncoder:
    """Turns the values of one column into numbers."""

    column: ColumnProfile
    codes: dict[str, float]
    unreadable: float = nan
    """What stands for an unreadable value."""

    @classmethod
    def from_profile(cls, column: ColumnProfile, *, unreadable: float = nan) -> "ColumnEncoder":
        """Return the encoder of a column."""
        codes = {name: float(n) for n, (name, _) in enumerate(column.categories)}
        return cls(column, codes, unreadable)

    def encode_values(self, values: Any, faults: RowFaults) -> Rows:
        """Return the numbers of a list of values; what is unreadable is counted."""
        array = _read_array(values) if self.column.type == "number" else None
        if array is not None:
            with np.errstate(over="ignore"):
                rows = array.astype(np.float32 if self.column.single else np.float64)
            return self._drop_infinite(rows.astype(np.float64), faults)
        coded = np.empty(len(values))
        for number, value in enumerate(values):
            coded[number] = nan if is_missing(value) else self._encode_value(value, faults)
        return coded

    def _drop_infinite(self, rows: Rows, faults: RowFaults) -> Rows:
        infinite = np.isinf(rows)
        if infinite.any():
            count_name(faults.unreadable, self.column.name, int(infinite.sum()))
            rows = np.where(infinite, self.unreadable, rows)
        return rows

    def _encode_value(self, value: Any, faults: RowFaults) -> float:
        code = self._find_code(value, faults)
        if code is None:
            count_name(faults.unreadable, self.column.name, 1)
            return self.unreadable
        return code

    def _find_code(self, value: Any, faults: RowFaults) -> float | None:
        match self.column.type:
            case "number":
                return _read_number(value, single=self.column.single)
            case "boolean":
                truth = read_truth(value)
                return None if truth is None else float(truth)
            case "category":
                key = category_key(value)
                if key is None:
                    return None
                code = self.codes.get(key)
                if code is None:
                    count_name(faults.unseen, f"{self.column.name} {key[:40]}", 1)
                    return float(len(self.codes))
                return code
            case "text":
                key = category_key(value)
                return None if key is None else float(len(key))
            case "time":
                return None if category_key(value) is None else 0.0
            case _:
                assert_never(self.column.type)


def drop_noise(values: Rows) -> Rows:
    """Return numbers without what two programs that compute or print the same number may differ in, so that
    equal values are equal: 12 significant digits. Whole numbers stay as they are: an id has more."""
    return np.where(values == np.floor(values), values, round_numbers(values, PRECISION))


def round_numbers(values: Rows, digits: int) -> Rows:
    """Return numbers of so many significant digits."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.round(values * scale) / scale
    return np.where(np.isfinite(rounded), rounded, values)


def _read_array(values: Any) -> NDArray[Any] | None:
    """Return a list of numbers as an array; None when one is not a number."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    return array if array.ndim == 1 and array.dtype.kind in "iufb" else None


def _read_number(value: Any, *, single: bool) -> float | None:
    number = read_number(value)
    if number is None or not single:
        return number
    with np.errstate(over="ignore"):
        return read_number(float(np.float32(number)))
