"""`--since` of all commands that have it: one reading of a time."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from driftloop.spec.values import duration

F = TypeVar("F", bound=Callable[..., Any])


def read_since(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> datetime | None:
    """Return the moment of `--since`: a length of time before now (12h, 7d, 2w), a day or a time; those
    without a zone are UTC."""
    if text is None:
        return None
    weeks = text.removesuffix("w")
    length = f"{7 * int(weeks)}d" if weeks != text and weeks.isdecimal() else text
    try:
        return datetime.now(UTC) - duration(length)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"`{text}` is not a time, must be a length of time before now, such as 12h or 7d, a day or a time, "
            "such as 2026-11-30 or 2026-11-30T08:00:00Z"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def since_option(words: str) -> Callable[[F], F]:
    """Add `--since` to a command; `words` say which things it keeps."""
    return click.option(
        "--since",
        callback=read_since,
        help=f"{words} since then: 12h or 7d ago, a day, a time (UTC).  [default: everything]",
    )
