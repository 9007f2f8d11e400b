"""The folders that stand for a container's mounts: paths inside it become paths here."""

import re
from collections.abc import Mapping
from pathlib import Path

from driftloop.local.argo.parts import NotUnderstoodError


def local(text: str, mounts: Mapping[str, Path]) -> str:
    """A text with every mount path, where it stands as a path, replaced by the folder that stands for it."""
    for path, folder in mounts.items():
        text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", str(folder).replace("\\", r"\\"), text)
    return text


def place(path: str, mounts: Mapping[str, Path], what: str) -> Path:
    """The local path of one in the container."""
    mapped = local(path, mounts)
    if mapped == path or ".." in Path(path).parts:
        raise NotUnderstoodError(
            f"{what}: path {path} is in no mounted volume", hint="mount an emptyDir there, for example at /work"
        )
    return Path(mapped)
