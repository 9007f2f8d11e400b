"""Models that a person gives a pipeline in place of a training: found in MLflow's registry, stored with
the run that releases them, and from there on the way of any candidate."""

import re
from dataclasses import dataclass
from pathlib import Path

from driftloop.clients import s3
from driftloop.clients.mlflow import PROXIED, MlflowClient, MlflowRefusedError
from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation
from driftloop.contract.trees import given_key
from driftloop.errors import PipelineError

_REGISTERED = re.compile(r"models:/([A-Za-z0-9_. -]+)(?:/([0-9]{1,9})|@([A-Za-z0-9_.-]+))")
LARGEST = 20 * 1024**3
"""Bytes of a model at most."""


@dataclass(frozen=True)
class GivenModel:
    """A model of the registry, with its files in a folder of this machine."""

    uri: str
    """`models:/NAME/VERSION`, also for one that was named by an alias."""
    digest: str
    files: int


def fetch_registered(
    client: MlflowClient, store: ObjectStore, uri: str, folder: Path
) -> GivenModel:
    """Fetch the files of a registered model into a folder; PipelineError when there is no such model, or
    its files can't be reached from here."""
    match = _REGISTERED.fullmatch(uri)
    if match is None:
        raise PipelineError(
            f"--model is `{uri}`, must be models:/NAME/VERSION or models:/NAME@ALIAS",
            hint="as MLflow shows it, such as models:/digits/7 or models:/digits@champion",
        )
    name, number, alias = match.groups()
    try:
        version = client.find_alias(name, alias) if alias else int(number)
        place = client.find_files(name, version)
    except MlflowRefusedError as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise PipelineError(f"{client.url} has no `{uri}`: {error.message}") from error
    found = f"models:/{name}/{version}"
    if place.startswith(PROXIED):
        _download(client, place, folder)
    elif place.startswith("s3://"):
        _copy(store, place, folder, found)
    else:
        raise PipelineError(
            f"the files of {found} are at {place}, from where they can't be fetched",
            hint="let the server serve them (`mlflow server --serve-artifacts`), or put them into the "
            "pipeline's own object store",
        )
    files = s3.files_below(folder)
    if not files:
        raise PipelineError(f"{found} has no files at {place}")
    return GivenModel(found, s3.folder_digest(folder), len(files))


def store_given(store: ObjectStore, bucket: StoreLocation, run: str, folder: Path) -> None:
    """Put a model's files where the run that releases it finds them."""
    store.put_folder(folder, bucket / given_key(run), mirror=True)


def _download(client: MlflowClient, place: str, folder: Path) -> None:
    left = LARGEST
    for name, size in client.list_files(place):
        left -= size
        if left < 0:
            raise PipelineError(f"the files at {place} have more than {LARGEST} bytes")
        file = s3.join_inside(folder, name)
        client.get_file(place, name, file)
        if size and file.stat().st_size != size:
            raise PipelineError(
                f"{place}/{name} has {size} bytes, {file.stat().st_size} came",
                hint="try again",
            )


def _copy(store: ObjectStore, place: str, folder: Path, model: str) -> None:
    try:
        store.get_folder(s3.parse_location(place), folder)
    except MissingObjectError as error:
        raise PipelineError(
            f"{model} is at {place}, where the pipeline's object store has nothing",
            hint="is it pruned, or in another store?",
        ) from error
