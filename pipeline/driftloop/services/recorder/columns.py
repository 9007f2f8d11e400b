"""Bodies of requests and answers as named columns of plain values.

Columns of requests are matched as the detectors match them (`services/detector/rows/payload`): by name,
by position only when there are none and the width is right. Their types are the profile's; here a value
stays what it is, it is not made a number. What does not fit is said, and the body is kept beside it.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, assert_never

from driftloop.contract.captures import ANSWER, RESERVED
from driftloop.contract.documents import is_unicode
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.release.bodies import parse_body
from driftloop.release.payloads import PayloadPart, read_parts
from driftloop.release.tables import (
    BAD_PAYLOAD,
    flatten_values,
    join_parts,
    read_answer_table,
    shape_column,
    shape_rows,
    transpose_columns,
)
from driftloop.release.values import category_key, is_missing, read_number, read_truth
from driftloop.text.words import join_some

ValueKind = Literal["number", "boolean", "text", "numbers", "any"]
"""Kinds of a column: `numbers` holds lists of numbers, `any` what comes."""

NOT_ROWS = "no rows of any protocol"
NO_NAMES = "none of its columns is the model's"
UNNAMED = "values without names, and not as many as the model has columns"
WIDTHS = "rows of different widths"
WITHHELD = "; it is not kept as it came, since columns are dropped or hashed"
SHOWN = 5
"""Names of columns that a problem names."""
HASH_LENGTH = 32

_BAD_BODY = (*BAD_PAYLOAD, IndexError)
_UNREADABLE = object()
_NUMBERS = {int, float}


@dataclass
class BodyColumns:
    """Columns read of a body."""

    count: int = 0
    """Rows."""
    columns: dict[str, list[Any]] = field(default_factory=dict)
    """Values of each row, by column."""
    problem: str = ""
    """Why the body is not, or not wholly, in the columns."""


class RequestReader:
    """Reads requests by the profiles of a release's detectors; without one, by the request's own names."""

    def __init__(self, profiles: Sequence[TableProfile] = ()) -> None:
        self.kinds: dict[str, ValueKind] = {}
        self._widths: dict[str, int] = {}
        self._array: str | None = None
        self._orders: list[tuple[str, ...]] = []
        for profile in profiles:
            self._add_profile(profile)
        self._narrow = any(profile.features is not None for profile in profiles)
        own = tuple(self.kinds)
        if own and own not in self._orders:
            self._orders.append(own)

    def _add_profile(self, profile: TableProfile) -> None:
        widths = dict(profile.arrays)
        for column in profile.columns:
            array = column.name.rpartition("[")[0]
            if array in widths:
                self.kinds[array], self._widths[array] = "numbers", widths[array]
            else:
                self.kinds[column.name] = _kind_of(column)
        if profile.is_array and len(profile.order) <= 1:
            self._array = profile.arrays[0][0]
        for name in profile.order:
            self.kinds.setdefault(name, "any")
        for order in (profile.order, profile.features or ()):
            if order and order not in self._orders:
                self._orders.append(order)

    def read_body(self, body: bytes, protocol: str | None = None) -> BodyColumns:
        """Return the columns of a request; no rows, and why, for one that can't be matched."""
        try:
            named = self._match_parts(read_parts(parse_body(body), protocol))
            count = len(next(iter(named.values()), []))
            if not count or any(len(values) != count for values in named.values()):
                raise ValueError(NOT_ROWS)
        except _MismatchError as error:
            return BodyColumns(problem=str(error))
        except _BAD_BODY:
            return BodyColumns(problem=NOT_ROWS)
        if self.kinds and named.keys().isdisjoint(self.kinds):
            return BodyColumns(problem=NO_NAMES)
        return self._convert_columns(named, count)

    def _convert_columns(self, named: Mapping[str, list[Any]], count: int) -> BodyColumns:
        read = BodyColumns(count)
        unreadable, unknown = [], []
        for name, values in named.items():
            kind = self.kinds.get(name, "any")
            if self.kinds and name not in self.kinds:
                unknown.append(name)
                continue
            converted = [_convert(value, kind, self._widths.get(name)) for value in values]
            if any(value is _UNREADABLE for value in converted):
                unreadable.append(name)
                converted = [None if value is _UNREADABLE else value for value in converted]
            read.columns[name_column(name)] = converted
        texts = []
        if unreadable:
            texts.append(f"unreadable values of {_list_names(unreadable)}")
        if unknown:
            texts.append(f"columns that the model does not have: {_list_names(unknown)}")
        read.problem = "; ".join(texts)
        return read

    def _match_parts(self, parts: tuple[PayloadPart, ...]) -> dict[str, list[Any]]:
        if self._array is not None and not self._is_named(parts):
            own = tuple(part for part in parts if part.name == self._array)
            return {self._array: list(join_parts(own or parts))}
        if len(parts) == 1 and (parts[0].name is None or parts[0].name not in self.kinds):
            (part,) = parts
            rows = shape_rows(part)
            if part.name is not None and not self.kinds:
                return {part.name: rows}
            return self._match_table(rows, part.names)
        if any(part.name is None for part in parts):
            return self._match_table(transpose_columns([shape_column(part) for part in parts]), ())
        named = {str(part.name): shape_column(part) for part in parts}
        if len({len(values) for values in named.values()}) != 1:
            raise _MismatchError("columns of different lengths")
        return named

    def _is_named(self, parts: tuple[PayloadPart, ...]) -> bool:
        return self._narrow and len(parts) == 1 and len(parts[0].names) > 1

    def _match_table(self, table: Any, names: tuple[str, ...]) -> dict[str, list[Any]]:
        if not table:
            raise _MismatchError(NOT_ROWS)
        if all(isinstance(row, dict) for row in table):
            keys = dict.fromkeys(str(key) for row in table for key in row)
            return {key: [row.get(key) for row in table] for key in keys}
        if not any(isinstance(row, list) for row in table):
            alone = len(names) == 1 or self._find_order(len(table)) is None
            table = [[value] for value in table] if alone else [table]
        widths = {len(row) if isinstance(row, list) else -1 for row in table}
        if len(widths) != 1:
            raise _MismatchError(WIDTHS)
        width = widths.pop()
        order = names or self._find_order(width)
        if order is None and not self.kinds:
            return {"x": [row[0] for row in table] if width == 1 else table}
        if order is None or len(order) != width:
            raise _MismatchError(UNNAMED)
        return {
            name: list(values) for name, values in zip(order, zip(*table, strict=True), strict=True)
        }

    def _find_order(self, width: int) -> tuple[str, ...] | None:
        return next((order for order in self._orders if len(order) == width), None)


