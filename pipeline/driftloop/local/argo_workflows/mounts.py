"""Folders behind a container's mounts: paths inside it become paths here."""

from collections.abc import Mapping
from pathlib import Path

from driftloop.local.argo.parts import NotUnderstoodError
from driftloop.local.ground.mounts import replace_mounts


def place(path: str, mounts: Mapping[str, Path], label: str) -> Path:
    """Return the local path of a path in the container. NotUnderstoodError outside all mounts."""
    mapped = replace_mounts(path, mounts)
    if mapped == path or ".." in Path(path).parts:
        raise NotUnderstoodError(
            f"{label}: path {path} is not in a mounted volume",
            hint="mount an emptyDir there, for example at /work",
        )
    return Path(mapped)
