"""Files of a folder that becomes an image: plain files, and links that stay inside. Everything else
is refused by name: what a link outside names would be copied without being part of the digest, and
a named pipe never ends."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.ground.state import sync_file

LARGEST = 500 * 1024 * 1024
"""Bytes of code one image may hold."""

LEFT_OUT = shutil.ignore_patterns(
    ".git",
    "__pycache__",
    "*.pyc",
    ".venv",
    "venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".driftloop",
)

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_HINT = "remove it, or put a plain file in its place"


def digest_content(context: Path) -> str:
    """Return a digest of all files and links that count; LocalError for what can't be part of an
    image, and for too many bytes."""
    total = 0
    digest = hashlib.sha256()
    for file in _walk_files(context):
        name = file.relative_to(context).as_posix()
        if file.is_symlink():
            digest.update(f"{name}\0link\0{_read_link(context, file)}\0".encode())
            continue
        content = _read_file(file)
        total += len(content)
        if total > LARGEST:
            raise LocalError(
                f"{context} holds more than {LARGEST // 2**20} MiB",
                hint="keep data and models out of the image folder",
            )
        digest.update(f"{name}\0{os.access(file, os.X_OK):d}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def copy_content(context: Path, folder: Path) -> None:
    """Copy what counts into a new folder, links as links, and have the disk store it."""
    for file in _walk_files(context):
        if file.is_symlink():
            _read_link(context, file)
    shutil.copytree(context, folder, ignore=LEFT_OUT, symlinks=True)
    for file in _walk_files(folder):
        if not file.is_symlink():
            sync_file(file)


def _walk_files(context: Path) -> Iterator[Path]:
    """Yield files and links in the order of their names; LocalError for anything else."""
    for folder, folders, names in os.walk(context, onerror=_refuse_unreadable):
        skipped = LEFT_OUT(folder, [*folders, *names])
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = sorted(set(folders) - skipped - set(links))
        for name in sorted({*names, *links} - skipped):
            file = Path(folder, name)
            mode = file.lstat().st_mode
            for is_kind, kind in _KINDS:
                if is_kind(mode):
                    raise LocalError(f"{file} is {kind}, not a plain file", hint=_HINT)
            yield file


def _refuse_unreadable(error: OSError) -> None:
    raise LocalError(f"{error.filename} can't be read: {error.strerror}", hint=_HINT) from error


def _read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise LocalError(f"{file} can't be read: {error.strerror}", hint=_HINT) from error


def _read_link(context: Path, link: Path) -> str:
    """Return what a link holds; LocalError unless that is in the image, too."""
    text = os.readlink(link)
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise LocalError(
            f"{link} is a link to `{text}`, which does not exist", hint=_HINT
        ) from error
    root = context.resolve()
    if text.startswith("/") or not target.is_relative_to(root):
        raise LocalError(
            f"{link} is a link to `{text}`, must name a file inside {context}", hint=_HINT
        )
    parts = target.relative_to(root).parts
    if LEFT_OUT(str(root), list(parts)):
        raise LocalError(f"{link} is a link to `{text}`, which is left out of images", hint=_HINT)
    return text
