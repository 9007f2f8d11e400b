"""Findings in a valid spec that does not fit together, and their words."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class SpecFinding:
    """A reference that leads nowhere, and where it stands in the file."""

    location: tuple[str | int, ...]
    message: str
    hint: str | None = None
    key: bool = False
    """The place is the key, not the value."""


def format_names(names: Iterable[str]) -> str:
    """Return names as messages show them."""
    return ", ".join(f"`{name}`" for name in names)


def format_location(location: tuple[str | int, ...]) -> str:
    """Return a place in a spec as messages show it."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
