"""Exit codes and words by which a program says that stored files are not those of their release, or a release not the
platform's, and how others find that in its last words."""

import re

_REFUSALS = re.compile(
    r"\S+ has digest sha256:[0-9a-f]{64}, expected sha256:[0-9a-f]{64}"
    r"|release \S+ of \S+ is not trusted: [^.;\n]+"
)


def describe_mismatch(place: object, actual: str, expected: str) -> str:
    """Return the sentence for files whose digest is not the one that git has."""
    return f"{place} has digest {actual}, expected {expected}"


def describe_distrust(release: str, pipeline: str, reason: str) -> str:
    """Return the sentence for a release whose signature is not the platform's; `pipeline` has its
    namespace before it."""
    return f"release {release} of {pipeline} is not trusted: {reason}"


def find_mismatch(words: str) -> str | None:
    """Return the last such sentence in a program's words; None without one."""
    sentences = _REFUSALS.findall(words)
    return sentences[-1] if sentences else None
