"""`driftloop files`: a release's files out of one object store, and into another."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.stored_runs import Shelf

from driftloop.clients.s3 import StoreLocation
from driftloop.contract.trees import detector_key, release_key
from driftloop.operations.rollouts.rollback import describe_missing
from driftloop.operations.runs.references import digest_detector, store_reference
from driftloop.release import record
from tests.steps.conftest import s3_url

__all__ = ["s3_url"]

RUN = "digits-00000000000a"


@pytest.fixture
def shelf(tmp_path: Path, s3_url: str) -> Shelf:
    return Shelf.open(tmp_path, s3_url)


def release(shelf: Shelf, folder: Path) -> record.Version:
    """A release with a detector whose reference data are stored once, in a place of their own."""
    shelf.put_run(RUN)
    (folder / "drift").mkdir(parents=True)
    np.savez(folder / "drift" / "reference.npz", x=np.arange(6).reshape(3, 2))
    (folder / "drift" / "profile.json").write_text("{}")
    store_reference(shelf.store, shelf.bucket, "digits", folder / "drift")
    at = shelf.bucket / detector_key(RUN, "drift")
    shelf.store.put_folder(folder / "drift", at)
    version = shelf.make_version(
        RUN,
        detectors=str(shelf.bucket / release_key(RUN, "detectors")),
        detector_digests={"drift": digest_detector(shelf.store, at)},
    )
    shelf.move(lambda before: record.release_first(before, version), version)
    return version


def empty(shelf: Shelf) -> dict[str, bytes]:
    """Take all objects away, as another cluster's store has none; they."""
    bucket = StoreLocation(shelf.bucket.bucket)
    gone = {}
    for entry in list(shelf.store.list_objects(bucket)):
        at = StoreLocation(bucket.bucket, entry.key)
        gone[entry.key] = shelf.store.read_object(at)
        shelf.store.delete_object(at)
    return gone


def test_the_files_of_a_release_are_carried_to_a_store_that_has_none(
    shelf: Shelf, tmp_path: Path
) -> None:
    version = release(shelf, tmp_path / "fitted")
    done = shelf.types("files", "save", "digits", "saved", "-o", "json")
    saved = json.loads(done.stdout)
    assert saved["release"] == version.id
    assert any("/references/" in name for name in saved["files"])
    assert not any("/trials/" in name for name in saved["files"])
    done = shelf.types("files", "save", "digits", "saved", code=1)
    assert "saved is not empty" in done.stderr
    before = empty(shelf)
    assert describe_missing(shelf.store, version) is not None
    done = shelf.types("files", "save", "digits", "again", code=1)
    assert f"the files of {version.id} are not whole: its model" in done.stderr
    done = shelf.types("files", "load", "saved")
    assert f"{len(saved['files'])} files sent, 0 there already" in done.stdout
    assert describe_missing(shelf.store, version) is None
    assert "0 files sent" in shelf.types("files", "load", "saved").stdout
    key = next(key for key in before if key.endswith("model.json"))
    shelf.store.write_object(shelf.bucket / key, b"another")
    done = shelf.types("files", "load", "saved", code=1)
    assert "model.json is there already, with other bytes" in done.stderr
    (tmp_path / "saved" / shelf.bucket.bucket / key).write_text("another")
    done = shelf.types("files", "load", "saved", code=1)
    assert "model.json was changed since it was saved" in done.stderr
    assert "holds no files of a release" in shelf.types("files", "load", "fitted", code=1).stderr
