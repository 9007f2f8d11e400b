"""Names and counts in words."""

import difflib
from collections.abc import Iterable


def count_noun(count: int, noun: str) -> str:
    """Return `1 file` or `2 files`; the noun takes an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def list_names(names: Iterable[str], what: str = "templates") -> str:
    """`templates: a, b, c`, shortened when there are many."""
    present = sorted(name for name in names if name)
    shown = ", ".join(f"`{name}`" for name in present[:8]) + (
        f" and {len(present) - 8} more" if len(present) > 8 else ""
    )
    return f"{what}: {shown or 'none'}"


def suggest_names(name: str, known: Iterable[str]) -> str | None:
    """A fix that names the one that was probably meant."""
    folded = {allowed.lower(): allowed for allowed in known if allowed}
    matches = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.7)
    return f"did you mean `{folded[matches[0]]}`?" if matches else None
