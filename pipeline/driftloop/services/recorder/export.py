"""Putting parts together into one file: of any day and release, with the columns and from the time that are
asked for."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from driftloop.contract.captures import DAY_KEY, RELEASE_KEY, REQUEST, TIME, TrafficPart
from driftloop.contract.suggestions import suggest_closest
from driftloop.errors import PipelineError


class ExportError(PipelineError):
    """Parts that can't be put together as asked."""


def export_parts(
    folder: Path,
    out: Path,
    form: str,
    *,
    since: str | None = None,
    request: str | None = None,
    columns: Sequence[str] | None = None,
) -> int:
    """Write the rows of all parts below a folder to one file; their number. ExportError for a column that no
    part has."""
    files = _list_files(folder)
    schema = _unite_schemas(files)
    if columns is not None:
        chosen = dict.fromkeys(name for asked in columns for name in _find_columns(schema, asked))
        schema = pa.schema([schema.field(name) for name in chosen])
    moment = datetime.fromisoformat(since) if since is not None else None
    tables = (_read_table(part, file, schema, moment, request) for part, file in files)
    match form:
        case "parquet":
            return _write_parquet(tables, out, schema)
        case "csv":
            return _write_csv(tables, out, schema)
        case _:
            return _write_lines(tables, out)


def _find_columns(schema: pa.Schema, asked: str) -> Sequence[str]:
    """Return the column of this name, or its parts: an answer of several classes is `answer.CLASS`."""
    if asked in schema.names:
        return (asked,)
    if parts := [name for name in schema.names if name.startswith(f"{asked}.")]:
        return parts
    raise ExportError(
        f"the traffic has no column `{asked}`, must be of: {', '.join(schema.names[:30])}",
        hint=suggest_closest(asked, schema.names, fold=True),
    )


def _list_files(folder: Path) -> list[tuple[TrafficPart, Path]]:
    found = []
    for file in folder.rglob("*.parquet"):
        part = TrafficPart.parse(file.relative_to(folder).as_posix())
        if part is not None:
            found.append((part, file))
    return sorted(found)


def _unite_schemas(files: Sequence[tuple[TrafficPart, Path]]) -> pa.Schema:
    """Return the columns of all parts, in the order in which they come; one that is of several types is
    text."""
    kinds: dict[str, pa.DataType] = {DAY_KEY: pa.string(), RELEASE_KEY: pa.string()}
    for _, file in files:
        for field in pq.read_schema(file):
            known = kinds.setdefault(field.name, field.type)
            if known != field.type:
                kinds[field.name] = pa.string()
    return pa.schema(list(kinds.items()))


def _read_table(
    part: TrafficPart, file: Path, schema: pa.Schema, since: datetime | None, request: str | None
) -> pa.Table:
    # the file alone: its folders are not to be read as columns
    table = pq.ParquetFile(file).read()
    if since is not None:
        table = table.filter(pc.greater_equal(table[TIME], pa.scalar(since, table[TIME].type)))
    if request is not None:
        table = table.filter(pc.equal(table[REQUEST], request))
    said = {DAY_KEY: part.day, RELEASE_KEY: part.release}
    arrays = []
    for field in schema:
        if field.name in said:
            arrays.append(pa.array([said[field.name]] * table.num_rows, type=pa.string()))
        elif field.name in table.column_names:
            arrays.append(cast_column(table[field.name], field.type))
        else:
            arrays.append(pa.nulls(table.num_rows, field.type))
    return pa.table(arrays, schema=schema)


def cast_column(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    """Return a column as another type: lists become JSON."""
    if column.type == kind:
        return column
    if pa.types.is_list(column.type):
        texts = [None if value is None else json.dumps(value) for value in column.to_pylist()]
        return pa.array(texts, type=pa.string())
    return column.cast(kind)


def _write_parquet(tables: Iterator[pa.Table], out: Path, schema: pa.Schema) -> int:
    rows = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _write_csv(tables: Iterator[pa.Table], out: Path, schema: pa.Schema) -> int:
    rows = 0
    flat = pa.schema([pa.field(field.name, _flat_type(field.type)) for field in schema])
    with pyarrow.csv.CSVWriter(out, flat) as writer:
        for table in tables:
            columns = [_flatten_column(column) for column in table.columns]
            writer.write_table(pa.table(columns, schema=flat))
            rows += table.num_rows
    return rows


def _flat_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column in a CSV file: it has neither lists nor bytes."""
    return pa.string() if pa.types.is_list(kind) or pa.types.is_binary(kind) else kind


def _flatten_column(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if _flat_type(column.type) == column.type:
        return column
    return pa.array([_plain_value(value) for value in column.to_pylist()], type=pa.string())


def _plain_value(value: Any) -> str | None:
    match value:
        case None:
            return None
        case bytes():
            return value.decode(errors="backslashreplace")
        case _:
            return json.dumps(value)


def _write_lines(tables: Iterator[pa.Table], out: Path) -> int:
    rows = 0
    with out.open("w") as file:
        for table in tables:
            for row in table.to_pylist():
                file.write(json.dumps(row, default=_write_value) + "\n")
                rows += 1
    return rows


def _write_value(value: Any) -> str:
    match value:
        case bytes():
            return value.decode(errors="backslashreplace")
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case _:
            return str(value)
