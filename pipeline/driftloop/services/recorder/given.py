"""Labels as they were given, in files of the recorder's parts, and the ledgers of the batches that were made of them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location
from driftloop.contract.batches import (
    GIVEN,
    LABEL,
    LATE,
    MOST_LABELS,
    REQUEST,
    RESULT,
    BatchRange,
    BatchResult,
    GivenPart,
    LabelledBatch,
    given_key,
    ledger_key,
)
from driftloop.contract.captures import first_kept_day
from driftloop.contract.documents import parse_json, to_json
from driftloop.contract.labels import LabelBatch
from driftloop.contract.platform import S3_BUCKET
from driftloop.contract.times import SECOND
from driftloop.services.recorder.parts import read_parquet, write_parquet

_SCHEMA = pa.schema(
    [(REQUEST, pa.string()), (LABEL, pa.string()), (GIVEN, pa.timestamp("us", tz="UTC"))]
)
_ATTEMPTS = 2
"""Of each call: the recorder itself tries a part again until it is written."""


@dataclass(frozen=True, slots=True, order=True)
class GivenLabel:
    """A label of one request."""

    given: int
    """Microseconds since 1970; of several to one request the last one counts."""
    place: int
    """Number in its event: of those of one event the last one counts."""
    label: str
    """As JSON."""
    fresh: bool = True
    """No look at the labels had it before."""


def build_given(batches: Iterable[LabelBatch]) -> pa.Table:
    """Return labels as they were given as a table, in their order."""
    rows = [(each, batch.given) for batch in batches for each in batch.labels]
    values = [
        [label.request for label, _ in rows],
        [json.dumps(label.label) for label, _ in rows],
        [given for _, given in rows],
    ]
    return pa.table(
        [pa.array(column, type=field.type) for column, field in zip(values, _SCHEMA, strict=True)],
        schema=_SCHEMA,
    )


class LabelFolder:
    """Files of labels and of batches. Every method raises StoreError when the store is away or refuses."""

    def __init__(self, store: ObjectStore, bucket: str, pipeline: str) -> None:
        self._store = store
        self._pipeline = pipeline
        self._given = StoreLocation(bucket, given_key(pipeline))
        self._ledgers = StoreLocation(bucket, ledger_key(pipeline))

    @classmethod
    def open(cls, environment: Mapping[str, str], pipeline: str) -> "LabelFolder":
        """Open the folder in the store that a container's environment names."""
        bucket = S3_BUCKET.read(environment)
        return cls(ObjectStore.from_environment(environment, attempts=_ATTEMPTS), bucket, pipeline)

    def write_given(self, part: GivenPart, table: pa.Table) -> None:
        """Put the labels of a part at their key; a repeat puts the same ones."""
        self._store.write_object(self._given / part.key, write_parquet(table))

    def list_given(self) -> list[GivenPart]:
        """Return the files of labels, in the order of their keys."""
        entries = self._store.list_folder(self._given)
        keys = (self._given.relative_key(entry.key) for entry in entries)
        return [part for part in map(GivenPart.parse, keys) if part is not None]

    def read_given(self, part: GivenPart) -> pa.Table:
        """Return the labels of a file."""
        return read_parquet(self._store.read_object(self._given / part.key))

    def list_ledgers(self) -> list[LabelledBatch]:
        """Return the batches that have a ledger."""
        entries = self._store.list_folder(self._ledgers)
        keys = (self._ledgers.relative_key(entry.key) for entry in entries)
        return [batch for batch in map(LabelledBatch.parse_ledger, keys) if batch is not None]

    def read_ledger(self, batch: LabelledBatch) -> pa.Table:
        """Return the requests and labels of a batch."""
        return read_parquet(self._store.read_object(self._ledgers / batch.ledger))

    def find_result(self, batch: LabelledBatch, uri: str) -> BatchResult | None:
        """Return what came of a batch that is stored wholly; None of another one."""
        if not self._store.has_object(parse_location(uri) / batch.key(self._pipeline)):
            return None
        metadata = self.read_ledger(batch).schema.metadata or {}
        return BatchResult.read(parse_json(metadata.get(RESULT, b"{}"), label="a ledger"))

    def write_batch(
        self, batch: LabelledBatch, uri: str, rows: pa.Table, ledger: pa.Table, result: BatchResult
    ) -> None:
        """Put a batch into the folder of the data, after its ledger: a batch that is there has one."""
        told = ledger.replace_schema_metadata({RESULT: json.dumps(to_json(result)).encode()})
        self._store.write_object(self._ledgers / batch.ledger, write_parquet(told))
        self._store.write_object(
            parse_location(uri) / batch.key(self._pipeline), write_parquet(rows)
        )

    def delete_old(self, keep: float, now: datetime) -> int:
        """Delete the labels of days that are not kept any longer; the number of their files. Ledgers stay a
        day longer than the labels and the traffic that they speak of."""
        first = first_kept_day(now, keep)
        gone = [self._given / part.key for part in self.list_given() if part.day < first]
        last = now.timestamp() - keep - 2 * LATE
        gone += [
            StoreLocation(self._ledgers.bucket, entry.key)
            for entry in self._store.list_folder(self._ledgers)
            if entry.modified < last
        ]
        for place in gone:
            self._store.delete_object(place)
        return len(gone)


