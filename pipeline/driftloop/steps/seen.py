"""The batches that runs of a pipeline have read: `snapshot` stores them, `look` compares with
them."""

from collections.abc import Collection

from driftloop.clients.s3 import Location, MissingObjectError, Store
from driftloop.contract.trees import seen_key

Batch = tuple[str, str]
"""Key below the folder of the data, and ETag."""


def remember(store: Store, bucket: Location, pipeline: str, batches: Collection[Batch]) -> None:
    """Store the batches that are not new any more."""
    store.write_json(_place(bucket, pipeline), {"batches": sorted(map(list, batches))})


def recall(store: Store, bucket: Location, pipeline: str) -> frozenset[Batch]:
    """Return the batches that are not new; none before the first run."""
    try:
        document = store.read_json(_place(bucket, pipeline))
    except MissingObjectError:
        return frozenset()
    return frozenset((key, etag) for key, etag in document["batches"])


def _place(bucket: Location, pipeline: str) -> Location:
    return bucket / seen_key(pipeline)
