"""Rows of a table in the payloads of Seldon, TensorFlow Serving and the Open Inference Protocol.

Values are matched with the profile's columns by name: Seldon's `names`, the names of tensors, the keys of
TensorFlow's instances, in whatever order they come. Only values without names are matched by position, and
only when there are as many as the training data have columns, or the detector has. The numbers of an array
have no names; they are matched by position always.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.release import payloads
from driftloop.release.bodies import parse_body
from driftloop.release.tables import (
    BAD_PAYLOAD,
    flatten_values,
    join_parts,
    shape_column,
    shape_rows,
    transpose_columns,
)
from driftloop.release.values import is_missing
from driftloop.services.detector.rows.marks import NAMES, PAYLOAD, WIDTH, add_marks
from driftloop.services.detector.rows.values import (
    ColumnEncoder,
    RowFaults,
    Rows,
    count_name,
)

GAPS = "a value is missing or unreadable in column"
"""Why a detector of numbers does not judge a row."""


@dataclass(frozen=True)
class DecodedRows:
    """The rows of one event as numbers (n x columns), and what was wrong."""

    rows: Rows
    faults: RowFaults = field(default_factory=RowFaults)
    requests: tuple[str, ...] = ()
    """The request id of each row, where they are of several and none is a repeat; empty: all are of the event's."""

    @property
    def rejected(self) -> int:
        """Rows that are not judged."""
        return sum(self.faults.rejected.values())

    @property
    def count(self) -> int:
        """All rows of the event, also those that are not judged."""
        return len(self.rows) + self.rejected


@dataclass(frozen=True)
class _Field:
    """A column of the training data, and the first of its columns in the rows."""

    name: str
    first: int
    encoders: tuple[ColumnEncoder, ...]
    array: bool


@dataclass(frozen=True)
class _ColumnOrder:
    """Names of a request's columns as they come: where the detector's are, and which are no model's."""

    names: tuple[str, ...]
    places: NDArray[np.intp] | None
    """None when one of the detector's columns is missing."""
    unknown: tuple[str, ...] = ()


class EventDecoder(Protocol):
    """Reads events as rows of numbers."""

    def decode_rows(self, body: bytes, protocol: str | None = None) -> DecodedRows:
        """Return the rows of a payload; one that can't be read is one rejected row."""
        ...

    def no_rows(self) -> Rows:
        """Return an empty table."""
        ...


