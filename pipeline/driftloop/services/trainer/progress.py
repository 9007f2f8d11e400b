"""How far a function of the user's is, by the JSON lines that it prints: as Argo asks a container for it.

A line counts when it has a place and what it is of: `{"epoch": 3, "epochs": 12}`, or `{"epoch": 3}` of a function that has a
parameter `epochs`. Places may begin with 0 or with 1: the first one that comes tells.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRESS_FILE = "ARGO_PROGRESS_FILE"
"""Variable with the file that Argo reads `3/12` from."""
PLACES = ("epoch", "round", "iteration", "step", "fold", "batch")
"""Keys of a line that may be a place; the total has the same name with an s."""


@dataclass
class ProgressFile:
    """Writes how far a function is."""

    file: Path | None
    parameters: Mapping[str, Any]
    _first: dict[str, int] = field(default_factory=dict)
    _written: str = ""

    def note_line(self, line: Mapping[str, Any]) -> None:
        """Take note of a line; one that says nothing of it changes nothing."""
        if self.file is None or (text := self._read_line(line)) is None or text == self._written:
            return
        # what can't be told is no reason to end a training
        with contextlib.suppress(OSError):
            self.file.write_text(text)
            self._written = text

    def _read_line(self, line: Mapping[str, Any]) -> str | None:
        for name in PLACES:
            place = _read_whole(line.get(name))
            total = _read_whole(line.get(f"{name}s", self.parameters.get(f"{name}s")))
            if place is None or not total:
                continue
            first = self._first.setdefault(name, place)
            done = place + 1 if first == 0 else place
            return f"{done}/{total}" if done <= total else None
        return None


def _read_whole(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if whole else None
