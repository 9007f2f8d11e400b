"""Find and read the logs of a state folder."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.state import StateFolder

TIMELINE = "timeline"
MOST_NAMES = 12
"""Logs that are still listed one by one."""
POLL = 0.3
"""Seconds between two reads of a followed log."""


def find_logs(state: StateFolder, name: str) -> Mapping[str, Path]:
    """Return the log of that name, all logs in the folder of that name, or the only one whose
    name contains it.

    LocalError lists the logs when there is none, or more than one.
    """
    files = sorted(state.logs.rglob("*.log"), key=lambda file: file.lstat().st_mtime)
    logs = {file.relative_to(state.logs).with_suffix("").as_posix(): file for file in files}
    if name in logs:
        return {name: logs[name]}
    if inside := {
        key: file for key, file in logs.items() if key.startswith(f"{name.rstrip('/')}/")
    }:
        return inside
    matches = {key: file for key, file in logs.items() if key.rpartition("/")[2] == name} or {
        key: file for key, file in logs.items() if name in key
    }
    if len(matches) == 1:
        return matches
    if matches:
        raise LocalError(
            f"`{name}` matches {len(matches)} logs; {list_logs(matches)}", hint="name one of them"
        )
    raise LocalError(
        f"log `{name}` does not exist; {list_logs(logs)}", hint="name one of them, or a folder"
    )


def list_logs(logs: Iterable[str]) -> str:
    """Return the names of logs on one line, by folder when they are many."""
    names = sorted(logs)
    if len(names) > MOST_NAMES:
        counts = Counter(name.rpartition("/")[0] for name in names)
        folders = [f"{folder}/ ({count})" for folder, count in counts.items() if folder]
        names = [name for name in names if "/" not in name] + folders
    return f"logs: {TIMELINE}, {', '.join(names)}" if names else f"logs: {TIMELINE}"


def read_lines(file: Path, *, last: int, follow: bool) -> Iterator[str]:
    """Yield the last lines of a log, then with `follow` each new one, for ever."""
    try:
        handle = files.open_file(file)
    except FileNotFoundError:
        return
    with os.fdopen(handle, errors="replace") as stream:
        yield from stream.read().splitlines()[-last:] if last else ()
        while follow:
            position = stream.tell()
            if file.stat().st_size < position:
                # it was rotated, since it had grown large
                stream.seek(0)
            line = stream.readline()
            if line.endswith("\n"):
                yield line.rstrip("\n")
            else:
                stream.seek(position if file.stat().st_size >= position else 0)
                time.sleep(POLL)
