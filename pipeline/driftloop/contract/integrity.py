"""How a program says that stored files are not those of their release, and how others find that
in its last words."""

import re

_MISMATCH = re.compile(r"\S+ has digest sha256:[0-9a-f]{64}, expected sha256:[0-9a-f]{64}")


def describe_mismatch(place: object, actual: str, expected: str) -> str:
    """Return the sentence for files whose digest is not the one that git has."""
    return f"{place} has digest {actual}, expected {expected}"


def find_mismatch(words: str) -> str | None:
    """Return the last such sentence in a program's words; None without one."""
    sentences = _MISMATCH.findall(words)
    return sentences[-1] if sentences else None
