"""Folders of the platform's settings: files of ours beside what people add, and the lists of both
that kustomize reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from driftloop.contract import trees
from driftloop.errors import PipelineError
from driftloop.kube import core, kustomize
from driftloop.kube.base import ObjectMeta, ObjectPart
from driftloop.text.dump import dump_yaml
from driftloop.text.load import load_mapping

NAMESPACE = "namespace.yaml"
_WRITTEN = "# Written by `driftloop secrets init`"
_NOTE = f"{_WRITTEN}; run it again with --force to make new ones.\n"


@dataclass(frozen=True)
class TreeChange:
    """Files to write, by path, and paths to remove."""

    files: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()

    def __or__(self, other: "TreeChange") -> "TreeChange":
        return TreeChange({**self.files, **other.files}, (*self.removed, *other.removed))


def home(namespace: str, labels: dict[str, str] | None) -> core.Namespace:
    """Return the Namespace of a folder.

    Another Kustomization owns it; here it is only made when nothing else has made it yet.
    """
    return core.Namespace(
        metadata=ObjectMeta(
            name=namespace,
            labels=labels,
            annotations={
                "kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent",
                "kustomize.toolkit.fluxcd.io/prune": "disabled",
            },
        )
    )


def replace(
    path: str,
    objects: Mapping[str, ObjectPart | str],
    present: Mapping[str, str],
    *,
    keep: Iterable[str] = (),
) -> TreeChange:
    """Return the change to a folder that holds these objects, and what people have added.

    A file that was written by us before, and is neither among the objects nor kept, is removed.
    """
    stale = {
        name
        for name in (file.removeprefix(f"{path}/") for file in present if _is_in(file, path))
        if name not in objects and present[f"{path}/{name}"].startswith(_WRITTEN)
    } - {trees.KUSTOMIZATION, *keep}
    removed = TreeChange(removed=tuple(f"{path}/{name}" for name in sorted(stale)))
    return removed | _write(path, objects) | list_resources(path, objects, present, without=stale)


def add(
    path: str,
    objects: Mapping[str, ObjectPart | str],
    present: Mapping[str, str],
    *,
    without: Iterable[str] = (),
) -> TreeChange:
    """Return the change that writes these objects into a folder, beside all that it has but for the files `without`."""
    stale = set(without)
    removed = TreeChange(removed=tuple(f"{path}/{name}" for name in sorted(stale)))
    return removed | _write(path, objects) | list_resources(path, objects, present, without=stale)


def list_resources(
    path: str,
    names: Iterable[str],
    present: Mapping[str, str],
    *,
    without: Iterable[str] = (),
) -> TreeChange:
    """Return the change to a folder's kustomization.yaml that lists these names, too; its other
    fields stay."""
    file = f"{path}/{trees.KUSTOMIZATION}"
    document = _load_list(file, present)
    listed = document["resources"]
    resources = [name for name in listed if name not in set(without)]
    resources += sorted(set(names) - set(listed))
    if file in present and resources == listed:
        return TreeChange()
    if listed == sorted(listed):
        resources = sorted(resources)
    return TreeChange({file: _NOTE + dump_yaml({**document, "resources": resources})})


def text(model: ObjectPart | str) -> str:
    """Return an object, or the text of one that another program has written, as a file of ours has it."""
    return _NOTE + model if isinstance(model, str) else note(model.dump_object())


def note(document: dict[str, Any]) -> str:
    """Return a document as a file of ours has it."""
    return _NOTE + dump_yaml(document)


def _write(path: str, objects: Mapping[str, ObjectPart | str]) -> TreeChange:
    return TreeChange({f"{path}/{name}": text(model) for name, model in objects.items()})


def _is_in(file: str, path: str) -> bool:
    return file.startswith(f"{path}/") and "/" not in file.removeprefix(f"{path}/")


def _load_list(file: str, present: Mapping[str, str]) -> dict[str, Any]:
    if file not in present:
        return kustomize.KustomizationFile(resources=()).dump_object()
    document = load_mapping(present[file], file)
    listed = document.setdefault("resources", [])
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise PipelineError(f"{file}: `resources` is not a list of names")
    return document
