"""A model's answers as rows of typed columns: a class, the probabilities of classes, a score, a number.

A detector of answers is fitted on what the model answered in its rehearsal (`answer_learning`), so the
answers that come later have the same columns: by their names (Seldon's `names`, the names of v2 tensors,
keys of objects), by position when they have none. Seldon's own names `t:0`, `t:1`, ... are none. An answer
with other columns is not judged, and counted.

Numbers are read to six digits: the same row asked alone and among others has answers that differ beyond, and
equal answers would no longer be.
"""

import json
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from driftloop.contract.profiles import ColumnProfile, TableProfile, name_element
from driftloop.release import payloads
from driftloop.services.detector.rows.marks import PAYLOAD
from driftloop.services.detector.rows.payload import (
    BAD_PAYLOAD,
    DecodedRows,
    drop_gaps,
    flatten_values,
    shape_rows,
)
from driftloop.services.detector.rows.values import ColumnEncoder, RowFaults, Rows, round_numbers

ANSWER_WIDTH = "an answer has another number of values than those of the rehearsal"
ANSWER_NAMES = "an answer has other names than those of the rehearsal"
"""Why answers are not judged."""
DIGITS = 6
"""Significant digits of a number."""

_PROTOCOL_KEYS = frozenset({"data", "instances", "predictions", "inputs", "outputs"})


@dataclass(frozen=True)
class AnswerTable:
    """The answers in one response."""

    names: tuple[str, ...]
    """Names of the columns; empty when they have none."""
    rows: list[list[Any]]
    """Values of each answer."""


class AnswerDecoder:
    """Reads responses as rows of the profile of a model's answers.

    With `complete`, an answer with a missing or unreadable value is not judged: the detector takes numbers
    only.
    """

    def __init__(self, profile: TableProfile, *, complete: bool) -> None:
        columns = {column.name: column for column in profile.columns}
        self._profile = profile
        self._complete = complete
        # the numbers of all classes tell which is chosen; what else is not watched is not read
        self._encoders = {
            name: ColumnEncoder.from_profile(columns.get(name, _unseen_number(name)))
            for name in profile.order
            if profile.chosen or name in columns
        }

    def decode_rows(self, body: bytes, protocol: str | None = None) -> DecodedRows:
        """Return the answers of a response; one that can't be read is one rejected row."""
        faults = RowFaults()
        try:
            table = read_answer_table(body, protocol)
        except BAD_PAYLOAD:
            return DecodedRows(self.no_rows(), RowFaults(Counter({PAYLOAD: 1})))
        rows = self._encode_table(table, faults)
        if self._complete and len(rows):
            rows = drop_gaps(self._profile, rows, faults)
        return DecodedRows(rows, faults)

    def no_rows(self) -> Rows:
        """Return an empty table."""
        return np.empty((0, len(self._profile.columns)))

    def _encode_table(self, table: AnswerTable, faults: RowFaults) -> Rows:
        order = self._profile.order
        good = [row for row in table.rows if len(row) == len(order)]
        if len(good) < len(table.rows):
            faults.rejected[ANSWER_WIDTH] += len(table.rows) - len(good)
        if good and table.names and sorted(table.names) != sorted(order):
            faults.rejected[ANSWER_NAMES] += len(good)
            return self.no_rows()
        if not good:
            return self.no_rows()
        names = table.names or order
        values = dict(zip(names, zip(*good, strict=True), strict=True))
        encoded = np.full((len(good), len(order)), np.nan)
        for number, name in enumerate(order):
            if name in self._encoders:
                encoded[:, number] = self._encoders[name].encode_values(list(values[name]), faults)
        return assemble_rows(self._profile, encoded)


def read_answer_table(body: bytes, protocol: str | None = None) -> AnswerTable:
    """Return the answers in a response of any protocol; ValueError, TypeError or KeyError for what holds
    none."""
    document = json.loads(body)
    if isinstance(document, dict) and "jsonData" in document and "data" not in document:
        inner, protocol = document["jsonData"], None
        whole = isinstance(inner, list) or (
            isinstance(inner, dict) and bool(inner.keys() & _PROTOCOL_KEYS)
        )
        document = inner if whole else [inner]
    tables = [_read_part(part) for part in payloads.read_parts(document, protocol)]
    if len({len(table.rows) for table in tables}) != 1:
        raise ValueError("outputs of different lengths")
    named = all(table.names for table in tables)
    return AnswerTable(
        tuple(name for table in tables for name in table.names) if named else (),
        [
            list(chain.from_iterable(parts))
            for parts in zip(*(table.rows for table in tables), strict=True)
        ],
    )


def _read_part(part: payloads.PayloadPart) -> AnswerTable:
    rows = shape_rows(part)
    if not rows:
        raise ValueError("no rows")
    if all(isinstance(row, dict) for row in rows):
        keys = tuple(dict.fromkeys(str(key) for row in rows for key in row))
        return AnswerTable(keys, [[row.get(key) for key in keys] for row in rows])
    flat = [list(flatten_values(row)) if isinstance(row, list) else [row] for row in rows]
    widths = {len(row) for row in flat}
    width = widths.pop()
    if widths:
        return AnswerTable((), flat)
    names = part.names
    if part.name is not None:
        numbered = (name_element(part.name, number) for number in range(width))
        names = (part.name,) if width == 1 else tuple(numbered)
    if len(set(names)) != width or names == tuple(f"t:{number}" for number in range(width)):
        names = ()
    return AnswerTable(names, flat)


def assemble_rows(profile: TableProfile, values: Rows) -> Rows:
    """Return the columns of a profile (n x columns) from the values of answers in its order (n x width)."""
    values = round_numbers(values, DIGITS)
    places = {name: number for number, name in enumerate(profile.order)}
    columns = [
        find_classes(values) if column.name == profile.chosen else values[:, places[column.name]]
        for column in profile.columns
    ]
    return np.stack(columns, axis=1)


def find_classes(values: Rows) -> Rows:
    """Return the place of the largest number of each row (n); NaN for a row that lacks one."""
    missing = np.isnan(values).any(axis=1)
    return np.where(missing, np.nan, np.argmax(np.nan_to_num(values), axis=1))


def _unseen_number(name: str) -> ColumnProfile:
    """Return the column of a number that is read, but not judged."""
    return ColumnProfile(name=name, type="number", rows=0, missing=0, distinct=0)
