"""Files of training rows as columns of values, whatever their format.

Arrow reads .csv (every field as text, an empty one as a missing value) and .parquet; numpy reads .npz;
.jsonl is read line by line, since there a column may hold values of several types.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.columns import ColumnError, FileColumns, find_gap_marks, parse_row

Values = NDArray[Any]
"""Values of one column: numbers (n, or n x width for an array), or objects (n) that are None, numbers,
booleans, texts or lists."""


@dataclass(frozen=True)
class TableFile:
    """One file of rows."""

    file: str
    columns: FileColumns
    values: dict[str, Values]
    texts: bool = False
    """Every value is text: the format has no types."""

    def describe_row(self, number: int) -> str:
        """Return the place of a row, counted from 0, as messages name it."""
        return f"{self.file}, row {number + 1}"


def read_table(path: Path, file: str) -> TableFile:
    """Read a file; ColumnError names the file, and the row where there is one."""
    try:
        match path.suffix:
            case ".npz":
                return _read_npz(path, file)
            case ".csv":
                return _read_csv(path, file)
            case ".parquet":
                return _read_parquet(path, file)
            case _:
                return _read_jsonl(path, file)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ColumnError(f"{file} can't be read as rows: {error}") from error


def drop_gap_marks(tables: Sequence[TableFile]) -> tuple[TableFile, ...]:
    """Return the files, of .csv files with gaps wherever one of them has the text that marks gaps among
    their numbers (`find_gap_marks`)."""
    columns = (values for table in tables if table.texts for values in table.values.values())
    marks = find_gap_marks(columns)
    return tuple(_drop_marks(table, marks) if table.texts and marks else table for table in tables)


def _drop_marks(table: TableFile, marks: frozenset[str]) -> TableFile:
    values = {
        name: np.fromiter(
            (None if field in marks else field for field in fields), dtype=object, count=len(fields)
        )
        for name, fields in table.values.items()
    }
    return replace(table, values=values)


def _read_npz(path: Path, file: str) -> TableFile:
    with np.load(path, allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    for name, array in values.items():
        if array.ndim == 0:
            raise ColumnError(f"{file}: array `{name}` is a single value, must have rows")
        if array.dtype.kind in "US":
            values[name] = array.astype(str).astype(object)
    return TableFile(file, FileColumns(file, "array", tuple(values)), values)


def _read_csv(path: Path, file: str) -> TableFile:
    import pyarrow
    from pyarrow import csv

    with path.open("rb") as stream:
        header = stream.readline()
    if not header.strip():
        raise ColumnError(f"{file} has no header line")
    names = csv.read_csv(pyarrow.BufferReader(header)).column_names
    if len(set(names)) != len(names):
        raise ColumnError(f"{file}: two columns have the same name")
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pyarrow.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    table = csv.read_csv(
        path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=options
    )
    values = {
        name: table.column(name).to_numpy(zero_copy_only=False).astype(object) for name in names
    }
    return TableFile(file, FileColumns(file, "column", tuple(names)), values, texts=True)


def _read_parquet(path: Path, file: str) -> TableFile:
    from pyarrow import parquet

    table = parquet.read_table(path)
    values = {name: _convert_arrow(table.column(name), name, file) for name in table.column_names}
    return TableFile(file, FileColumns(file, "column", tuple(values)), values)


def _convert_arrow(column: Any, name: str, file: str) -> Values:
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if types.is_integer(kind) or types.is_decimal(kind):
        column = column.cast(pyarrow.float64(), safe=False)
    elif types.is_temporal(kind):
        column = column.cast(pyarrow.string())
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return np.fromiter(column.to_pylist(), dtype=object, count=len(column))
    elif not (
        types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_null(kind)
    ):
        raise ColumnError(
            f"{file}: column `{name}` is {kind}, must be numbers, booleans, text, times or lists",
            hint="convert it in a data step, or leave it out of `data.features`",
        )
    array: Values = column.to_numpy()
    return array if array.dtype.kind == "f" else array.astype(object)


def _read_jsonl(path: Path, file: str) -> TableFile:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                rows.append(parse_row(line, f"{file}, line {number}"))
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    values = {
        name: np.fromiter((row.get(name) for row in rows), dtype=object, count=len(rows))
        for name in names
    }
    return TableFile(file, FileColumns(file, "column", names), values)


def stack_lists(table: TableFile, name: str) -> Values:
    """Return a column of lists as an array of numbers (n x width); ColumnError names the row of one that
    is not numbers, or has another width than the first."""
    values = table.values[name]
    if values.dtype != object:
        return values.reshape(len(values), math.prod(values.shape[1:]))
    rows: list[Values | None] = []
    width: int | None = None
    for number, value in enumerate(values):
        row = None if value is None else _read_list(value)
        if value is not None and (row is None or width not in (None, len(row))):
            expected = "numbers" if width is None else f"{width} numbers"
            raise ColumnError(f"{table.describe_row(number)}: `{name}` is not a list of {expected}")
        width = width if row is None else len(row)
        rows.append(row)
    empty = np.full(width or 0, np.nan)
    return np.stack([empty if row is None else row for row in rows])


def _read_list(value: Any) -> Values | None:
    try:
        row = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError):
        return None
    return row.reshape(-1) if isinstance(value, list) else None
