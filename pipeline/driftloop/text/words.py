"""How findings speak of names."""

import difflib
from collections.abc import Iterable


def listed(names: Iterable[str], what: str = "templates") -> str:
    """`templates: a, b, c`, shortened when there are many."""
    found = sorted(name for name in names if name)
    shown = ", ".join(f"`{name}`" for name in found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    return f"{what}: {shown or 'none'}"


def near(name: str, known: Iterable[str]) -> str | None:
    """A fix that names the one that was probably meant."""
    folded = {one.lower(): one for one in known if one}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.7)
    return f"did you mean `{folded[found[0]]}`?" if found else None
