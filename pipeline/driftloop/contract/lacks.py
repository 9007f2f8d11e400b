"""What production lacks of the monitors of a spec: they are new since it was trained, or have changed."""

from collections.abc import Mapping
from typing import Literal, get_args

Lack = Literal["missing", "outdated"]
"""No detector at all, or one that was fitted with other settings than the spec has now."""
LACKS: tuple[Lack, ...] = get_args(Lack)


def are_lacks(value: object) -> bool:
    """Return True for what production lacks, by monitor."""
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and lack in LACKS for name, lack in value.items()
    )


def describe_lacks(lacks: Mapping[str, Lack]) -> str:
    """Return what production lacks in words; empty when it lacks nothing."""
    missing = [f"`{name}`" for name, lack in lacks.items() if lack == "missing"]
    outdated = [f"`{name}`" for name, lack in lacks.items() if lack == "outdated"]
    parts = []
    if missing:
        parts.append(f"has no detector of {_join(missing)}")
    if outdated:
        parts.append(f"has one of {_join(outdated)} that was fitted with other settings")
    return " and ".join(parts)


def _join(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
