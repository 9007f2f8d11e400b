"""Rows of exchanges, gathered by day and release, as Parquet.

The same exchanges make the same bytes: types come from the profile, and of columns that it does not have
from the values of the part.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, assert_never

import pyarrow as pa
import pyarrow.parquet as pq

from driftloop.contract import captures
from driftloop.contract.documents import is_number, is_unicode
from driftloop.contract.times import SECOND
from driftloop.services.recorder.columns import (
    WITHHELD,
    BodyColumns,
    Concealment,
    RequestReader,
    ValueKind,
    name_column,
    read_answer,
)
from driftloop.services.recorder.joining import Exchange

OK = 200
"""Status of all answers that a logger posts."""
FIXED: tuple[tuple[str, pa.DataType], ...] = (
    (captures.TIME, pa.timestamp("us", tz="UTC")),
    (captures.REQUEST, pa.string()),
    (captures.ROW, pa.int32()),
    (captures.ROLE, pa.string()),
    (captures.STATUS, pa.int16()),
    (captures.LATENCY, pa.float64()),
    (captures.PROBLEM, pa.string()),
    (captures.RAW_REQUEST, pa.binary()),
    (captures.RAW_ANSWER, pa.binary()),
)


@dataclass
class GatheredRows:
    """Rows of one day and release."""

    kinds: Mapping[str, ValueKind]
    """By column; those of answers, and of hashes, are as their values are."""
    fixed: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name, _ in FIXED})
    columns: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Rows so far."""
        return len(self.fixed[captures.ROW])

    def add_rows(self, count: int, columns: Mapping[str, list[Any]], **values: Any) -> None:
        """Add rows; `values` are those of the fixed columns, the same for all but raw bodies."""
        before = self.count
        for name, _ in FIXED:
            self.fixed[name] += _repeat_value(name, values[name], count)
        for name, added in columns.items():
            kept = self.columns.setdefault(name, [])
            kept += [None] * (before - len(kept))
            kept += added

    def build_table(self) -> pa.Table:
        """Return the rows as a table: fixed columns, then those of requests and answers by name."""
        arrays = [pa.array(self.fixed[name], type=kind) for name, kind in FIXED]
        names = [name for name, _ in FIXED]
        for name in sorted(self.columns):
            values = self.columns[name]
            values += [None] * (self.count - len(values))
            arrays.append(_build_array(values, self.kinds.get(name, "any")))
            names.append(name)
        return pa.table(arrays, names=names)


