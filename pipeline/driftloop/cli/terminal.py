"""Printing on a terminal: words that matter in colour, and a line that moves while something is
waited for. In a pipe, and with NO_COLOR, it is the plain text."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from driftloop.cli.options import print_progress
from driftloop.pages.terminal_text import format_line, has_colors, mark_words

if TYPE_CHECKING:
    from driftloop.render import FileChange


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to stdout."""
    colors = has_colors(sys.stdout, os.environ)
    text = "\n".join(
        format_line(mark_words(line), colors=True) if colors else line for line in lines
    )
    click.echo(text)


def print_diff(change: "FileChange") -> None:
    """Print a unified diff to stdout; lines are coloured on a terminal."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in change.lines():
        click.echo(click.style(line, fg=colours.get(line[:1])))


@contextmanager
def follow_progress(what: str) -> Iterator[Callable[[str], None]]:
    """Give what tells progress on stderr; on a terminal a line below it says what is waited for, and since when."""
    if not has_colors(sys.stderr, os.environ):
        yield print_progress
        return
    # it takes as long to load as a whole command
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield lambda text: console.print(Text.from_ansi(format_line(mark_words(text), colors=True)))