class RowDecoder:
    """Reads events as rows of a profile's columns.

    With `complete`, a row with a missing or unreadable value is not judged: the detector takes numbers
    only. With `marks`, no row is rejected: the detector judges what can't be read, too.
    """

    def __init__(self, profile: TableProfile, *, complete: bool, marks: bool = False) -> None:
        self._profile = profile
        self._complete = complete
        self._marks = marks
        self._width = len(profile.columns)
        self._unreadable = math.inf if marks else math.nan
        self._encoders = tuple(
            ColumnEncoder.from_profile(column, unreadable=self._unreadable)
            for column in profile.columns
        )
        self._fields: dict[str, _Field] = {}
        widths, first = dict(profile.arrays), 0
        while first < self._width:
            column = profile.columns[first]
            name = _field_name(column, widths)
            count = widths.get(name, 1)
            encoders = self._encoders[first : first + count]
            self._fields[name] = _Field(name, first, encoders, array=name in widths)
            first += count
        self._orders = (profile.order, profile.features or tuple(self._fields))
        self._numbers = all(column.type == "number" for column in profile.columns)
        self._single = np.array([column.single for column in profile.columns])
        self._rounds = bool(self._single.any())
        self._all_single = bool(self._single.all())
        self._order = _ColumnOrder((), None)
        """The last request's: the next one's is nearly always the same."""

    def decode_rows(self, body: bytes, protocol: str | None = None) -> DecodedRows:
        """Return the rows of a payload; one that can't be read is one rejected row."""
        faults = RowFaults()
        try:
            parts = payloads.read_parts(parse_body(body), protocol)
            rows = self._read_parts(parts, faults)
        except BAD_PAYLOAD:
            rows, faults = self._empty_rows(), RowFaults(Counter({PAYLOAD: 1}))
        if self._marks:
            return DecodedRows(
                add_marks(rows, faults.rejected), replace(faults, rejected=Counter[str]())
            )
        if self._complete and len(rows):
            rows = drop_gaps(self._profile, rows, faults)
        return DecodedRows(rows, faults)

    def no_rows(self) -> Rows:
        """Return an empty table."""
        return np.empty((0, self._width + self._marks))

    def _empty_rows(self) -> Rows:
        return np.empty((0, self._width))

    def _read_parts(self, parts: tuple[payloads.PayloadPart, ...], faults: RowFaults) -> Rows:
        if self._profile.is_array and not self._is_named(parts):
            return self._read_arrays(parts, faults)
        if len(parts) == 1 and parts[0].name not in self._fields:
            (part,) = parts
            table = shape_rows(part)
            return self._read_table(table, part.names, faults)
        if any(part.name is None for part in parts):
            columns = [shape_column(part) for part in parts]
            return self._read_table(transpose_columns(columns), (), faults)
        named = {str(part.name): shape_column(part) for part in parts}
        if len({len(values) for values in named.values()}) != 1:
            raise ValueError("columns of different lengths")
        return self._read_named(named, faults)

    def _is_named(self, parts: tuple[payloads.PayloadPart, ...]) -> bool:
        """Return True for a table whose columns have names, of which the array is one."""
        narrowed = self._profile.features is not None
        return narrowed and len(parts) == 1 and len(parts[0].names) > 1

    def _read_named(self, named: dict[str, Any], faults: RowFaults) -> Rows:
        """Encode columns by name; those that the request does not have are missing."""
        count = len(next(iter(named.values())))
        if not count:
            raise ValueError("no rows")
        present = self._fields.keys() & named.keys()
        for name in named.keys() - present:
            if name not in self._profile.order:
                count_name(faults.unknown, name, count)
        if named.keys().isdisjoint({*self._fields, *self._profile.order}):
            faults.rejected[NAMES] += count
            return self._empty_rows()
        rows = np.full((count, self._width), np.nan)
        for name in present:
            column = self._fields[name]
            if column.array:
                _fill_array(rows, column, named[name], faults)
            else:
                rows[:, column.first] = column.encoders[0].encode_values(named[name], faults)
        return rows

    def _read_table(self, table: Any, names: tuple[str, ...], faults: RowFaults) -> Rows:
        """Encode rows whose columns have names, or are in the order of the training data."""
        if not table:
            raise ValueError("no rows")
        if not any(isinstance(row, list) for row in table):
            single = len(names) == 1 or self._find_order(len(table)) is None
            table = [[value] for value in table] if single else [table]
        order = names or self._guess_order(table)
        good = [row for row in table if order and isinstance(row, list) and len(row) == len(order)]
        if len(table) > len(good):
            faults.rejected[WIDTH] += len(table) - len(good)
        if not good:
            return self._empty_rows()
        array = _read_numbers(good) if self._numbers and not self._profile.arrays else None
        if array is not None and array.ndim == 2:
            placed = self._place_columns(order)
            if placed.places is not None:
                for name in placed.unknown:
                    count_name(faults.unknown, name, len(good))
                return self._encode_numbers(array[:, placed.places], faults)
        return self._read_named(dict(zip(order, zip(*good, strict=True), strict=True)), faults)

    def _guess_order(self, table: Any) -> tuple[str, ...]:
        """Return the names of columns without names, by the first width that is known."""
        widths = dict.fromkeys(len(row) for row in table if isinstance(row, list))
        orders = (self._find_order(width) for width in widths)
        return next((each for each in orders if each is not None), ())

    def _place_columns(self, names: tuple[str, ...]) -> _ColumnOrder:
        if names != self._order.names:
            first = {name: place for place, name in reversed([*enumerate(names)])}
            places: NDArray[np.intp] | None = None
            unknown: tuple[str, ...] = ()
            if self._fields.keys() <= first.keys():
                places = np.array([first[name] for name in self._fields], dtype=np.intp)
                known = {*self._fields, *self._profile.order}
                unknown = tuple(name for name in first if name not in known)
            self._order = _ColumnOrder(names, places, unknown)
        return self._order

    def _find_order(self, width: int) -> tuple[str, ...] | None:
        return next((order for order in self._orders if len(order) == width), None)

    def _read_arrays(self, parts: tuple[payloads.PayloadPart, ...], faults: RowFaults) -> Rows:
        """Flatten each row to the numbers of the array."""
        ((name, _),) = self._profile.arrays
        own = tuple(part for part in parts if part.name == name)
        values = join_parts(own or parts)
        array = _read_numbers(values)
        if array is not None and (rows := _shape_array(array, self._width)) is not None:
            return self._encode_numbers(rows, faults)
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise ValueError("no rows")
        return self._read_one_by_one(values, faults)

    def _read_one_by_one(self, values: Sequence[Any], faults: RowFaults) -> Rows:
        """Some row is unlike the others; the good ones still count."""
        rows = []
        for value in values:
            flat = list(flatten_values(value)) if isinstance(value, list) else [value]
            if len(flat) != self._width:
                faults.rejected[WIDTH] += 1
                continue
            encoded = (
                e.encode_values([v], faults)[0] for e, v in zip(self._encoders, flat, strict=True)
            )
            rows.append(np.fromiter(encoded, dtype=np.float64, count=self._width))
        return np.stack(rows) if rows else self._empty_rows()

    def _encode_numbers(self, rows: NDArray[Any], faults: RowFaults) -> Rows:
        """Return numbers in the precision of their columns; infinite ones are unreadable."""
        exact = self._round_numbers(rows)
        infinite = None if _is_finite(exact) else np.isinf(exact)
        if infinite is not None and infinite.any():
            for number in np.flatnonzero(infinite.any(axis=0)):
                name = self._profile.columns[number].name
                count_name(faults.unreadable, name, int(infinite[:, number].sum()))
            exact[infinite] = self._unreadable
        return exact

    def _round_numbers(self, rows: NDArray[Any]) -> Rows:
        if not self._rounds:
            return rows.astype(np.float64)
        with np.errstate(over="ignore"):
            if self._all_single:
                return rows.astype(np.float32).astype(np.float64)
            exact: Rows = rows.astype(np.float64)
            exact[:, self._single] = exact[:, self._single].astype(np.float32)
        return exact


