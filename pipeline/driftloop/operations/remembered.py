"""What a spec and a release rendered to before, as digests in the user's cache: an unchanged tree is checked without
rendering it again."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import driftloop

_ROOMS = ("errors.py", "kube", "spec", "plan", "release", "resources", "render")
_LIBRARIES = ("hera", "pydantic", "PyYAML")
KEPT = 30 * 24 * 3600
"""Seconds that an entry is kept after its last use."""

Digests = Mapping[str, str]
"""Path to the SHA-256 of its text, in hex."""


def digests(tree: Mapping[str, str]) -> Digests:
    """Of every file of a tree."""
    return {path: hashlib.sha256(text.encode()).hexdigest() for path, text in tree.items()}


def pipeline_of(spec_text: str) -> str | None:
    """The pipeline that a spec which rendered before is of; None when that is not known."""
    found = _read(_file("pipeline", spec_text))
    return found if isinstance(found, str) else None


def recalled(spec_text: str, release_text: str, *, cluster: str) -> Digests | None:
    """What these texts rendered to, with this very code; None when that is not known."""
    found = _read(_file("tree", spec_text, release_text, cluster))
    return found if isinstance(found, dict) else None


def remember(spec_text: str, release_text: str, tree: Mapping[str, str], *, name: str, cluster: str) -> None:
    """Keep a pipeline's tree for the next check; a cache that can't be written is none."""
    _write(_file("tree", spec_text, release_text, cluster), digests(tree))
    _write(_file("pipeline", spec_text), name)


def prune() -> None:
    """Remove what nobody asked for in a month."""
    oldest = time.time() - KEPT
    try:
        for entry in os.scandir(_folder()):
            if entry.stat().st_mtime < oldest:
                os.unlink(entry.path)
    except OSError:
        return


def _read(file: Path) -> object:
    try:
        found: object = json.loads(file.read_text())
        os.utime(file)
    except (OSError, ValueError):
        return None
    return found


def _write(file: Path, value: object) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # whole or not at all: two checks may run at once
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as new:
            json.dump(value, new)
        os.replace(new.name, file)
    except OSError:
        return


def _file(*parts: str) -> Path:
    key = hashlib.sha256()
    for part in (_code(), *parts):
        key.update(hashlib.sha256(part.encode()).digest())
    return _folder() / key.hexdigest()


def _folder() -> Path:
    if own := os.environ.get("DRIFTLOOP_CACHE"):
        return Path(own)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "driftloop" / "rendered"


@cache
def _code() -> str:
    """What else a tree depends on: our own code, and the libraries that write it."""
    package = Path(driftloop.__file__).parent
    found = hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((package / room).rglob("*.py")) or [package / room]:
            found.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes() + b"\0")
    found.update(" ".join(f"{library} {version(library)}" for library in _LIBRARIES).encode())
    return found.hexdigest()
