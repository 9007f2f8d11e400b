"""Columns whose values nobody is to see, in what a verdict says of its window."""

from collections.abc import Collection, Mapping
from typing import Any

from driftloop.contract.distributions import DISTRIBUTIONS

TOLD = ("private", "missing", "unreadable", "relation", "rejected", "duplicated")
"""Kinds of a change that name no value of the column, and no figure in its unit."""


def is_private(column: str, private: Collection[str]) -> bool:
    """Return True for a private column, and for an element of a private array."""
    return column in private or column.partition("[")[0] in private


def hide_values(details: Mapping[str, Any], private: Collection[str]) -> dict[str, Any]:
    """Return the details of a verdict without the values of private columns: of these they say how far the column has
    moved."""
    if not private:
        return dict(details)
    hidden = dict(details)
    if isinstance(columns := details.get("columns"), list):
        hidden["columns"] = [_hide_change(each, private) for each in columns]
    lasting = details.get("lasting")
    if isinstance(lasting, Mapping) and isinstance(lasting.get("columns"), list):
        columns = [_hide_change(each, private) for each in lasting["columns"]]
        hidden["lasting"] = {**lasting, "columns": columns}
    if isinstance(drawn := details.get(DISTRIBUTIONS), list):
        hidden[DISTRIBUTIONS] = [each for each in drawn if not _is_of(each, private)]
    if isinstance(unseen := details.get("unseen"), Mapping):
        hidden["unseen"] = _hide_counts(unseen, private)
    return hidden


def _is_of(part: Any, private: Collection[str]) -> bool:
    return isinstance(part, Mapping) and is_private(str(part.get("column")), private)


def _hide_change(change: Any, private: Collection[str]) -> Any:
    if not _is_of(change, private) or change.get("kind") in TOLD:
        return change
    return {**change, "kind": "private", "of": "", "before": 0.0, "after": change.get("effect")}


def _hide_counts(counts: Mapping[str, Any], private: Collection[str]) -> dict[str, Any]:
    """Return counts by column and value, those of private columns by column."""
    kept: dict[str, Any] = {}
    for name, count in counts.items():
        of = next((each for each in private if name.startswith(f"{each} ")), None)
        kept[name if of is None else of] = kept.get(name if of is None else of, 0) + count
    return kept
