"""A command in place of a function."""

from typing import Annotated

from pydantic import Field

from driftloop.contract.programs import type_words
from driftloop.spec.values import Word

Command = Annotated[tuple[Word, ...], Field(max_length=100)]
"""A program and its arguments, a word each."""


def refuse_two_ways(run: str | None, command: tuple[str, ...]) -> None:
    """ValueError unless there is a function or a command, and not both."""
    if (run is None) == (not command):
        raise ValueError("must have either `run` or `command`")


def name_code(run: str | None, command: tuple[str, ...]) -> str:
    """Return what is called: the function, or the command as one types it."""
    return run if run is not None else type_words(command)
