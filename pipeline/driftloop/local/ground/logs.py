"""Log files of children: bounded while they are written, and what they say last."""

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from driftloop.errors import LocalError
from driftloop.local.ground import files

LARGEST = 8 * 1024 * 1024
"""Bytes after which a log file is moved aside; one older file is kept."""


def bound_log(log: Path) -> None:
    """Move a log that has grown too large aside; a writer that appends goes on in the emptied
    file."""
    try:
        found = log.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_size > LARGEST:
            # on a full disk the old half is not worth keeping
            with contextlib.suppress(OSError):
                shutil.copyfile(log, log.with_suffix(log.suffix + ".1"))
            os.truncate(log, 0)
    except FileNotFoundError:
        pass


def open_log(log: Path) -> BinaryIO:
    """Open a log to append to it; what is in its place and no file is set aside. OSError when it
    can't be written."""
    files.clear_place(log)
    return os.fdopen(files.open_file(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def last_line(log: Path) -> str:
    """The last line that says something, at most 500 characters, and behind it in parentheses the hint that our
    programs let follow."""
    try:
        handle = files.open_file(log)
    except (FileNotFoundError, LocalError):
        return ""
    with os.fdopen(handle, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    said = [line[:500] for line in lines if line][-2:]
    if said and (hint := said[-1].removeprefix("hint: ")) != said[-1]:
        return f"{said[0]} ({hint})" if len(said) > 1 else f"hint: {hint}"
    return said[-1] if said else ""


def read_tail(log: Path, lines: int = 8) -> str:
    """The last lines."""
    try:
        return "\n".join(files.read_file(log).decode(errors="replace").splitlines()[-lines:])
    except (FileNotFoundError, LocalError):
        return "(no log)"
