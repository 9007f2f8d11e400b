"""A sample of a window's requests as a table: the columns that moved first, private ones last and hidden."""

from collections.abc import Sequence
from dataclasses import dataclass

from driftloop.contract.verdicts import ColumnChange
from driftloop.operations.traces.window_samples import HIDDEN, SampledEvent
from driftloop.text.words import join_some

MOST_COLUMNS = 12
"""Columns of the table."""
MOST_NAMED = 8


GONE = "The stream keeps the events of the last windows only, and has none of this one any more."


@dataclass(frozen=True)
class Absence:
    """Why a page has no sample, and what to write or type for one."""

    text: str
    code: str = ""


@dataclass(frozen=True)
class SampleTable:
    """Rows of a sample, and what is not shown of them."""

    columns: tuple[str, ...]
    events: tuple[SampledEvent, ...]
    more: int
    """Columns that have no room."""
    hidden: str
    """What is hidden and why; empty when nothing is."""


def build_table(
    events: Sequence[SampledEvent], changes: Sequence[ColumnChange], private: frozenset[str]
) -> SampleTable:
    """Return the table of a sample."""
    found = dict.fromkeys(column for event in events for column in event.values)
    moved = dict.fromkeys(change.column for change in changes)
    order = sorted(found, key=lambda column: (column in private, column not in moved))
    hides = private or any(HIDDEN in event.values.values() for event in events)
    return SampleTable(
        tuple(order[:MOST_COLUMNS]),
        tuple(events),
        max(0, len(order) - MOST_COLUMNS),
        _describe_hidden(private) if hides else "",
    )


def _describe_hidden(private: frozenset[str]) -> str:
    names = join_some(sorted(private), MOST_NAMED)
    return f"Hidden, since the spec drops, hashes or ignores them: {names}."


def describe_absence(name: str, release: str, *, captures: bool) -> Absence:
    """Return why there is no sample, and what has the requests."""
    if captures:
        export = f"driftloop traffic {name} --release {release} -o csv"
        return Absence(f"{GONE} Captured traffic has them:", export)
    return Absence(f"{GONE} They would be recorded with this in the spec:", "capture: {}")
