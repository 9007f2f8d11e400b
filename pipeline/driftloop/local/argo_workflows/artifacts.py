"""Artifacts of a step, from S3 into the folders behind its mounts and back."""

from collections.abc import Mapping
from pathlib import Path

from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation
from driftloop.errors import LocalError, StoreError
from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.argo_workflows.model import Template
from driftloop.local.argo_workflows.mounts import place


def fetch(
    template: Template,
    stored: Mapping[str, StoreLocation],
    mounts: Mapping[str, Path],
    store: ObjectStore | None,
) -> None:
    """Put the input artifacts at their paths, and make the folders of the outputs."""
    for artifact in template.inputs.artifacts:
        at = stored.get(artifact.name)
        if at is None:
            continue
        target = place(artifact.path, mounts, f"input artifact {artifact.name}")
        if store is None:
            raise NotUnderstoodError(
                f"input artifact {artifact.name}: no artifact repository is open"
            )
        try:
            if at.key.endswith("/") or not store.has_object(at):
                store.get_folder(at, target)
            else:
                store.get_file(at, target)
        except MissingObjectError:
            if not artifact.optional:
                raise
    for output in template.outputs.artifacts:
        target = place(output.path, mounts, f"output artifact {output.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
    for parameter in template.outputs.parameters:
        file = place(parameter.value_from.path, mounts, f"output parameter {parameter.name}")
        file.parent.mkdir(parents=True, exist_ok=True)


def send(
    template: Template,
    stored: Mapping[str, StoreLocation],
    mounts: Mapping[str, Path],
    store: ObjectStore | None,
) -> dict[str, StoreLocation]:
    """Store the output artifacts, over those of an earlier attempt; return the place of each.

    As in Argo, an optional one that the step did not write is left out, and an empty folder is
    stored as nothing: as an input it has to be optional.
    """
    sent: dict[str, StoreLocation] = {}
    for artifact in template.outputs.artifacts:
        source = place(artifact.path, mounts, f"output artifact {artifact.name}")
        at = stored[artifact.name]
        if store is None:
            raise NotUnderstoodError(
                f"output artifact {artifact.name}: no artifact repository is open"
            )
        if source.is_dir():
            store.put_folder(source, at, mirror=True)
        elif source.is_file():
            store.put_file(source, at)
        elif artifact.optional:
            continue
        else:
            raise LocalError(
                f"output artifact {artifact.name}: the step left nothing at {artifact.path}",
                hint="does the program write to its --out?",
            )
        sent[artifact.name] = at
    return sent


def rescue(
    template: Template,
    stored: Mapping[str, StoreLocation],
    mounts: Mapping[str, Path],
    store: ObjectStore | None,
) -> str:
    """Store the outputs that a failed step left, as Argo does.

    Return the text to add to its message when that fails, too.
    """
    for artifact in template.outputs.artifacts:
        source = place(artifact.path, mounts, f"output artifact {artifact.name}")
        try:
            if store is None or not source.exists():
                continue
            if source.is_dir():
                store.put_folder(source, stored[artifact.name], mirror=True)
            else:
                store.put_file(source, stored[artifact.name])
        except StoreError as error:
            return f"; output artifact {artifact.name}: {error.message}"
    return ""
