"""The patches of a spec in the kustomization.yaml of each folder, and a tree as it is after its patches."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftloop.contract.trees import KUSTOMIZATION, RELEASE, SPEC
from driftloop.errors import RenderError
from driftloop.kube import kustomize
from driftloop.render.patch_walls import list_breaches
from driftloop.render.patches import (
    Location,
    Object,
    ObjectPatch,
    PatchedValue,
    PatchError,
    apply_all,
    list_patched,
)
from driftloop.spec.patches import Patch
from driftloop.text.dump import dump_yaml
from driftloop.text.load import load_documents

_MARK = "\npatches:"
_ANY = "any"
"""Name in a merge of kustomize's, which its target says."""


class SpecPatchError(RenderError):
    """A patch of a spec that can't be applied: its number, and the place below it."""

    def __init__(self, number: int, at: Location, message: str, hint: str | None) -> None:
        super().__init__(message, hint=hint)
        self.number = number
        self.at = at


def read_patch(patch: Patch) -> ObjectPatch:
    """Return a patch of a spec as it is applied."""
    target = patch.target
    return ObjectPatch(
        target.kind,
        target.name,
        target.labels,
        tuple(operation.dump() for operation in patch.operations),
        patch.merge,
    )


def check_patches(patches: Sequence[Patch], objects: Iterable[Object]) -> None:
    """Apply patches to the objects of a tree; SpecPatchError for what can't be applied, and for what a patch may not
    touch."""
    read = [read_patch(patch) for patch in patches]
    for before in objects:
        after = before
        for number, patch in enumerate(read):
            if not patch.fits(after):
                continue
            what = f"{before['kind']} `{before['metadata']['name']}`"
            try:
                changed = patch.apply(after)
            except PatchError as error:
                raise SpecPatchError(
                    number, error.at, f"{what}: {error.message}", error.hint
                ) from error
            breach = next(list_breaches(after, changed), None)
            if breach is not None:
                raise SpecPatchError(number, (), f"{what}: it {breach}", None)
            after = changed


def list_unmatched(patches: Sequence[Patch], objects: Iterable[Object]) -> Iterator[int]:
    """Yield the numbers of patches that fit no object."""
    found = list(objects)
    for number, patch in enumerate(map(read_patch, patches)):
        if not any(map(patch.fits, found)):
            yield number


def write_patches(
    patches: Sequence[Patch], objects: Sequence[Object]
) -> tuple[kustomize.KustomizePatch, ...] | None:
    """Return the patches of one folder's objects, as kustomize reads them; None when there are none."""
    written = []
    for patch in patches:
        first = next(filter(read_patch(patch).fits, objects), None)
        if first is not None:
            written.append(_write_patch(patch, first["apiVersion"]))
    return tuple(written) or None


def _write_patch(patch: Patch, version: str) -> kustomize.KustomizePatch:
    target = patch.target
    labels = ",".join(f"{name}={value}" for name, value in target.labels.items())
    content: Any = [operation.dump() for operation in patch.operations]
    if patch.merge is not None:
        metadata = {"name": _ANY, **(patch.merge.get("metadata") or {})}
        content = (
            {"apiVersion": version, "kind": target.kind}
            | dict(patch.merge)
            | {"metadata": metadata}
        )
    return kustomize.KustomizePatch(
        target=kustomize.PatchTarget(
            kind=target.kind,
            name=None if target.name is None else _escape_name(target.name),
            label_selector=labels or None,
        ),
        patch=dump_yaml(content),
    )


def _escape_name(name: str) -> str:
    """Return the regular expression that kustomize takes for this name alone."""
    return re.escape(name).replace(r"\-", "-")


def read_kustomization(content: Mapping[str, Any], place: str) -> tuple[ObjectPatch, ...]:
    """Return the patches of a kustomization.yaml; RenderError for what is not computed here."""
    return tuple(
        _read_entry(entry, f"{place}: patches[{number}]")
        for number, entry in enumerate(content.get("patches") or ())
    )


def _read_entry(entry: Any, place: str) -> ObjectPatch:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("target"), dict)
        or "patch" not in entry
    ):
        raise RenderError(f"{place} must have `target` and `patch`")
    target = entry["target"]
    unknown = [
        *(entry.keys() - {"target", "patch"}),
        *(f"target.{key}" for key in target.keys() - {"kind", "name", "labelSelector"}),
    ]
    name = str(target.get("name", ""))
    plain = name.replace("\\.", ".")
    selector = str(target.get("labelSelector", ""))
    pairs = [pair.partition("=") for pair in selector.split(",") if pair]
    if unknown or "kind" not in target:
        raise RenderError(
            f"{place}: `{unknown[0] if unknown else 'target'}` is not supported by the local runtime",
            hint="a target has `kind`, `name` and `labelSelector`",
        )
    if _escape_name(plain) != name or any(not mark or "!" in key for key, mark, _ in pairs):
        raise RenderError(
            f"{place}: target `{name or selector}` is not supported by the local runtime",
            hint="a name is one name, and labels are `NAME=VALUE`",
        )
    (content,) = load_documents(entry["patch"], place, error=RenderError) or [None]
    labels = {key: value.removeprefix("=") for key, _, value in pairs}
    if isinstance(content, list):
        return ObjectPatch(target["kind"], plain or None, labels, tuple(content))
    if not isinstance(content, dict):
        raise RenderError(f"{place}: `patch` must be a list of operations, or an object to merge")
    merge = {key: value for key, value in content.items() if key not in ("apiVersion", "kind")}
    metadata = {
        key: value for key, value in (merge.pop("metadata", None) or {}).items() if key != "name"
    }
    return ObjectPatch(
        target["kind"],
        plain or None,
        labels,
        merge=merge | ({"metadata": metadata} if metadata else {}),
    )


@dataclass(frozen=True)
class PatchedTree:
    """A tree whose objects are as patches have made them, and what these have changed."""

    files: Mapping[str, str]
    values: tuple[PatchedValue, ...] = ()


def patch_tree(files: Mapping[str, str]) -> PatchedTree:
    """Return a tree after the patches of its folders, as kustomize builds it."""
    changed: dict[str, str] = {}
    values: list[PatchedValue] = []
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        if name != KUSTOMIZATION or _MARK not in text:
            continue
        (content,) = load_documents(text, path, error=RenderError)
        patches = read_kustomization(content, path)
        for member in content.get("resources") or ():
            here = f"{folder}/{member}"
            if member in (SPEC, RELEASE) or here not in files:
                continue
            before = load_documents(files[here], here, error=RenderError)
            after = [apply_all(document, patches) for document in before]
            if before != after:
                header = files[here].partition("\n")[0] if files[here].startswith("#") else ""
                changed[here] = f"{header}\n" + "---\n".join(map(dump_yaml, after))
                for one, other in zip(before, after, strict=True):
                    values += list_patched(one, other)
    return PatchedTree({**files, **changed}, tuple(values))
