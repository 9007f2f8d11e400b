"""Folders behind a container's mounts: paths inside it become paths here."""

import re
from collections.abc import Mapping
from pathlib import Path

from driftloop.local.argo.parts import NotUnderstoodError


def local(text: str, mounts: Mapping[str, Path]) -> str:
    """Return a text with every mount path in it replaced by the mounted folder."""
    for path, folder in mounts.items():
        pattern = rf"(?<![\w./-]){re.escape(path)}(?![\w.-])"
        text = re.sub(pattern, str(folder).replace("\\", r"\\"), text)
    return text


def place(path: str, mounts: Mapping[str, Path], label: str) -> Path:
    """Return the local path of a path in the container. NotUnderstoodError outside all mounts."""
    mapped = local(path, mounts)
    if mapped == path or ".." in Path(path).parts:
        raise NotUnderstoodError(
            f"{label}: path {path} is not in a mounted volume",
            hint="mount an emptyDir there, for example at /work",
        )
    return Path(mapped)
