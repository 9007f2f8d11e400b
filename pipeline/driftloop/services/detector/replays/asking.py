"""Rows of files as the requests of callers, or the answers to them, in the order in which they are asked: that of
the files and their rows, or that of a column of times."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from driftloop.contract.columns import NOT_THERE
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.replays import ReplayOrder
from driftloop.contract.times import SECOND
from driftloop.services.detector.fitting.artifact import ArtifactError, read_files, read_folder
from driftloop.services.detector.rows.payload import DecodedRows, EventDecoder
from driftloop.services.detector.rows.tables import TableFile, Values
from driftloop.services.detector.rows.values import RowFaults

Names = tuple[str, ...]


class ReplayedRow(Protocol):
    """One row of what is replayed."""

    def decode(self, decoder: EventDecoder) -> DecodedRows:
        """Return it as a detector's decoder reads it."""
        ...


@dataclass(frozen=True)
class AskedRow:
    """One request of one row."""

    names: Names
    """Names of the values; none of an array."""
    values: Any
    """A value for each name; of an array its numbers, nested as they are."""

    def encode(self) -> bytes:
        """Return the body of the request."""
        row = self.values if isinstance(self.values, list) else [self.values]
        return json.dumps({"data": {"names": list(self.names), "ndarray": [row]}}).encode()

    def decode(self, decoder: EventDecoder) -> DecodedRows:
        """Return it as a detector's decoder reads it."""
        return decoder.decode_rows(self.encode())


@dataclass(frozen=True)
class RawRow:
    """A request as it came."""

    body: bytes

    def decode(self, decoder: EventDecoder) -> DecodedRows:
        """Return it as a detector's decoder reads it."""
        return decoder.decode_rows(self.body)


@dataclass(frozen=True)
class AnsweredRow:
    """The answer to one row."""

    body: bytes | None
    """The response; None: there was none."""

    def decode(self, decoder: EventDecoder) -> DecodedRows:
        """Return it as a detector's decoder reads it."""
        if self.body is None:
            return DecodedRows(decoder.no_rows(), RowFaults())
        return decoder.decode_rows(self.body)


@dataclass(frozen=True)
class AskedRows:
    """All rows, or the answers to them, in their order."""

    rows: tuple[ReplayedRow, ...]
    times: tuple[int, ...]
    """When each was asked, in nanoseconds since 1970, or, by a rate, since the first; 0: there are no
    times."""
    unordered: int
    """Rows that come before an earlier row of the files."""
    timed: bool
    """Windows may close by time."""

    def find_second(self, row: int) -> float:
        """Return when a row was asked, counted from 1, in seconds."""
        return self.times[row - 1] / SECOND


def read_tables(folder: Path) -> tuple[TableFile, ...]:
    """Read the files of rows of a folder, or one file; ArtifactError when there is none, or one can't be
    read."""
    if folder.is_file():
        return read_files([folder], folder.parent)
    return read_folder(folder)


def order_rows(tables: Sequence[TableFile], profile: TableProfile, order: ReplayOrder) -> AskedRows:
    """Return the rows of files as requests; ArtifactError for a file that has none of the columns, and for
    a row without a time."""
    rows = [row for table in tables for row in build_rows(table, profile)]
    return _order_rows(rows, tables, order)


def order_answers(
    answers: Sequence[ReplayedRow], tables: Sequence[TableFile], order: ReplayOrder
) -> AskedRows:
    """Return the answers to the rows of files, in the order of these; ArtifactError for another number of
    them, and for a row without a time."""
    count = sum(len(next(iter(table.values.values()), ())) for table in tables)
    if len(answers) != count:
        raise ArtifactError(
            f"there are {len(answers)} answers, must be one for each of the {count} rows",
            hint="write `null` where a row has no answer",
        )
    return _order_rows(answers, tables, order)


def read_answers(file: Path) -> tuple[AnsweredRow, ...]:
    """Read a file of answers, one a line as the server gave it, `null` where there was none; ArtifactError."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ArtifactError(f"{file} can't be read: {error.strerror}") from error
    answers = []
    for number, line in enumerate(lines, 1):
        try:
            document = json.loads(line)
        except ValueError as error:
            raise ArtifactError(
                f"{file.name}, line {number} is `{line[:60].decode(errors='replace')}`, must be an answer in JSON"
            ) from error
        answers.append(AnsweredRow(None if document is None else line))
    return tuple(answers)


def _order_rows(
    rows: Sequence[ReplayedRow],
    tables: Sequence[TableFile],
    order: ReplayOrder,
) -> AskedRows:
    if not rows:
        raise ArtifactError("the files have no rows")
    if order.time is None:
        rate = order.rate
        times = [0 if rate is None else round(n / rate * SECOND) for n in range(1, len(rows) + 1)]
        return AskedRows(tuple(rows), tuple(times), 0, rate is not None)
    times = [time for table in tables for time in _read_times(table, order.time)]
    places = sorted(range(len(rows)), key=times.__getitem__)
    late = int(np.sum(np.maximum.accumulate(np.array(times)) > np.array(times)))
    return AskedRows(
        tuple(rows[place] for place in places), tuple(times[place] for place in places), late, True
    )


def build_rows(table: TableFile, profile: TableProfile) -> Iterator[AskedRow]:
    """Yield the request of each row of a file, without the target; ArtifactError for a file that has none of
    the columns."""
    if profile.is_array:
        ((name, _),) = profile.arrays
        if name not in table.values:
            raise ArtifactError(f"{table.file} has no array `{name}`, which the detector judges")
        for row in table.values[name]:
            yield AskedRow((), row.tolist() if isinstance(row, np.ndarray | np.generic) else row)
        return
    types = {column.name: column for column in profile.columns}
    names = tuple(name for name in profile.order if name in table.values)
    if not names:
        raise ArtifactError(
            f"{table.file} has none of the columns that the detector judges: {', '.join(profile.order[:10])}"
        )
    columns = [_list_values(table, table.values[name], types.get(name)) for name in names]
    for values in zip(*columns, strict=True):
        yield AskedRow(names, list(values))


def _list_values(table: TableFile, values: Values, column: ColumnProfile | None) -> list[Any]:
    """Return the values of a column as a caller has them; a .csv file has numbers as text."""
    if not table.texts or column is None or column.type not in ("number", "boolean"):
        listed: list[Any] = values.tolist()
        return listed
    return [_read_text(text, column) for text in values]


def _read_text(text: str | None, column: ColumnProfile) -> Any:
    if text is None or text in NOT_THERE:
        return None
    if column.type == "boolean":
        return text.strip()
    try:
        return float(text)
    except ValueError:
        return text


def _read_times(table: TableFile, name: str) -> Iterator[int]:
    if name not in table.values:
        columns = ", ".join(f"`{each}`" for each in table.columns.names)
        raise ArtifactError(
            f"{table.file} has no column `{name}` with times; its columns: {columns}"
        )
    for number, value in enumerate(table.values[name].tolist()):
        time = _read_time(value)
        if time is None:
            shown = "missing" if value is None else f"`{value!s:.60}`"
            raise ArtifactError(
                f"{table.describe_row(number)}: the time in `{name}` is {shown}, must be a time such as "
                "2026-01-31T09:30:00Z, or seconds since 1970"
            )
        yield time


def _read_time(value: Any) -> int | None:
    """Return a time in nanoseconds since 1970, one without a zone as UTC; None for what is none."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        if not isinstance(value, str):
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return round(seconds * SECOND) if isfinite(seconds) and seconds > 0 else None
