"""Patches of a kustomization.yaml as kustomize applies them: JSON patches and strategic merges, on plain data."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from driftloop.errors import RenderError

Object = dict[str, Any]
Location = tuple[str | int, ...]

_MERGED_BY: Mapping[str, str] = {
    **dict.fromkeys(("containers", "initContainers", "volumes", "env", "imagePullSecrets"), "name"),
    "volumeMounts": "mountPath",
}
"""Lists of Kubernetes' own kinds that are merged, by the key that tells their items apart."""
_NOT_COMPUTED = (
    *("ports", "topologySpreadConstraints", "hostAliases", "finalizers", "ownerReferences"),
    *("secrets", "volumeDevices", "claims"),
)
"""Lists that Kubernetes merges by rules of their own."""
_BUILT_IN = ("", "apps", "autoscaling", "batch", "policy", "networking.k8s.io")
"""API groups whose kinds kustomize knows the lists of; those of all others it replaces."""


class PatchError(RenderError):
    """A patch that can't be applied, and where in it the reason stands."""

    def __init__(self, message: str, *, at: Location = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.at = at


@dataclass(frozen=True)
class ObjectPatch:
    """A patch, and the objects that it is for."""

    kind: str
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    operations: Sequence[Mapping[str, Any]] = ()
    merge: Mapping[str, Any] | None = None

    def fits(self, document: Mapping[str, Any]) -> bool:
        """Return True for an object that it changes."""
        metadata = document.get("metadata") or {}
        labels = metadata.get("labels") or {}
        return (
            document.get("kind") == self.kind
            and self.name in (None, metadata.get("name"))
            and all(labels.get(name) == value for name, value in self.labels.items())
        )

    def apply(self, document: Object) -> Object:
        """Return the object as it is after the patch; PatchError where it can't be applied."""
        document = copy.deepcopy(document)
        if self.merge is not None:
            _refuse_unset_marks(self.merge)
            group = str(document.get("apiVersion", "")).rpartition("/")[0]
            return _merge(document, self.merge, ("merge",), known=group in _BUILT_IN)
        # a quarter of the time of the command line's start, and few specs have patches
        import jsonpatch
        from jsonpointer import JsonPointerException

        for number, operation in enumerate(self.operations):
            try:
                document = jsonpatch.JsonPatch([dict(operation)]).apply(document, in_place=True)
            except (jsonpatch.JsonPatchException, JsonPointerException) as error:
                raise PatchError(
                    f"`op: {operation['op']}` of `{operation['path']}`: {describe_place(document, operation)}",
                    at=("operations", number, "path"),
                ) from error
        return document

    @property
    def target(self) -> str:
        """What it is for, in words."""
        labels = "".join(f", {name}={value}" for name, value in self.labels.items())
        return f"{self.kind} {self.name or '(any name)'}{labels}"


def describe_place(document: Any, operation: Mapping[str, Any]) -> str:
    """Return how far the path of an operation leads, and what is there."""
    value: Any = document
    walked = ""
    for part in str(operation["path"]).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return f"`{walked or '/'}` {_describe_members(value)}, and no `{key}`"
        walked = f"{walked}/{part}"
    if operation["op"] == "test":
        return f"the value there is {_show(value)}, must be {_show(operation.get('value'))}"
    return f"`{walked}` {_describe_members(value)}"


def _describe_members(value: Any) -> str:
    if isinstance(value, dict):
        return f"has {', '.join(f'`{key}`' for key in list(value)[:20]) or 'no key'}"
    if isinstance(value, list):
        names = [str(item["name"]) for item in value if isinstance(item, dict) and "name" in item]
        listed = (
            f" ({', '.join(f'{n} {name}' for n, name in enumerate(names[:40]))})" if names else ""
        )
        return f"is a list of {len(value)}{listed}"
    return f"is {_show(value)}"


def _show(value: Any) -> str:
    text = repr(value)
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def _refuse_unset_marks(merge: Mapping[str, Any]) -> None:
    """PatchError for marks of the object that are to be removed, or no texts: kustomize keeps them, or writes `null`."""
    metadata = merge.get("metadata")
    for field_name in ("labels", "annotations"):
        if not isinstance(metadata, Mapping) or field_name not in metadata:
            continue
        marks = metadata[field_name]
        if not isinstance(marks, Mapping) or not all(isinstance(v, str) for v in marks.values()):
            raise PatchError(
                f"metadata.{field_name} must be texts: of a merge kustomize removes none of an object's own",
                at=("merge", "metadata", field_name),
                hint="remove one by `operations`",
            )


def _merge(target: Object, patch: Mapping[str, Any], at: Location, *, known: bool) -> Object:
    for key, value in patch.items():
        here = (*at, key)
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            own = target.get(key)
            target[key] = _merge(own if isinstance(own, dict) else {}, value, here, known=known)
        elif isinstance(value, list) and known and key in _NOT_COMPUTED:
            raise PatchError(
                f"{key} can't be merged here: Kubernetes merges this list by a rule of its own",
                at=here,
                hint="change it by `operations`",
            )
        elif isinstance(value, list) and known and key in _MERGED_BY:
            target[key] = _merge_list(target.get(key), value, _MERGED_BY[key], here)
        else:
            target[key] = copy.deepcopy(value)
    return target


def _merge_list(target: Any, patch: Sequence[Any], key: str, at: Location) -> list[Any]:
    """Return the items of the patch, each merged into that of the same name, then the others."""
    rest = {item.get(key): item for item in target or () if isinstance(item, dict)}
    merged = []
    for number, item in enumerate(patch):
        if not isinstance(item, dict) or key not in item:
            raise PatchError(
                f"an item of {at[-1]} must have `{key}`, by which it is merged", at=(*at, number)
            )
        merged.append(_merge(rest.pop(item[key], {}), item, (*at, number), known=True))
    return [*merged, *rest.values()]


@dataclass(frozen=True)
class PatchedValue:
    """One value of an object that patches change; None where there is none."""

    kind: str
    namespace: str
    name: str
    path: str
    old: Any
    new: Any


def list_patched(before: Object, after: Object) -> Iterator[PatchedValue]:
    """Yield what differs between an object and what patches have made of it."""
    metadata = before["metadata"]
    about = (before["kind"], metadata.get("namespace", ""), metadata["name"])
    for path, old, new in _list_differences(before, after, ""):
        yield PatchedValue(*about, path, old, new)


def _list_differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _list_differences(
                old.get(key), new.get(key), f"{path}.{key}" if path else str(key)
            )
    elif _has_names(old) and _has_names(new):
        before, after = ({item["name"]: item for item in items} for items in (old, new))
        for name in dict.fromkeys((*before, *after)):
            yield from _list_differences(before.get(name), after.get(name), f"{path}[{name}]")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _list_differences(one, other, f"{path}[{number}]")
    elif old != new:
        yield path, old, new


def _has_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "name" in item for item in value)
        and len({item["name"] for item in value}) == len(value)
    )


def apply_all(document: Object, patches: Iterable[ObjectPatch]) -> Object:
    """Return an object after all patches that fit it."""
    for patch in patches:
        if patch.fits(document):
            document = patch.apply(document)
    return document
