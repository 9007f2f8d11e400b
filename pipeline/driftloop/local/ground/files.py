"""Files of a state folder: read and appended to only where they are regular files.

What else a crash, a person or another program leaves in a file's place would be followed out of the
folder (a link), waited at for ever (a pipe), or end a command with a traceback (a folder).
"""

import os
import stat
from pathlib import Path
from typing import Any

from driftloop.contract.documents import LONGEST_FILE, parse_json
from driftloop.errors import LocalError

SET_ASIDE = ".damaged"
"""Suffix of a damaged file that was set aside."""

REMOVE_HINT = "remove it; the next `driftloop up` makes anew what it needs"

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def find_set_aside(file: Path) -> Path:
    """Return where a file is kept once it is set aside as damaged."""
    return file.with_name(file.name + SET_ASIDE)


def describe_irregular(file: Path) -> str | None:
    """Return what is in a file's place; None for a regular file, and for nothing."""
    try:
        mode = file.lstat().st_mode
    except OSError:
        return None
    return _KINDS.get(stat.S_IFMT(mode))


def require_regular(*files: Path) -> None:
    """LocalError when something else is in the place of a file; it may be missing."""
    for file in files:
        if (kind := describe_irregular(file)) is not None:
            raise LocalError(f"{file} is {kind}, must be a regular file", hint=REMOVE_HINT)


def require_regular_tree(folder: Path) -> None:
    """LocalError when something below a folder is neither a folder nor a regular file, but for
    what was set aside."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            require_regular_tree(Path(entry.path))
        elif not entry.is_file(follow_symlinks=False) and not entry.name.endswith(SET_ASIDE):
            require_regular(Path(entry.path))


def open_file(file: Path, flags: int = os.O_RDONLY, *, mode: int = 0o644) -> int:
    """Return a descriptor of a regular file, which the caller closes.

    FileNotFoundError when it, or its folder, is missing. LocalError when it is something else;
    OSError for what the system refuses besides.
    """
    require_regular(file)
    try:
        # neither a link nor a pipe that came between is followed or waited for
        handle = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(file)) from error
    except OSError:
        require_regular(file)
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise LocalError(f"{file} is not a regular file", hint=REMOVE_HINT)
    return handle


def read_file(file: Path) -> bytes:
    """Return what a regular file holds; FileNotFoundError when it is missing, LocalError when it
    can't be read."""
    try:
        with os.fdopen(open_file(file), "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LocalError(f"{file} can't be read: {error.strerror}", hint=REMOVE_HINT) from error


def read_text(file: Path) -> str:
    """Return what a regular file holds as text, as `read_file` does; LocalError, too, when it is
    not UTF-8."""
    try:
        return read_file(file).decode()
    except UnicodeDecodeError as error:
        raise LocalError(
            f"{file} is not UTF-8 text: byte {error.start + 1} is 0x{error.object[error.start]:02x}",
            hint=REMOVE_HINT,
        ) from error


def read_document(file: Path) -> Any:
    """Return the JSON that a regular file holds, as `read_file` does; DocumentError when it is
    none, or too long."""
    return parse_json(read_file(file), label=str(file), longest=LONGEST_FILE)


def clear_place(file: Path) -> str | None:
    """Set aside what is in a file's place and no regular file; return what it was, None without
    such. LocalError when it can't be."""
    if (kind := describe_irregular(file)) is not None:
        try:
            file.replace(find_set_aside(file))
        except OSError as error:
            raise LocalError(
                f"{file} is {kind} and can't be set aside: {error.strerror}",
                hint="remove it by hand",
            ) from error
    return kind
