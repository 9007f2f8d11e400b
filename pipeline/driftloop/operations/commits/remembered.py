"""Digests of the trees that specs and releases rendered to, in the user's cache: a check renders
only changes."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import driftloop
from driftloop.contract.trees import release_path
from driftloop.platform import PlatformFile

_ROOMS = (
    "errors.py",
    "contract",
    "text",
    "kube",
    "spec",
    "platform",
    "plan",
    "release",
    "retrain",
    "resources",
    "render",
)
_LIBRARIES = ("hera", "pydantic", "PyYAML")
KEPT = 30 * 24 * 3600
"""Seconds that an entry is kept after its last use."""

Digests = Mapping[str, str]
"""SHA-256 of each text, in hex, by path."""


def digest_tree(tree: Mapping[str, str]) -> Digests:
    """Return the digest of every file of a tree."""
    return {path: hashlib.sha256(text.encode()).hexdigest() for path, text in tree.items()}


def recall_pipeline(spec_text: str) -> str | None:
    """Return the name of the pipeline of a spec that was rendered before; None when it is not in
    the cache."""
    name = _read_entry(_entry_path("pipeline", spec_text))
    return name if isinstance(name, str) else None


def recall_digests(
    spec_text: str, release_text: str, *, clusters: Iterable[str], platform: PlatformFile
) -> Digests | None:
    """Return what these texts rendered to for all of some clusters, with the same code; None when
    it is not in the cache."""
    digests: dict[str, str] = {}
    for cluster in clusters:
        tree = _read_entry(
            _entry_path("tree", spec_text, release_text, cluster, platform.path, platform.text)
        )
        if not isinstance(tree, dict):
            return None
        digests |= tree
    return digests


def remember_tree(
    spec_text: str,
    release_text: str | None,
    tree: Mapping[str, str],
    *,
    name: str,
    platform: PlatformFile,
) -> None:
    """Store the digests of a pipeline's tree for the next check; a cache that can't be written
    is ignored.

    Without a release the tree holds an empty one, which the next check finds.
    """
    release_text = release_text or tree[release_path(name)]
    entry = _entry_path(
        "tree", spec_text, release_text, platform.cluster, platform.path, platform.text
    )
    _write_entry(entry, digest_tree(tree))
    _write_entry(_entry_path("pipeline", spec_text), name)


def prune_cache() -> None:
    """Remove entries that were not used for a month."""
    oldest = time.time() - KEPT
    try:
        for entry in os.scandir(_cache_folder()):
            if entry.stat().st_mtime < oldest:
                os.unlink(entry.path)
    except OSError:
        return


def _read_entry(file: Path) -> object:
    try:
        value: object = json.loads(file.read_text())
        os.utime(file)
    except (OSError, ValueError):
        return None
    return value


def _write_entry(file: Path, value: object) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # replaced whole: two checks may run at once
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as new:
            json.dump(value, new)
        os.replace(new.name, file)
    except OSError:
        return


def _entry_path(*parts: str) -> Path:
    key = hashlib.sha256()
    for part in (_digest_code(), *parts):
        key.update(hashlib.sha256(part.encode()).digest())
    return _cache_folder() / key.hexdigest()


def _cache_folder() -> Path:
    if own := os.environ.get("DRIFTLOOP_CACHE"):
        return Path(own)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "driftloop" / "rendered"


@cache
def _digest_code() -> str:
    """Return the digest of what else a tree depends on: our own code, and the libraries that
    write it."""
    package = Path(driftloop.__file__).parent
    code = hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((package / room).rglob("*.py")) or [package / room]:
            code.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes() + b"\0")
    code.update(" ".join(f"{library} {version(library)}" for library in _LIBRARIES).encode())
    return code.hexdigest()
