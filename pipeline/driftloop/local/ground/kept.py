"""Files that other programs read while `up` runs: written anew when they are not as they were
written."""

import json
from pathlib import Path
from typing import Any

from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.state import replace_file
from driftloop.local.ground.timeline import EventTimeline


class KeptFile:
    """One such file; the timeline says when something else has changed it."""

    def __init__(self, path: Path, timeline: EventTimeline, *, mode: int = 0o644) -> None:
        self._path = path
        self._timeline = timeline
        self._mode = mode
        self._text: str | None = None
        self._stamp: tuple[int, int, int] | None = None

    def adopt_text(self) -> "KeptFile":
        """Take what the file holds now as what it is to hold."""
        self._text, self._stamp = files.read_text(self._path), self._read_stamp()
        return self

    def write_value(self, value: Any) -> None:
        """Write a value as JSON, if it is news."""
        text = json.dumps(value, indent=1, sort_keys=True) + "\n"
        if text != self._text:
            self._replace_text(text)

    def restore_text(self) -> None:
        """Write the file again when it was changed since."""
        if self._text is not None and self._read_stamp() != self._stamp:
            self._replace_text(self._text)
            event = f"{self._path} was changed by another program: it is written anew"
            self._timeline.add_entry("platform", event)

    def _replace_text(self, text: str) -> None:
        files.clear_place(self._path)
        replace_file(self._path, text, mode=self._mode)
        self._text, self._stamp = text, self._read_stamp()

    def _read_stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LocalError(f"{self._path} can't be read: {error}") from error
        return status.st_mtime_ns, status.st_ino, status.st_size
