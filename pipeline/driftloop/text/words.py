"""Names and counts in words."""

import difflib
from collections.abc import Iterable, Sequence


def count_noun(count: int, noun: str) -> str:
    """Return `1 file` or `2 files`; the noun takes an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def join_some(texts: Sequence[str], most: int) -> str:
    """Return `a, b and 3 more`: so many of the texts at most."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def list_names(names: Iterable[str], what: str = "templates") -> str:
    """`templates: a, b, c`, shortened when there are many."""
    shown = join_some([f"`{name}`" for name in sorted(filter(None, names))], 8)
    return f"{what}: {shown or 'none'}"


def suggest_names(name: str, known: Iterable[str]) -> str | None:
    """A fix that names the one that was probably meant."""
    folded = {allowed.lower(): allowed for allowed in known if allowed}
    matches = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.7)
    return f"did you mean `{folded[matches[0]]}`?" if matches else None