def _is_finite(rows: Rows) -> bool:
    """True only when all numbers are finite, by one pass; large ones may not be found to be so."""
    flat = rows.ravel()
    return math.isfinite(flat.dot(flat))


def drop_gaps(profile: TableProfile, rows: Rows, faults: RowFaults) -> Rows:
    """Return the rows that have all values; the others are counted by the first that they lack."""
    if _is_finite(rows):
        return rows
    gaps = np.isnan(rows)
    bad = gaps.any(axis=1)
    if not bad.any():
        return rows
    for number in gaps[bad].argmax(axis=1):
        count_name(faults.rejected, f"{GAPS} `{profile.columns[number].name}`", 1)
    return rows[~bad]


def _field_name(column: ColumnProfile, widths: dict[str, int]) -> str:
    array = column.name.rpartition("[")[0]
    return array if array in widths else column.name


def _fill_array(rows: Rows, column: _Field, values: Any, faults: RowFaults) -> None:
    """Write the numbers of a column of arrays; one of another width is unreadable."""
    width = len(column.encoders)
    for number, value in enumerate(values):
        if is_missing(value):
            continue
        array = _read_numbers(value)
        if array is None or array.size != width:
            count_name(faults.unreadable, column.name, 1)
            rows[number, column.first : column.first + width] = column.encoders[0].unreadable
            continue
        for offset, element in enumerate(array.reshape(-1)):
            encoded = column.encoders[offset].encode_values([element], faults)
            rows[number, column.first + offset] = encoded[0]


def _read_numbers(values: Any) -> NDArray[Any] | None:
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    return array if array.dtype.kind in "iufb" else None


def _shape_array(array: NDArray[Any], width: int) -> NDArray[Any] | None:
    """Return n x width, or None when the numbers don't fall into such rows."""
    if array.ndim == 0 or array.size == 0:
        return None
    if array.ndim == 1 and array.size == width and width != 1:
        array = array.reshape(1, width)
    rows = array.reshape(len(array), -1)
    return rows if rows.shape[1] == width else None
