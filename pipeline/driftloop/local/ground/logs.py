"""Log files of children: bounded while they are written, and what they say last."""

import contextlib
import os
import shutil
from pathlib import Path

LARGEST = 8 * 1024 * 1024
"""Bytes after which a log file is moved aside; one older file is kept."""


def bound_log(log: Path) -> None:
    """Move a log that has grown too large aside; a writer that appends goes on in the emptied
    file."""
    try:
        if log.stat().st_size > LARGEST:
            # on a full disk the old half is not worth keeping
            with contextlib.suppress(OSError):
                shutil.copyfile(log, log.with_suffix(log.suffix + ".1"))
            os.truncate(log, 0)
    except FileNotFoundError:
        pass


def last_line(log: Path) -> str:
    """The last line that says something (our programs follow it by a hint), at most 500
    characters."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next(
        (line[:500] for line in reversed(lines) if line and not line.startswith("hint:")), ""
    )


def read_tail(log: Path, lines: int = 8) -> str:
    """The last lines."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"
