"""The name that was probably meant, as a hint."""

import difflib
from collections.abc import Iterable


def suggest_closest(name: str, names: Iterable[str], *, fold: bool = False) -> str | None:
    """Return a hint with the closest of `names`; None when none is close. Case does not count when
    `fold`."""
    by_key = {other.lower() if fold else other: other for other in names}
    close = difflib.get_close_matches(name.lower() if fold else name, by_key, n=1)
    return f"did you mean `{by_key[close[0]]}`?" if close else None
