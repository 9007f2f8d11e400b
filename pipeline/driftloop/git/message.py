"""The text of a commit: subject, body, trailers."""

from collections.abc import Mapping


def format_message(subject: str, body: str, trailers: Mapping[str, str]) -> str:
    """Return the message; a value can't start a line of its own, so nobody's text forges a
    trailer."""
    parts = [_join_line(subject)]
    if body.strip():
        parts.append("\n".join(line.rstrip() for line in body.strip().splitlines()))
    lines = "\n".join(
        f"{key}: {_join_line(value)}" for key, value in trailers.items() if _join_line(value)
    )
    return "\n\n".join([*parts, *([lines] if lines else [])]) + "\n"


def _join_line(value: str) -> str:
    return " ".join(value.split())
