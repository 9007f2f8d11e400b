"""Contents of sources' files, each kept once: those that nothing needs any more."""

from collections.abc import Iterable

from driftloop.clients.s3 import MissingObjectError, StoreObject
from driftloop.contract.records import Snapshot
from driftloop.contract.trees import kept_key, snapshot_key
from driftloop.operations.runs.references import UNUSED
from driftloop.operations.runs.run_store import RunPlace
from driftloop.retrain.batches import read_collected


def find_unused_contents(
    place: RunPlace, pipeline: str, runs: Iterable[str], now: float
) -> tuple[StoreObject, ...]:
    """Return the contents that no source has now, and none of these runs was trained on."""
    folder = place.bucket / kept_key(pipeline, "")
    kept = place.store.list_folder(folder)
    if not kept:
        return ()
    used = {file.sha256 for file in read_collected(place.store, place.bucket, pipeline).files}
    for run in runs:
        try:
            snapshot = Snapshot.read(place.store.read_json(place.bucket / snapshot_key(run)))
        except MissingObjectError:
            continue
        used |= {batch.sha256 for batch in snapshot.batches if batch.source is not None}
    return tuple(
        entry
        for entry in kept
        if folder.relative_key(entry.key) not in used and now - entry.modified > UNUSED
    )
