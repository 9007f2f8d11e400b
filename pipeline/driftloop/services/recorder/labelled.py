"""Labelled traffic as a batch of training data: captured requests with the last label of each.

What a batch has follows from its range, from files that are written and never changed, and from the ledgers of the
batches before it. So a repeat makes the same batch, and no request is in two.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from driftloop.contract import captures
from driftloop.contract.batches import (
    LARGEST_BATCH,
    LATE,
    BatchRange,
    BatchResult,
    LabelledBatch,
)
from driftloop.contract.documents import is_number
from driftloop.contract.recorders import WriteOrder
from driftloop.contract.times import SECOND
from driftloop.errors import StoreError
from driftloop.services.recorder.export import cast_column
from driftloop.services.recorder.given import (
    GivenLabel,
    LabelFolder,
    build_ledger,
    collect_labels,
    drop_batched,
)
from driftloop.services.recorder.storage import TrafficFolder

_OWN = frozenset(column.name for column in captures.TRAFFIC_COLUMNS)
_PREFIX = "request."
_MICROSECOND = 1000


@dataclass
class LabelledRows:
    """Rows of requests that have labels, gathered file by file."""

    tables: list[pa.Table] = field(default_factory=list)
    targets: list[Any] = field(default_factory=list)
    chosen: dict[str, GivenLabel] = field(default_factory=dict)
    """Requests of the rows, and their labels."""
    unfit: int = 0
    """Labels of another number of rows than their request has."""
    full: bool = False
    """There is more than one batch may have."""

    @property
    def size(self) -> int:
        """Bytes of the rows in memory."""
        return sum(table.nbytes for table in self.tables)

    def add_rows(self, traffic: pa.Table, labels: dict[str, GivenLabel]) -> None:
        """Add the rows of a file whose requests have labels, and take these out of `labels`."""
        features = [name for name in traffic.column_names if is_feature(name)]
        known = pc.is_in(traffic[captures.REQUEST], value_set=pa.array(labels, type=pa.string()))
        found = traffic.filter(known)
        if not features or not found.num_rows:
            return
        taken: list[int] = []
        for request, start, count in list_requests(found):
            if request not in labels or not _is_decoded(found, features, start):
                continue
            given = labels.pop(request)
            values = spread_label(json.loads(given.label), count)
            if values is None:
                self.unfit += given.fresh
                continue
            self.chosen[request] = given
            self.targets += values
            taken += range(start, start + count)
        if taken:
            rows = found.take(pa.array(taken)).select(features)
            self.tables.append(rows.rename_columns([name_feature(name) for name in features]))

    def build_table(self, target: str) -> pa.Table:
        """Return all rows with their labels as a column of this name."""
        rows = unite_tables(self.tables)
        if target in rows.column_names:
            rows = rows.drop_columns([target])
        return rows.append_column(target, build_target(self.targets))


def write_batch(
    order: WriteOrder, range: BatchRange, folder: LabelFolder, traffic: TrafficFolder
) -> BatchResult:
    """Write the batch of a range where there are rows enough; what came of it. StoreError when a store is away."""
    settings, stream = order.settings.batches, order.stream
    if settings is None:
        raise StoreError("the order has a batch, and the recorder's settings have none")
    batch = LabelledBatch(stream, range.number)
    if order.again and (known := folder.find_result(batch, settings.uri)) is not None:
        return known
    labels, last = collect_labels(folder, stream, range)
    corrected = drop_batched(folder, stream, range, labels)
    rows = find_rows(traffic, stream, range, labels)
    late = (range.moment - round(LATE * SECOND)) // _MICROSECOND
    more = last < range.last
    if not rows.targets or (len(rows.targets) < settings.least and not more):
        waiting = len(labels) + len(rows.chosen)
        if waiting and not more:
            return BatchResult(after=range.after, waiting=waiting)
        told = BatchResult(corrected=corrected, unfit=rows.unfit, waiting=waiting, more=more)
        return replace(told, after=last)
    result = BatchResult(
        rows=len(rows.targets),
        requests=len(rows.chosen),
        corrected=corrected,
        unfit=rows.unfit,
        after=range.after if rows.full else last,
        waiting=sum(label.given >= late for label in labels.values()),
        more=rows.full or more,
    )
    table = rows.build_table(settings.target)
    folder.write_batch(batch, settings.uri, table, build_ledger(rows.chosen), result)
    return result


def find_rows(
    traffic: TrafficFolder, stream: str, range: BatchRange, labels: dict[str, GivenLabel]
) -> LabelledRows:
    """Gather the rows of requests with labels, newest traffic first, and take those found out of `labels`."""
    rows = LabelledRows()
    stored = (each.part for each in traffic.list_parts())
    parts = (part for part in stored if part.stream != stream or part.number <= range.last)
    for part in sorted(parts, key=lambda part: (part.day, part.number, part.key), reverse=True):
        if not labels or rows.full:
            break
        rows.add_rows(traffic.read_part(part), labels)
        rows.full = rows.size >= LARGEST_BATCH
    return rows


def is_feature(column: str) -> bool:
    """Return True for a column of captured traffic that the request had."""
    answer = column == captures.ANSWER or column.startswith(f"{captures.ANSWER}.")
    return column not in _OWN and not answer


def name_feature(column: str) -> str:
    """Return the request's own name of a column of captured traffic."""
    return column.removeprefix(_PREFIX)


def list_requests(rows: pa.Table) -> Iterator[tuple[str, int, int]]:
    """Yield request, first row and number of rows of each exchange."""
    requests, numbers = rows[captures.REQUEST].to_pylist(), rows[captures.ROW].to_pylist()
    starts = [place for place, number in enumerate(numbers) if number == 0]
    for start, end in pairwise([*starts, len(numbers)]):
        yield requests[start], start, end - start


def spread_label(label: Any, count: int) -> list[Any] | None:
    """Return the label of each row of a request; None when there are as many as it has not."""
    values = label if isinstance(label, list) else [label]
    return values if len(values) == count else None


def build_target(values: list[Any]) -> pa.Array:
    """Return labels as a column: of booleans, whole numbers or numbers where all are; else of texts."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return pa.array(values, type=pa.bool_())
    if kinds == {int} and all(abs(value) < 2**63 for value in values):
        return pa.array(values, type=pa.int64())
    if kinds <= {int, float} and all(map(is_number, values)):
        return pa.array([float(value) for value in values], type=pa.float64())
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values)
    return pa.array(list(texts), type=pa.string())


def unite_tables(tables: Iterable[pa.Table]) -> pa.Table:
    """Return the rows of all tables with the columns of all; one that is of several types is text."""
    tables = tuple(tables)
    kinds: dict[str, pa.DataType] = {}
    for table in tables:
        for each in table.schema:
            known = kinds.setdefault(each.name, each.type)
            if known != each.type:
                kinds[each.name] = pa.string()
    schema = pa.schema(sorted(kinds.items()))
    return pa.concat_tables(
        pa.table(
            [
                cast_column(table[each.name], each.type)
                if each.name in table.column_names
                else pa.nulls(table.num_rows, each.type)
                for each in schema
            ],
            schema=schema,
        )
        for table in tables
    ).combine_chunks()


def _is_decoded(rows: pa.Table, features: list[str], start: int) -> bool:
    """Return False of a row without a value of the request: it could not be read, or its answer came alone."""
    return any(rows[name][start].is_valid for name in features)
