"""The timeline: one JSON line per thing that happened, in the order it was learnt."""

import json
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_text,
    parse_json,
    to_json,
)
from driftloop.contract.outcomes import is_time
from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.state import build_write_error

UNWRITTEN = 1000
"""Entries that wait for the file to be writable again at most; the oldest go first."""

TIMELINE_LINE = "the line of the timeline"


@dataclass(frozen=True)
class TimelineEntry:
    """One thing that happened."""

    time: str = document_key("time", "a time in RFC 3339", is_time)
    kind: str = document_key("kind", "a text", is_text)
    """One of commit, process, run, step, verdict, decision, platform, blind."""
    what: str = document_key("what", "a text", is_text)
    why: str = document_key("why", "a text", lambda value: isinstance(value, str), default="")
    commit: str = document_key("commit", "a text", lambda value: isinstance(value, str), default="")

    @classmethod
    def parse(cls, line: str | bytes) -> "TimelineEntry":
        """Read a line of the timeline; DocumentError when it is damaged."""
        return from_json(cls, parse_json(line, label=TIMELINE_LINE), label=TIMELINE_LINE)


class EventTimeline:
    """Appends to `timeline.jsonl` and tells `listener` (the terminal)."""

    def __init__(self, file: Path, listener: Callable[[TimelineEntry], None] | None = None) -> None:
        self._file = file
        self._listener = listener
        self._unwritten: deque[TimelineEntry] = deque(maxlen=UNWRITTEN)

    def add_entry(
        self, kind: str, what: str, why: str = "", *, commit: str = "", time: str | None = None
    ) -> None:
        """Append one thing that happened; `time` is RFC 3339, now when left out."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = TimelineEntry(time or now, kind, what, why, commit)
        self._unwritten.append(entry)
        try:
            self._write_entries()
        except (OSError, LocalError) as error:
            # a full disk must not stop what runs; the listener still hears of it
            told = build_write_error(self._file, error) if isinstance(error, OSError) else error
            unwritten = f"not recorded yet: {told.message}"
            entry = replace(entry, why=f"{why}; {unwritten}" if why else unwritten)
        if self._listener is not None:
            self._listener(entry)

    def _write_entries(self) -> None:
        """Append what is not written yet, after a whole line."""
        lines = "".join(json.dumps(to_json(entry)) + "\n" for entry in self._unwritten)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        with os.fdopen(files.open_file(self._file, flags), "rb+") as stream:
            if stream.seek(0, os.SEEK_END) and not _ends_line(stream):
                lines = "\n" + lines
            stream.write(lines.encode())
        self._unwritten.clear()


def _ends_line(stream: BinaryIO) -> bool:
    """Return True when the last byte ends a line; a machine that stopped may have left a part."""
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"


def format_entry(entry: TimelineEntry) -> str:
    """Return an entry as the terminal shows it."""
    clock = datetime.fromisoformat(entry.time).astimezone().strftime("%H:%M:%S")
    why = f" ({entry.why})" if entry.why else ""
    commit = f" {entry.commit[:8]}" if entry.commit else ""
    return f"{clock} {entry.kind:<9}{entry.what}{why}{commit}"


def format_line(line: str | bytes) -> str:
    """Return a line of the timeline as the terminal shows it; one that can't be read as it is,
    with the reason."""
    try:
        return format_entry(TimelineEntry.parse(line))
    except DocumentError as error:
        shown = line if isinstance(line, str) else line.decode(errors="replace")
        return f"{shown.rstrip()}  ({error.message})"
