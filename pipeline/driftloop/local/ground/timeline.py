"""The timeline: one JSON line per thing that happened, in the order it was learnt."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from driftloop.local.ground.state import build_write_error


class EventTimeline:
    """Appends to `timeline.jsonl` and tells `listener` (the terminal)."""

    def __init__(
        self, file: Path, listener: Callable[[dict[str, str]], None] | None = None
    ) -> None:
        self._file = file
        self._listener = listener

    def add_entry(
        self, kind: str, what: str, why: str = "", *, commit: str = "", time: str | None = None
    ) -> None:
        """`kind` is one of commit, process, run, verdict, decision, platform; `time` is RFC 3339,
        now when left out.
        """
        entry = {
            "time": time
            or datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "kind": kind,
            "what": what,
            "why": why,
            "commit": commit,
        }
        try:
            with self._file.open("a") as stream:
                stream.write(json.dumps(entry) + "\n")
        except OSError as error:
            # a full disk must not stop what runs; the listener still hears of it
            entry["why"] = (
                f"{entry['why']}; not recorded: {build_write_error(self._file, error).message}".removeprefix(
                    "; "
                )
            )
        if self._listener is not None:
            self._listener(entry)


def format_entry(entry: dict[str, str]) -> str:
    """An entry as the terminal shows it."""
    clock = datetime.fromisoformat(entry["time"]).astimezone().strftime("%H:%M:%S")
    why = f" ({entry['why']})" if entry.get("why") else ""
    commit = f" {entry['commit'][:8]}" if entry.get("commit") else ""
    return f"{clock} {entry['kind']:<9}{entry['what']}{why}{commit}"