class _MismatchError(Exception):
    """A body whose values can't be matched with columns."""


def read_answer(body: bytes, protocol: str | None = None) -> BodyColumns:
    """Return the columns of an answer: `answer`, or `answer.NAME` of one with names."""
    try:
        table = read_answer_table(body, protocol)
    except _BAD_BODY:
        return BodyColumns(problem=NOT_ROWS)
    widths = {len(row) for row in table.rows}
    if len(widths) != 1:
        return BodyColumns(problem=WIDTHS)
    count, width = len(table.rows), widths.pop()
    if table.names:
        names = [f"{ANSWER}.{name}" for name in table.names]
        values = zip(*table.rows, strict=True)
        return BodyColumns(count, dict(zip(names, map(list, values), strict=True)))
    if width == 1:
        return BodyColumns(count, {ANSWER: [row[0] for row in table.rows]})
    return BodyColumns(count, {ANSWER: table.rows})


@dataclass(frozen=True)
class Concealment:
    """Columns that are not written, or as a keyed hash only."""

    drop: frozenset[str] = frozenset()
    hash: frozenset[str] = frozenset()
    key: bytes = b""

    @property
    def withholds(self) -> bool:
        """Return True when a body must not be kept as it came: it may hold what is not to be written."""
        return bool(self.drop or self.hash)

    def conceal(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return columns without what is not to be written."""
        if not self.withholds:
            return columns
        return {
            column: [self._hash_value(name, value) for value in values]
            if name in self.hash
            else values
            for column, values in columns.items()
            if (name := _plain_name(column)) not in self.drop
        }

    def _hash_value(self, name: str, value: Any) -> str | None:
        if value is None:
            return None
        text = value if isinstance(value, str) else json.dumps(value)
        digest = hmac.digest(self.key, f"{name}\0{text}".encode(errors="surrogatepass"), "sha256")
        return digest.hex()[:HASH_LENGTH]


def derive_key(secret: str, namespace: str, pipeline: str) -> bytes:
    """Return the key of a pipeline's hashes: from a secret of the namespace, and never it itself."""
    purpose = f"driftloop captured traffic {namespace}/{pipeline}"
    return hmac.digest(secret.encode(), purpose.encode(), hashlib.sha256)


def _plain_name(column: str) -> str:
    """Return the name of a column as the spec knows it."""
    return column.removeprefix(f"{ANSWER}.").removeprefix("request.")


def name_column(name: str) -> str:
    """Return the column in which a request's column is written."""
    taken = name in RESERVED or name.startswith((f"{ANSWER}.", "request."))
    return f"request.{name}" if taken else name


def _list_names(names: Iterable[str]) -> str:
    return join_some([f"`{name[:60]}`" for name in sorted(names)], SHOWN)


def _kind_of(column: ColumnProfile) -> ValueKind:
    match column.type:
        case "number":
            return "number"
        case "boolean":
            return "boolean"
        case "category" | "text" | "time":
            return "text"
        case _:
            assert_never(column.type)


def _convert(value: Any, kind: ValueKind, width: int | None) -> Any:
    if is_missing(value):
        return None
    match kind:
        case "number":
            read: Any = read_number(value)
        case "boolean":
            read = read_truth(value)
        case "text":
            read = _read_text(value)
        case "numbers":
            read = _read_numbers(value, width)
        case "any":
            return value
        case _:
            assert_never(kind)
    return _UNREADABLE if read is None else read


def _read_text(value: Any) -> str | None:
    text = category_key(value)
    return text if text is not None and is_unicode(text) else None


def _read_numbers(value: Any, width: int | None) -> list[Any] | None:
    if isinstance(value, list) and len(value) == width and set(map(type, value)) <= _NUMBERS:
        # nearly always; one by one costs ten times as much
        numbers = list(map(float, value))
        if all(map(isfinite, numbers)):
            return numbers
    flat = list(flatten_values(value)) if isinstance(value, list) else [value]
    if width is not None and len(flat) != width:
        return None
    converted = [_convert(item, "number", None) for item in flat]
    return None if any(number is _UNREADABLE for number in converted) else converted
