"""Rows that a person gives on the command line or in a file, as the body of a request in the words of a model's protocol."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, assert_never

from driftloop.errors import StepError

SUFFIXES = (".csv", ".jsonl")
AT_ONCE = 100
"""Rows of one request."""
Row = list[Any] | dict[str, Any]
Protocol = Literal["seldon", "tensorflow", "v2"]

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class GivenRows:
    """Rows of a person, all of one kind."""

    rows: tuple[Row, ...]
    """Values, or values by the name of their column."""
    left_out: str = ""
    """Column of right answers, which a model is not asked."""

    def split(self) -> "Iterator[GivenRows]":
        """Yield the rows of each request."""
        remaining = iter(self.rows)
        while part := tuple(islice(remaining, AT_ONCE)):
            yield GivenRows(part)


def read_rows(texts: Sequence[str], target: str | None) -> GivenRows:
    """Read rows that are written as JSON; StepError for one that is none, or of another kind than the first."""
    places = [f"row {number}" for number in range(1, len(texts) + 1)]
    return _check_rows(zip(places, map(_parse_row, places, texts), strict=True), target)


def read_rows_file(file: Path, target: str | None, most: int | None = None) -> GivenRows:
    """Read the rows of a file (.csv, .jsonl), the first `most` of them; StepError for what is not one."""
    try:
        match file.suffix:
            case ".csv":
                found = list(islice(_read_csv(file), most))
                rows: Iterable[tuple[str, Row]] = _type_columns(found)
            case ".jsonl":
                rows = islice(_read_lines(file), most)
            case suffix:
                raise StepError(
                    f"{file.name} is of kind `{suffix}`, must be one of: {', '.join(SUFFIXES)}",
                    hint="a whole request, of any protocol, is sent as it is with --body",
                )
        return _check_rows(rows, target)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StepError(f"{file} can't be read: {error}") from error


def build_body(given: GivenRows, protocol: Protocol) -> bytes:
    """Return the body of a request; StepError where the protocol can't say such rows."""
    names = list(given.rows[0]) if isinstance(given.rows[0], dict) else None
    values = [list(row.values()) if isinstance(row, dict) else row for row in given.rows]
    match protocol:
        case "seldon":
            named = {"names": names} if names is not None else {}
            document: dict[str, Any] = {"data": {**named, "ndarray": values}}
        case "tensorflow":
            document = {"instances": list(given.rows)}
        case "v2":
            document = {"inputs": _build_tensors(names, values)}
        case _:
            assert_never(protocol)
    return json.dumps(document, allow_nan=False).encode()


def _build_tensors(names: list[str] | None, rows: list[list[Any]]) -> list[dict[str, Any]]:
    """Return a tensor of all values, or one of each named column."""
    if names is None:
        return [_build_tensor("x", [value for row in rows for value in row], len(rows))]
    return [
        _build_tensor(name, [row[number] for row in rows], len(rows))
        for number, name in enumerate(names)
    ]


def _build_tensor(name: str, values: list[Any], rows: int) -> dict[str, Any]:
    if all(isinstance(value, bool) for value in values):
        datatype = "BOOL"
    elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        datatype = "FP64"
    elif all(isinstance(value, str) for value in values):
        datatype = "BYTES"
    else:
        raise StepError(
            f"`{name}` has values of several kinds, or missing ones, which a tensor of the protocol v2 can't have",
            hint="give numbers, texts or booleans alone, or send a whole request with --body",
        )
    shape = [rows, len(values) // rows]
    return {"name": name, "shape": shape, "datatype": datatype, "data": values}


def _check_rows(rows: Iterable[tuple[str, Row]], target: str | None) -> GivenRows:
    """Return rows that have the same columns, or as many values; without the column of right answers."""
    found: list[Row] = []
    left_out = False
    for place, row in rows:
        asked = _leave_out(row, target)
        left_out |= len(asked) < len(row)
        if not asked:
            raise StepError(f"{place} has no value")
        found.append(_order_row(place, asked, found[0] if found else asked))
    if not found:
        raise StepError("there are no rows", hint="--row takes one as JSON, --file a file of them")
    return GivenRows(tuple(found), target or "" if left_out else "")


def _leave_out(row: Row, target: str | None) -> Row:
    if isinstance(row, list):
        return row
    return {name: value for name, value in row.items() if name != target}


def _order_row(place: str, row: Row, first: Row) -> Row:
    """Return a row in the order of the first one; StepError for one with other columns, or another number of values."""
    if isinstance(row, dict) and isinstance(first, dict) and row.keys() == first.keys():
        return {name: row[name] for name in first}
    if isinstance(row, list) and isinstance(first, list) and len(row) == len(first):
        return row
    raise StepError(f"{place} has {_describe(row)}, the rows before {_describe(first)}")


def _describe(row: Row) -> str:
    return (
        f"{len(row)} values" if isinstance(row, list) else f"the columns {', '.join(sorted(row))}"
    )


def _parse_row(place: str, text: str) -> Row:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StepError(
            f"{place} is not JSON: {error}",
            hint="""a row is `[5.1, "UA", null]`, or by name `{"distance": 5.1, "carrier": "UA"}`""",
        ) from error
    if not isinstance(row, list | dict):
        raise StepError(
            f"{place} is `{text[:60]}`, must be a list of values, or values by the name of their column"
        )
    return row


def _read_lines(file: Path) -> Iterator[tuple[str, Row]]:
    with file.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                place = f"{file.name}:{number}"
                yield place, _parse_row(place, line)


def _read_csv(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            place = f"{file.name}:{reader.line_num}"
            if None in row or None in row.values():
                raise StepError(
                    f"{place} has another number of values than the {len(reader.fieldnames or ())} of the header"
                )
            yield place, row


def _type_columns(rows: list[tuple[str, dict[str, str]]]) -> Iterator[tuple[str, Row]]:
    """Yield rows whose values have the type of their column: numbers where all are, as training reads them."""
    columns = {
        name: _find_type([row[name] for _, row in rows]) for name in (rows[0][1] if rows else ())
    }
    for place, row in rows:
        yield place, {name: columns[name](text) for name, text in row.items()}


def _find_type(texts: list[str]) -> Callable[[str], Any]:
    given = [text for text in texts if text]
    if given and all(_NUMBER.fullmatch(text) for text in given):
        return lambda text: json.loads(text) if text else None
    if given and all(text.lower() in _BOOLEANS for text in given):
        return lambda text: _BOOLEANS.get(text.lower())
    return lambda text: text or None
