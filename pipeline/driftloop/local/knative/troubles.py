"""Troubles that keep the broker from its work now, and since when: read by `driftloop status`."""

import contextlib
from pathlib import Path

from driftloop.contract.times import format_now
from driftloop.errors import LocalError
from driftloop.local.ground.state import write_json

TROUBLES_FILE = "broker-troubles.json"


class BrokerTroubles:
    """Troubles by what has them, in the folder `run` of the state."""

    def __init__(self, run: Path) -> None:
        self._path = run / TROUBLES_FILE
        self._open: dict[str, dict[str, str]] = {}
        self._written: dict[str, dict[str, str]] | None = None

    def note_trouble(self, name: str, why: str) -> None:
        """Remember a trouble; one that goes on keeps its begin."""
        now = format_now()
        since = self._open.get(name, {}).get("since", now)
        self._open[name] = {"since": since, "why": why[:300]}

    def clear_trouble(self, name: str) -> None:
        """Forget a trouble that is over."""
        self._open.pop(name, None)

    def write_file(self) -> None:
        """Write the file when something has changed."""
        if self._open == self._written:
            return
        # on a full disk, the next look writes it; the storage watch says so
        with contextlib.suppress(LocalError):
            write_json(self._path, self._open)
            self._written = dict(self._open)
