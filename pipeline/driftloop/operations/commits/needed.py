"""Secrets that the objects of a pipeline name, key by key, for who makes them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract.platform import rclone_settings
from driftloop.contract.trees import KUSTOMIZATION, RELEASE, SPEC
from driftloop.platform import PlatformFile
from driftloop.platform.notices import ADDRESS
from driftloop.platform.secrets import MadeByOthers
from driftloop.render import render_tree
from driftloop.text.load import load_documents

_MAPS = ("configMapKeyRef", "configMapRef", "configMap")
"""Fields that name a ConfigMap as others name a Secret."""
_Need = tuple[str, str | None, bool]
"""Secret, key (None: all that it has), and whether pods start without it."""


@dataclass(frozen=True)
class NeededSecret:
    """A Secret that must be there before a pipeline's pods start."""

    namespace: str
    name: str
    keys: tuple[str, ...]
    """Keys that are named; none: it is taken whole."""
    optional: tuple[str, ...] = ()
    """Keys without which pods start, too."""

    @property
    def text(self) -> str:
        """The Secret as a person reads it."""
        keys = [*self.keys, *(f"{key} (optional)" for key in self.optional)]
        return f"{self.namespace}/{self.name}: {', '.join(keys) or 'whole'}"


def list_needed_secrets(text: str, platform: PlatformFile) -> tuple[NeededSecret, ...]:
    """Return the Secrets that others must make for a spec on a cluster; none where they stand in git."""
    if not isinstance(platform.spec.secrets, MadeByOthers):
        return ()
    return find_needed_secrets(render_tree(text, None, platform=platform))


def find_needed_secrets(files: Mapping[str, str]) -> tuple[NeededSecret, ...]:
    """Return the Secrets that the objects of a tree name, but for those that it has."""
    found: dict[tuple[str, str], dict[str | None, bool]] = {}
    made: set[tuple[str, str]] = set()
    for path, content in files.items():
        if path.rpartition("/")[2] in (SPEC, RELEASE, KUSTOMIZATION):
            continue
        for document in load_documents(content, path):
            home = document["metadata"].get("namespace", "")
            if document["kind"] == "Secret":
                made.add((home, document["metadata"]["name"]))
                continue
            # Flux takes the address of a receiver from this key
            whole = ADDRESS if document["kind"] == "Provider" else None
            for name, key, optional in _find_names(document):
                keys = found.setdefault((home, name), {})
                keys[key or whole] = keys.get(key or whole, True) and optional
    return tuple(
        NeededSecret(
            home,
            name,
            tuple(sorted(key for key, optional in keys.items() if key and not optional)),
            tuple(sorted(key for key, optional in keys.items() if key and optional)),
        )
        for (home, name), keys in sorted(found.items())
        if (home, name) not in made
    )


def _find_names(value: Any, field: str = "") -> Iterator[_Need]:
    """Yield what an object names: `{name, key}` under any field that is not a ConfigMap's, whole Secrets, volumes, pull
    Secrets."""
    if isinstance(value, list):
        for item in value:
            yield from _find_names(item, field)
        return
    if not isinstance(value, dict) or field in _MAPS:
        return
    name = value.get("name")
    if isinstance(name, str) and value.keys() <= {"name", "key", "optional"}:
        if "key" in value:
            yield name, value["key"], value.get("optional") is True
        elif field in ("secretRef", "imagePullSecrets"):
            yield name, None, value.get("optional") is True
    if isinstance(value.get("secretName"), str):
        yield value["secretName"], None, value.get("optional") is True
    if isinstance(value.get("envSecretRefName"), str):
        for key in rclone_settings("", "", ""):
            yield value["envSecretRefName"], key, False
    for key, item in value.items():
        yield from _find_names(item, key)
