"""Paths of a container as paths here."""

import re
from collections.abc import Mapping
from pathlib import Path


def replace_mounts(text: str, mounts: Mapping[str, Path]) -> str:
    """Return a text with every mount path in it replaced by the mounted folder.

    All at once: the folders here may lie below a path that is a mount in the container.
    """
    if not mounts:
        return text
    paths = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])(?:{paths})(?![\w.-])", lambda match: str(mounts[match[0]]), text)
