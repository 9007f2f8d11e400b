"""Labels in files: CSV, JSON Lines or Parquet, a row with the id of a request and the right answer to it.

pyarrow is imported for a Parquet file only, and may be missing.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from driftloop.contract.documents import DocumentError, escape_text, from_json, show_value
from driftloop.contract.labels import RequestLabel
from driftloop.errors import StepError

REQUEST, LABEL = "request", "label"
"""Columns of a file, unless somebody says otherwise."""
SUFFIXES = (".csv", ".jsonl", ".parquet")


def read_labels(
    file: Path, refuse: Callable[[str], None], *, request: str = REQUEST, label: str = LABEL
) -> Iterator[RequestLabel]:
    """Yield the labels of a file, in its order; `refuse` hears of each row that has none. StepError for a file that can't be
    read."""
    for place, row in _read_rows(file, (request, label)):
        given = {"request": _read_id(row.get(request)), "label": row.get(label)}
        try:
            yield from_json(RequestLabel, given, label="the row")
        except DocumentError as error:
            refuse(f"{file.name}, {place}: {escape_text(error.message)}")


def _read_id(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole else value


def _read_rows(file: Path, needed: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each row is, and its values."""
    try:
        match file.suffix:
            case ".csv":
                yield from _read_csv(file, needed)
            case ".jsonl":
                yield from _read_lines(file)
            case ".parquet":
                yield from _read_parquet(file, needed)
            case suffix:
                raise StepError(
                    f"{file.name} is of kind `{suffix}`, must be one of: {', '.join(SUFFIXES)}"
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StepError(f"{file} can't be read: {error}") from error


def _read_csv(file: Path, needed: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        _require_columns(file, tuple(reader.fieldnames or ()), needed)
        for row in reader:
            # an empty field is no label
            yield f"line {reader.line_num}", {name: value or None for name, value in row.items()}


def _read_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise StepError(f"{file.name}, line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise StepError(
                    f"{file.name}, line {number} is {show_value(row)}, must be an object",
                    hint='a line is `{"request": "ID", "label": 3}`',
                )
            yield f"line {number}", row


def _read_parquet(file: Path, needed: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise StepError(
            f"{file.name} needs pyarrow, which is not installed",
            hint="write the labels as .csv or .jsonl, or load the file with `driftloop labels load` where pyarrow is "
            "(`uv pip install pyarrow`)",
        ) from error
    try:
        table = parquet.ParquetFile(file)
        _require_columns(file, tuple(table.schema_arrow.names), needed)
        number = 0
        for batch in table.iter_batches(columns=list(needed)):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except ArrowException as error:
        raise StepError(f"{file.name} is not a .parquet file: {error}") from error


def _require_columns(file: Path, names: tuple[str, ...], needed: tuple[str, str]) -> None:
    for column, option in zip(needed, ("--request", "--label"), strict=True):
        if column not in names:
            raise StepError(
                f"{file.name} has no column `{column}`, its columns are: {', '.join(map(str, names)) or 'none'}",
                hint=f"name it with `{option} COLUMN`",
            )
