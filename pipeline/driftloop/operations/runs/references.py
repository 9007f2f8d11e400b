"""Reference data of detectors, stored once by digest: further releases over the same data only refer to it.

In the folder of a release a detector's `reference.npz` is a record of where its bytes are. A digest of the detector
is that of its files with these bytes, so signatures and digests say the same as of a folder that has them.
"""

import json
import time
from collections.abc import Collection
from pathlib import Path

from driftloop.clients.s3 import (
    ObjectStore,
    StoreLocation,
    StoreObject,
    combined_digest,
    file_digest,
)
from driftloop.contract.documents import DocumentError, parse_json, to_json
from driftloop.contract.integrity import describe_mismatch
from driftloop.contract.records import StoredReference
from driftloop.contract.streams import DAY
from driftloop.contract.trees import REFERENCE_FILE, STORED_REFERENCE_FILE, reference_key, run_key
from driftloop.errors import StepError, StoreError

REFRESHED = DAY
"""Seconds after which a reference is put again when a release refers to it."""
UNUSED = 3 * DAY
"""Seconds since it was last put after which a reference that no release has may go: a run that has just stored it may
still be on its way to its release."""


def store_reference(store: ObjectStore, bucket: StoreLocation, pipeline: str, folder: Path) -> int:
    """Put the reference data of the detector in a folder where it is kept once, and leave a record of it in their
    place; bytes that were sent, 0 when they were there."""
    file = folder / REFERENCE_FILE
    if not file.exists():
        return 0
    digest, size = file_digest(file), file.stat().st_size
    reference = StoredReference(reference_key(pipeline, digest), digest, size)
    at = bucket / reference.key
    stored = next((each for each in store.list_objects(at) if each.key == at.key), None)
    sent = 0
    if stored is None or stored.size != size or time.time() - stored.modified > REFRESHED:
        store.put_file(file, at)
        sent = size
    (folder / STORED_REFERENCE_FILE).write_text(
        json.dumps(to_json(reference), indent=1, sort_keys=True) + "\n"
    )
    file.unlink()
    return sent


def read_reference(store: ObjectStore, at: StoreLocation) -> StoredReference:
    """Return where the reference data of a detector are, by the record in their place; StoreError for a record that
    can't be read."""
    return _read(store.read_object(at), str(at))


def fetch_references(store: ObjectStore, bucket: str, folder: Path) -> None:
    """Put reference data in the place of each record of them below a folder; StepError for other bytes than a record
    says."""
    for file in folder.rglob(STORED_REFERENCE_FILE):
        reference = _read(file.read_bytes(), str(file))
        at = StoreLocation(bucket, reference.key)
        digest = store.get_file(at, file.with_name(REFERENCE_FILE))
        if digest != reference.sha256:
            raise StepError(
                describe_mismatch(at, f"sha256:{digest}", f"sha256:{reference.sha256}"),
                hint="somebody changed it: restore the object, or go back to a release that is whole with `driftloop rollback`",
            )
        file.unlink()


def digest_detector(store: ObjectStore, folder: StoreLocation) -> str:
    """Return the digest of a stored detector, with its reference data wherever they are; MissingObjectError when they
    are gone."""
    digests = {}
    for entry in store.list_folder(folder):
        name = folder.relative_key(entry.key)
        at = StoreLocation(folder.bucket, entry.key)
        if name == STORED_REFERENCE_FILE:
            reference = read_reference(store, at)
            name, at = REFERENCE_FILE, StoreLocation(folder.bucket, reference.key)
        digests[name] = store.digest_object(at)
    return combined_digest(digests)


def find_unused(
    store: ObjectStore, bucket: StoreLocation, pipeline: str, gone: Collection[str], now: float
) -> tuple[StoreObject, ...]:
    """Return the reference data of a pipeline that no release refers to, but for records at the keys of `gone`."""
    used = set()
    for entry in store.list_objects(bucket / run_key(f"{pipeline}-")):
        if entry.key.endswith(f"/{STORED_REFERENCE_FILE}") and entry.key not in gone:
            at = StoreLocation(bucket.bucket, entry.key)
            used.add(read_reference(store, at).key)
    return tuple(
        entry
        for entry in store.list_folder(bucket / reference_key(pipeline))
        if entry.key not in used and now - entry.modified > UNUSED
    )


def _read(text: bytes, label: str) -> StoredReference:
    try:
        return StoredReference.read(parse_json(text, label=label))
    except DocumentError as error:
        raise StoreError(
            error.message, hint="`driftloop step store` writes it: restore the object, or roll back"
        ) from error
