"""Captured traffic as a replay asks it: the requests that came with their answers, in the order of their times.

Rows are those of the recorder's files (docs/guides/captured-traffic.md), one for each row of a request; each is asked
by itself. A shadow's are left out: it got copies of production's. What the recorder could not put into columns is
asked, or answered, as it came.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.contract.captures import (
    ANSWER,
    LATENCY,
    RAW_ANSWER,
    RAW_REQUEST,
    REQUEST,
    RESERVED,
    ROLE,
    ROW,
    STATUS,
    TIME,
)
from driftloop.contract.columns import FileColumns
from driftloop.contract.profiles import TableProfile
from driftloop.contract.times import SECOND
from driftloop.services.detector.fitting.artifact import ArtifactError
from driftloop.services.detector.replays.asking import AnsweredRow, AskedRow, RawRow, build_rows
from driftloop.services.detector.rows.tables import TableFile

MARKS = frozenset({TIME, REQUEST, ROW, ROLE, STATUS, LATENCY})
"""Columns that a file of captured traffic has."""
COPY = "shadow"
PREFIX = "request."


@dataclass(frozen=True)
class CapturedTraffic:
    """Rows of requests and their answers, the earliest first."""

    name: str
    """Of the file, or folder."""
    rows: tuple[dict[str, Any], ...]
    times: tuple[int, ...]
    """When each was asked, in nanoseconds since 1970."""

    @property
    def requests(self) -> tuple[str, ...]:
        """Id of each row's request."""
        return tuple(str(row[REQUEST]) for row in self.rows)

    def ask_rows(self, profile: TableProfile) -> tuple[AskedRow | RawRow, ...]:
        """Return the rows as requests; ArtifactError when none of them has the columns of the profile."""
        names = tuple(dict.fromkeys(name for row in self.rows for name in row if _is_request(name)))
        values = {
            name.removeprefix(PREFIX): np.fromiter(
                (row.get(name) for row in self.rows), dtype=object, count=len(self.rows)
            )
            for name in names
        }
        table = TableFile(self.name, FileColumns(self.name, "column", tuple(values)), values)
        asked = build_rows(table, profile)
        return tuple(
            each if row.get(RAW_REQUEST) is None else RawRow(row[RAW_REQUEST])
            for row, each in zip(self.rows, asked, strict=True)
        )

    def answer_rows(self) -> tuple[AnsweredRow, ...]:
        """Return the answers to the rows."""
        return tuple(AnsweredRow(_build_answer(row)) for row in self.rows)


def read_captured(place: Path) -> CapturedTraffic | None:
    """Read a folder of captured traffic, or one file of it; None for files of other rows. ArtifactError when only
    some are of captured traffic, or one can't be read."""
    files = [place] if place.is_file() else sorted(place.rglob("*.parquet"))
    if not files or any(file.suffix != ".parquet" for file in files):
        return None
    captured = [file for file in files if _is_captured(file)]
    if not captured:
        return None
    if len(captured) < len(files):
        other = next(file for file in files if file not in captured)
        raise ArtifactError(
            f"{other.name} has other rows than captured traffic, which {captured[0].name} has",
            hint="replay them one by one",
        )
    rows = [row for file in captured for row in _read_rows(file) if row[ROLE] != COPY]
    if not rows:
        raise ArtifactError(f"{place.name} has no rows of captured traffic but a shadow's copies")
    moments = [_read_time(row, place) for row in rows]
    order = sorted(range(len(rows)), key=lambda place: moments[place])
    return CapturedTraffic(
        place.name, tuple(rows[n] for n in order), tuple(moments[n] for n in order)
    )


def _is_captured(file: Path) -> bool:
    from pyarrow import ArrowException, parquet

    try:
        return set(parquet.read_schema(file).names) >= MARKS
    except (OSError, ArrowException) as error:
        raise ArtifactError(f"{file.name} can't be read: {error}") from error


def _read_rows(file: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowException, parquet

    try:
        # the file alone: its folders are not to be read as columns
        for batch in parquet.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
    except (OSError, ArrowException) as error:
        raise ArtifactError(f"{file.name} can't be read: {error}") from error


def _read_time(row: dict[str, Any], place: Path) -> int:
    moment = row[TIME]
    if not isinstance(moment, datetime):
        raise ArtifactError(
            f"{place.name}: request `{row[REQUEST]}` has no time: the file was changed since it was recorded"
        )
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * SECOND)


def _is_request(name: str) -> bool:
    return name not in RESERVED and not name.startswith(f"{ANSWER}.")


def _build_answer(row: dict[str, Any]) -> bytes | None:
    """Return the answer of a row as a server gives it; None where there was none."""
    if row.get(RAW_ANSWER) is not None:
        raw: bytes = row[RAW_ANSWER]
        return raw
    named = {
        name.removeprefix(f"{ANSWER}."): value
        for name, value in row.items()
        if name.startswith(f"{ANSWER}.") and value is not None
    }
    if named:
        document: dict[str, Any] = {"names": list(named), "ndarray": [list(named.values())]}
    elif row.get(ANSWER) is not None:
        value = row[ANSWER]
        document = {"ndarray": [value if isinstance(value, list) else [value]]}
    else:
        return None
    return json.dumps({"data": document}).encode()
