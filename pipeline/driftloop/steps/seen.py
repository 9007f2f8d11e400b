"""The batches that runs of a pipeline have read: `snapshot` stores them, `look` compares with
them."""

from collections.abc import Collection

from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation
from driftloop.contract.documents import to_json
from driftloop.contract.records import SeenBatches
from driftloop.contract.trees import seen_key

Batch = tuple[str, str]
"""Key below the folder of the data, and ETag."""


def store_batches(
    store: ObjectStore, bucket: StoreLocation, pipeline: str, batches: Collection[Batch]
) -> None:
    """Store the batches that are not new any more."""
    store.write_json(_seen_location(bucket, pipeline), to_json(SeenBatches(frozenset(batches))))


def read_batches(store: ObjectStore, bucket: StoreLocation, pipeline: str) -> frozenset[Batch]:
    """Return the batches that are not new; none before the first run."""
    try:
        return SeenBatches.read(store.read_json(_seen_location(bucket, pipeline))).batches
    except MissingObjectError:
        return frozenset()


def _seen_location(bucket: StoreLocation, pipeline: str) -> StoreLocation:
    return bucket / seen_key(pipeline)