class PartRows:
    """Takes exchanges, and makes one Parquet file of each day and release."""

    def __init__(self, readers: Mapping[str, RequestReader], concealment: Concealment) -> None:
        self._readers = readers
        self._none = RequestReader()
        self._concealment = concealment
        self._groups: dict[tuple[str, str], GatheredRows] = {}
        self.counts: Counter[str] = Counter()

    def add_exchange(self, exchange: Exchange) -> None:
        """Add the rows of an exchange."""
        first = exchange.first
        reader = self._readers.get(first.release, self._none)
        asked, answered = self._read_bodies(exchange, reader)
        count = max(asked.count, answered.count, 1)
        columns = {
            name: values + [None] * (count - len(values))
            for name, values in {**asked.columns, **answered.columns}.items()
        }
        raw = [
            event.body if body.problem and event is not None else None
            for event, body in ((exchange.request, asked), (exchange.answer, answered))
        ]
        problem = "; ".join(
            f"{side}: {body.problem}"
            for side, body in (("request", asked), ("answer", answered))
            if body.problem
        )
        if any(body is not None for body in raw):
            self.counts["undecoded"] += sum(body is not None for body in raw)
            if self._concealment.withholds:
                self.counts["withheld"] += sum(body is not None for body in raw)
                raw, problem = [None, None], problem + WITHHELD
        day = datetime.fromtimestamp(first.time // SECOND, UTC).date().isoformat()
        self._find_group(day, first.release, reader).add_rows(
            count,
            self._concealment.conceal(columns),
            **{
                captures.TIME: first.time // 1000,
                captures.REQUEST: first.request,
                captures.ROW: 0,
                captures.ROLE: first.role,
                captures.STATUS: OK if exchange.answer is not None else None,
                captures.LATENCY: exchange.latency,
                captures.PROBLEM: problem,
                captures.RAW_REQUEST: raw[0],
                captures.RAW_ANSWER: raw[1],
            },
        )
        self._count_exchange(exchange, count)

    def list_tables(self) -> Iterable[tuple[str, str, pa.Table]]:
        """Yield day, release and rows of each file."""
        for (day, release), group in sorted(self._groups.items()):
            yield day, release, group.build_table()

    def _find_group(self, day: str, release: str, reader: RequestReader) -> GatheredRows:
        group = self._groups.get((day, release))
        if group is None:
            typed = reader.kinds.keys() - self._concealment.hash
            kinds = {name_column(name): reader.kinds[name] for name in typed}
            group = self._groups[day, release] = GatheredRows(kinds)
        return group

    def _read_bodies(
        self, exchange: Exchange, reader: RequestReader
    ) -> tuple[BodyColumns, BodyColumns]:
        asked = answered = BodyColumns()
        if (event := exchange.request) is not None:
            asked = reader.read_body(event.body, event.protocol)
        if (event := exchange.answer) is not None:
            answered = read_answer(event.body, event.protocol)
        if asked.count and answered.count and asked.count != answered.count:
            problem = f"{answered.count} answers to {asked.count} rows"
            answered = BodyColumns(problem=problem)
        return asked, answered

    def _count_exchange(self, exchange: Exchange, rows: int) -> None:
        counts = self.counts
        counts["rows"] += rows
        counts["events"] += len(exchange.events)
        match exchange.request, exchange.answer:
            case None, _:
                counts["unasked"] += 1
            case _, None:
                counts["unanswered"] += 1
            case _:
                counts["pairs"] += 1


def write_parquet(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_index=False)
    return bytes(sink.getvalue())


def read_parquet(data: bytes) -> pa.Table:
    """Return the rows of the bytes of a Parquet file; ArrowException when they are none.

    Without Arrow's threads: a program that ends right after they have read bytes, other than a file, is aborted one
    time in three (apache/arrow#34314), although all of its work is done.
    """
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def _repeat_value(name: str, value: Any, count: int) -> Sequence[Any]:
    match name:
        case captures.ROW:
            return range(count)
        case captures.RAW_REQUEST | captures.RAW_ANSWER:
            # once: it is the body of the whole request
            return [value, *[None] * (count - 1)]
        case _:
            return [value] * count


def _build_array(values: list[Any], kind: ValueKind) -> pa.Array:
    match kind:
        case "number":
            return pa.array(values, type=pa.float64())
        case "boolean":
            return pa.array(values, type=pa.bool_())
        case "text":
            return pa.array(values, type=pa.string())
        case "numbers":
            return pa.array(values, type=pa.list_(pa.float64()))
        case "any":
            return _infer_array(values)
        case _:
            assert_never(kind)


def _infer_array(values: list[Any]) -> pa.Array:
    """Return values of a column without a type, by what they all are; what is mixed becomes JSON."""
    types = {type(value) for value in values if value is not None}
    if types and types <= {int, float}:
        if all(value is None or is_number(value) for value in values):
            return pa.array([None if v is None else float(v) for v in values], type=pa.float64())
    elif types == {bool}:
        return pa.array(values, type=pa.bool_())
    elif types == {list} and all(value is None or all(map(is_number, value)) for value in values):
        listed = [None if value is None else [*map(float, value)] for value in values]
        return pa.array(listed, type=pa.list_(pa.float64()))
    return pa.array([_write_text(value) for value in values], type=pa.string())


def _write_text(value: Any) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) and is_unicode(value) else json.dumps(value)
