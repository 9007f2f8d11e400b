"""The lock of a state folder: held by the one `up`, and found by what the kernel says of it.

The number in the file is a note: a process that it names may be another one by now, so it counts
only if that process holds this very lock.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.ground import files

_LOOKS = 3
"""Looks for the holder; one that ends meanwhile leaves the lock free."""
_NOTE = 32
"""Bytes of the file that are read."""


@contextlib.contextmanager
def hold_lock(file: Path) -> Iterator[None]:
    """Hold the lock; BlockingIOError when another process does."""
    with os.fdopen(files.open_file(file, os.O_RDWR | os.O_CREAT), "r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stream.seek(0)
        stream.truncate()
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def find_lock_holder(file: Path) -> int | None:
    """Return the process that holds a lock, or None when it is free.

    LocalError when it is held by a process that this one can't see.
    """
    noted = b""
    for _ in range(_LOOKS):
        try:
            with os.fdopen(files.open_file(file, os.O_RDWR), "rb+") as stream:
                noted = stream.read(_NOTE).strip()
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return None
        except FileNotFoundError:
            return None
        except BlockingIOError:
            pass
        first = [int(noted)] if noted.isdigit() else []
        for pid in (*first, *(int(name) for name in os.listdir("/proc") if name.isdigit())):
            if _holds_lock(pid, file):
                return pid
        time.sleep(0.1)
    raise LocalError(
        f"{file} is held by a process that can't be seen from here; it names {noted!r}, which does "
        "not hold it",
        hint=f"nothing is signalled: find the process with `fuser {file}` as its user, and stop it",
    )


def _holds_lock(pid: int, file: Path) -> bool:
    """Return True when a process has the file open and locked."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                opened = os.stat(f"/proc/{pid}/fd/{name}")
                if not os.path.samestat(opened, file.stat()):
                    continue
                if "FLOCK" in Path(f"/proc/{pid}/fdinfo/{name}").read_text():
                    return True
    return False