def collect_labels(
    folder: LabelFolder, stream: str, range: BatchRange
) -> tuple[dict[str, GivenLabel], int]:
    """Return the last label of each request that labels of a range are about, with those that may still wait for
    their request; and the last part whose labels are among them, before the end of the range where they are many."""
    waiting = datetime.fromtimestamp(range.moment / SECOND - LATE, UTC).date().isoformat()
    labels: dict[str, GivenLabel] = {}
    last = range.after
    for part in sorted(folder.list_given(), key=lambda part: (part.stream == stream, part.number)):
        own = part.stream == stream
        fresh = own and range.after < part.number <= range.last
        if fresh and len(labels) >= MOST_LABELS:
            return labels, last
        if not fresh and (part.day < waiting or (own and part.number > range.last)):
            continue
        _add_labels(labels, folder.read_given(part), fresh=fresh)
        if fresh:
            last = part.number
    return labels, range.last


def drop_batched(
    folder: LabelFolder, stream: str, range: BatchRange, labels: dict[str, GivenLabel]
) -> int:
    """Take out the labels of requests that are in an earlier batch; how many of them say otherwise and had not
    been looked at before."""
    corrected = 0
    for batch in folder.list_ledgers():
        if batch.stream == stream and batch.number >= range.number:
            continue
        for request, label, _ in _iterate_rows(folder.read_ledger(batch)):
            known = labels.pop(request, None)
            corrected += known is not None and known.fresh and known.label != label
    return corrected


def build_ledger(chosen: Mapping[str, GivenLabel]) -> pa.Table:
    """Return the requests and labels of a batch as a table, in the order of the requests."""
    rows = sorted(chosen.items())
    return pa.table(
        [
            pa.array([request for request, _ in rows], type=pa.string()),
            pa.array([label.label for _, label in rows], type=pa.string()),
            pa.array([label.given for _, label in rows], type=_SCHEMA.field(GIVEN).type),
        ],
        schema=_SCHEMA,
    )


def _add_labels(labels: dict[str, GivenLabel], table: pa.Table, *, fresh: bool) -> None:
    for place, (request, label, given) in enumerate(_iterate_rows(table)):
        found = GivenLabel(given, place, label, fresh)
        known = labels.get(request)
        if known is None or (known.given, known.place) <= (given, place):
            labels[request] = found


def _iterate_rows(table: pa.Table) -> Iterator[tuple[str, str, int]]:
    given = table[GIVEN].cast(pa.int64())
    columns: tuple[list[Any], ...] = (
        table[REQUEST].to_pylist(),
        table[LABEL].to_pylist(),
        given.to_pylist(),
    )
    yield from zip(*columns, strict=True)
