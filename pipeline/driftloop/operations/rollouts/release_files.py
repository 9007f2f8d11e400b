"""The files of a release, taken out of one object store and put into another under the same address."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_text,
    is_text_map,
    parse_json,
    to_json,
)
from driftloop.contract.trees import STORED_REFERENCE_FILE, run_key
from driftloop.errors import ReleaseError, StoreError
from driftloop.operations.commits.releases import CommittedPipeline
from driftloop.operations.rollouts.rollback import describe_missing
from driftloop.release.record import Version

if TYPE_CHECKING:
    from driftloop.clients.s3 import ObjectStore, StoreLocation

RECORD = "files.json"
"""What a folder of saved files holds, and of which release."""
LEFT = ("trials/", "snapshot/", "given/")
"""Parts of a run's folder that only the run itself reads."""


@dataclass(frozen=True)
class SavedFiles:
    """The files of a release in a folder of this machine."""

    pipeline: str = document_key("pipeline", "the name of a pipeline", is_text)
    namespace: str = document_key("namespace", "the name of a namespace", is_text)
    release: str = document_key("release", "the id of a release", is_text)
    files: dict[str, str] = document_key("files", "SHA-256 in hex by bucket and key", is_text_map)
    """Bucket and key, with a slash between -> SHA-256 in hex. The file has the same name in the folder."""


@dataclass(frozen=True)
class LoadedFiles:
    """What became of saved files in a store."""

    saved: SavedFiles
    sent: int
    present: int
    """Files that were there already, with the same bytes."""


def save_files(
    store: "ObjectStore", committed: CommittedPipeline, version: Version, folder: Path
) -> SavedFiles:
    """Fetch the files of a version into a folder that is new or empty: model, detectors with their reference data, and
    what its run recorded. ReleaseError when some are gone or have other digests than the release."""
    from driftloop.clients import s3
    from driftloop.operations.runs.references import read_reference

    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty", hint="name a folder that is new")
    if (problem := describe_missing(store, version)) is not None:
        raise ReleaseError(f"the files of {version.id} are not whole: {problem}")
    model = s3.parse_location(version.model)
    home = s3.StoreLocation(model.bucket, run_key(version.run))
    wanted = {}
    for entry in store.list_folder(home):
        if not home.relative_key(entry.key).startswith(LEFT):
            wanted[entry.key] = s3.StoreLocation(home.bucket, entry.key)
    for place in (version.model, version.detectors):
        if place is not None:
            at = s3.parse_location(place)
            wanted |= {e.key: s3.StoreLocation(at.bucket, e.key) for e in store.list_folder(at)}
    for key, at in list(wanted.items()):
        if key.endswith(f"/{STORED_REFERENCE_FILE}"):
            reference = read_reference(store, at)
            wanted[reference.key] = s3.StoreLocation(at.bucket, reference.key)
    digests = {}
    for at in wanted.values():
        name = f"{at.bucket}/{at.key}"
        digests[name] = store.get_file(at, s3.join_inside(folder, name))
    saved = SavedFiles(committed.name, committed.release.namespace, version.id, digests)
    (folder / RECORD).write_text(json.dumps(to_json(saved), indent=1) + "\n")
    return saved


def read_saved(folder: Path) -> SavedFiles:
    """Read what a folder of saved files holds; StoreError when it is none."""
    file = folder / RECORD
    try:
        return from_json(
            SavedFiles, parse_json(file.read_bytes(), label=str(file)), label=str(file)
        )
    except FileNotFoundError as error:
        raise StoreError(
            f"{file} does not exist: {folder} holds no files of a release",
            hint="`driftloop files save NAME FOLDER` makes such a folder",
        ) from error
    except DocumentError as error:
        raise StoreError(error.message) from error


def load_files(store: "ObjectStore", saved: SavedFiles, folder: Path) -> LoadedFiles:
    """Put saved files into a store under the address that they had. StoreError, and nothing is sent, when a file is
    gone or has been changed, or the store has another one there."""
    from driftloop.clients import s3

    places = {name: s3.StoreLocation(*name.split("/", 1)) for name in saved.files}
    for name, digest in saved.files.items():
        file = s3.join_inside(folder, name)
        if not file.is_file():
            raise StoreError(f"{file} does not exist", hint="save the files once more")
        if s3.file_digest(file) != digest:
            raise StoreError(
                f"{file} was changed since it was saved", hint="save the files once more"
            )
    for bucket in sorted({at.bucket for at in places.values()}):
        store.create_bucket(bucket)
    missing = _list_missing(store, saved.files, places)
    for name in missing:
        store.put_file(folder / name, places[name])
    return LoadedFiles(saved, len(missing), len(places) - len(missing))


def _list_missing(
    store: "ObjectStore", files: Mapping[str, str], places: Mapping[str, "StoreLocation"]
) -> list[str]:
    missing = []
    for name, at in places.items():
        if not store.has_object(at):
            missing.append(name)
        elif store.digest_object(at) != files[name]:
            raise StoreError(
                f"{at} is there already, with other bytes",
                hint="a release may be made of it: nothing was overwritten",
            )
    return missing
