"""The temporary folder of a repository's cache, for a program that runs with a read-only file
system, too."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path


def make_scratch(environment: Mapping[str, str]) -> Path:
    """Return a new folder that is removed when this process ends; it is in HOME when there is no
    other folder that can be written."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="driftloop-git-"))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix=".driftloop-git-", dir=environment.get("HOME")))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
