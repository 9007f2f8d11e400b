"""Which batches some run of a pipeline has seen: what `snapshot` remembers and `look` compares with."""

from collections.abc import Collection

from driftloop.clients.s3 import Location, MissingObjectError, Store
from driftloop.contract.trees import seen_key

Batch = tuple[str, str]
"""Key below the data's folder, and ETag."""


def remember(store: Store, bucket: Location, pipeline: str, batches: Collection[Batch]) -> None:
    """From now on these are not new."""
    store.write_json(_place(bucket, pipeline), {"batches": sorted(map(list, batches))})


def recall(store: Store, bucket: Location, pipeline: str) -> frozenset[Batch]:
    """What is not new; empty before the first run."""
    try:
        found = store.read_json(_place(bucket, pipeline))
    except MissingObjectError:
        return frozenset()
    return frozenset((key, etag) for key, etag in found["batches"])


def _place(bucket: Location, pipeline: str) -> Location:
    return bucket / seen_key(pipeline)
