"""Rows and columns in the parts of a payload: the shape that a protocol writes beside the values, values
by column, and the answers of a response.

Plain lists: the detectors make arrays of them, the recorder writes them as they are.
"""

import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

from driftloop.contract.profiles import name_element
from driftloop.release.bodies import parse_body
from driftloop.release.payloads import PayloadPart, read_parts

BAD_PAYLOAD = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What reading a payload raises that has no rows of any protocol."""

_PROTOCOL_KEYS = frozenset({"data", "instances", "predictions", "inputs", "outputs"})


@dataclass(frozen=True)
class AnswerTable:
    """The answers in one response."""

    names: tuple[str, ...]
    """Names of the columns; empty when they have none."""
    rows: list[list[Any]]
    """Values of each answer."""


def transpose_columns(columns: list[Any]) -> list[list[Any]]:
    """Return the rows of columns that are equally long."""
    return [list(row) for row in zip(*columns, strict=True)]


def shape_rows(part: PayloadPart) -> Any:
    """Return the rows of a table: lists, or an array of numbers (n x width)."""
    if part.shape is None:
        return part.values
    flat = list(flatten_values(part.values))
    if math.prod(part.shape) != len(flat) or not part.shape:
        raise ValueError("the values don't fill the shape")
    count = part.shape[0]
    width = len(flat) // count if count else 0
    return [flat[n * width : (n + 1) * width] for n in range(count)]


def shape_column(part: PayloadPart) -> list[Any]:
    """Return the values of a named column; one of single numbers in lists is flattened."""
    values = part.values if part.shape is None else shape_rows(part)
    if all(isinstance(value, list) and len(value) == 1 for value in values):
        return [value[0] for value in values]
    return values


def flatten_values(value: Any) -> Any:
    """Yield the values of nested lists, in their order."""
    if isinstance(value, list):
        for item in value:
            yield from flatten_values(item)
    else:
        yield value


def join_parts(parts: tuple[PayloadPart, ...]) -> Any:
    """Return one part as it is, several side by side; ValueError when these are not equally long."""
    if len(parts) == 1:
        (part,) = parts
        return part.values if part.shape is None else shape_rows(part)
    columns = [shape_column(part) for part in parts]
    if len({len(column) for column in columns}) != 1:
        raise ValueError("columns of different lengths")
    return transpose_columns(columns)


def read_answer_table(body: bytes, protocol: str | None = None) -> AnswerTable:
    """Return the answers in a response of any protocol; ValueError, TypeError or KeyError for what holds
    none."""
    document = parse_body(body)
    if isinstance(document, dict) and "jsonData" in document and "data" not in document:
        inner, protocol = document["jsonData"], None
        whole = isinstance(inner, list) or (
            isinstance(inner, dict) and bool(inner.keys() & _PROTOCOL_KEYS)
        )
        document = inner if whole else [inner]
    tables = [_read_part(part) for part in read_parts(document, protocol)]
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


def _read_part(part: PayloadPart) -> AnswerTable:
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
