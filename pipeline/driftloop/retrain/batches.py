"""The batches that runs of a pipeline have read: `snapshot` stores them, `look` and the decision
that waits for data compare with them."""

from collections.abc import Collection
from dataclasses import dataclass

from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation
from driftloop.contract.documents import to_json
from driftloop.contract.records import SeenBatches
from driftloop.contract.sources import TAGGED, CollectedFiles
from driftloop.contract.trees import collected_key, seen_key

Batch = tuple[str, str]
"""Key below the folder of the data, and ETag."""


@dataclass(frozen=True)
class NewBatches:
    """The keys of the batches that no run has read, sorted, and the number of all there are."""

    new: tuple[str, ...]
    total: int


def find_new_batches(
    store: ObjectStore,
    bucket: StoreLocation,
    pipeline: str,
    source: StoreLocation,
    *,
    collected: bool = False,
) -> NewBatches:
    """Compare the folder of the data with what runs have read; with `collected` also what was copied from
    sources. StoreError when it can't be."""
    try:
        batches = {
            (source.relative_key(entry.key), entry.etag) for entry in store.list_folder(source)
        }
    except MissingObjectError:
        batches = set()
    if collected:
        batches |= {
            (file.key, f"{TAGGED}{file.sha256}")
            for file in read_collected(store, bucket, pipeline).files
        }
    new = batches - read_batches(store, bucket, pipeline)
    return NewBatches(tuple(sorted(key for key, _ in new)), len(batches))


def read_collected(store: ObjectStore, bucket: StoreLocation, pipeline: str) -> CollectedFiles:
    """Return the files that the sources had when they were last read; none before the first time."""
    try:
        return CollectedFiles.read(store.read_json(bucket / collected_key(pipeline)))
    except MissingObjectError:
        return CollectedFiles(())


def store_batches(
    store: ObjectStore, bucket: StoreLocation, pipeline: str, batches: Collection[Batch]
) -> None:
    """Store the batches that are not new any more."""
    store.write_json(bucket / seen_key(pipeline), to_json(SeenBatches(frozenset(batches))))


def read_batches(store: ObjectStore, bucket: StoreLocation, pipeline: str) -> frozenset[Batch]:
    """Return the batches that are not new; none before the first run."""
    try:
        return SeenBatches.read(store.read_json(bucket / seen_key(pipeline))).batches
    except MissingObjectError:
        return frozenset()
