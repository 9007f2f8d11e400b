"""Our own images: which scripts each has, what it is built from, and the snapshot of this package
that goes into it.
"""

import functools
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import driftloop

PACKAGE = Path(driftloop.__file__).parent


@dataclass(frozen=True)
class ImageRole:
    """One of our images: `name` is its folder under images/, `scripts` its console scripts."""

    name: str
    scripts: Mapping[str, str]

    @property
    def requirements(self) -> Path:
        """The requirements.txt the image is built from."""
        return PACKAGE / "images" / self.name / "requirements.txt"


TRAINER = ImageRole("trainer", {"driftloop-train": "driftloop.services.trainer.__main__:main"})
SERVER = ImageRole("server", {})
DETECTOR = ImageRole(
    "monitor",
    {
        "driftloop-detector": "driftloop.services.detector.__main__:main",
        "driftloop-recorder": "driftloop.services.recorder.__main__:main",
    },
)
ALIBI = ImageRole("alibi", DETECTOR.scripts)

_BASES = {f"ghcr.io/driftloop/{role.name}": role for role in (TRAINER, SERVER)}


def role_of_base(ref: str) -> ImageRole | None:
    """The role a user's image is built FROM, or None when its base is not ours."""
    return _BASES.get(ref.partition("@")[0].rpartition(":")[0])


def snapshot_package(folder: Path) -> None:
    """Copy this package into `folder`, so that a later change of the checkout does not change what
    runs.
    """
    shutil.copytree(
        PACKAGE, folder / "driftloop", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )


@functools.cache
def digest_package() -> str:
    """A digest of this package's source."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()
