"""run/history.json: the position in the streams, and the last of everything that the timeline
tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_text,
    is_text_map,
    is_whole,
    to_json,
)
from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.state import write_json

Entries = dict[str, dict[str, Any]]


def _are_cursors(value: object) -> bool:
    return isinstance(value, Mapping) and all(is_whole(item, 0) for item in value.values())


def _are_phases(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(is_text_map, value.values()))


def _are_verdicts(value: object) -> bool:
    return _are_entries(value, ("release",)) and all(
        isinstance(item.get("alarm"), bool) and is_whole(item.get("window"), 0)
        for item in _list_entries(value)
    )


def _are_unjudged(value: object) -> bool:
    return _are_entries(value, ("release", "reference")) and all(
        is_whole(item.get("windows"), 0) for item in _list_entries(value)
    )


def _are_runs(value: object) -> bool:
    return _are_entries(value, ("name", "phase"))


def _are_entries(value: object, texts: tuple[str, ...]) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(item, dict) and all(is_text(item.get(name)) for name in texts)
        for item in value.values()
    )


def _list_entries(value: object) -> list[dict[str, Any]]:
    return list(value.values()) if isinstance(value, Mapping) else []


@dataclass(frozen=True)
class HistoryRecord:
    """All that is kept between two saves."""

    cursors: dict[str, int] = document_key(
        "cursors", "an object of sequences", _are_cursors, read=dict
    )
    phases: dict[str, dict[str, str]] = document_key(
        "phases", "an object of phases by Workflow", _are_phases, read=dict
    )
    verdicts: Entries = document_key("verdicts", "an object of verdicts", _are_verdicts, read=dict)
    unjudged: Entries = document_key("unjudged", "an object of windows", _are_unjudged, read=dict)
    runs: Entries = document_key("runs", "an object of runs", _are_runs, read=dict)
    decisions: dict[str, str] = document_key(
        "decisions", "an object of texts", is_text_map, read=dict
    )
    loops: dict[str, str] = document_key("loops", "an object of texts", is_text_map, read=dict)

    @classmethod
    def load(cls, file: Path) -> "HistoryRecord | None":
        """Read the record; None before the first save, LocalError when it is damaged."""
        try:
            document = files.read_document(file)
            if isinstance(document, dict):
                # an older version wrote none of these
                document = {"loops": {}, "unjudged": {}, **document}
            return from_json(cls, document, label=str(file), closed=False)
        except FileNotFoundError:
            return None
        except DocumentError as error:
            hint = "the next `driftloop up` reads the streams again"
            raise LocalError(error.message, hint=hint) from error

    def save(self, file: Path) -> None:
        """Write the record, replacing the file whole."""
        write_json(file, to_json(self))
