"""`--watch`: a command that is run again and again, and printed when it says something else."""

import functools
import io
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, cast

import click

from driftloop.cli import options
from driftloop.errors import PipelineError

PAUSE = 2.0
"""Seconds between two looks."""

_watch = click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Go on, and print it again whenever it changes, until Ctrl-C.",
)


class _Kept(io.StringIO):
    """Text that is kept, for a stream that is or is not a terminal."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def isatty(self) -> bool:
        return bool(self._stream.isatty())


def watch(command: options.F) -> options.F:
    """Add `--watch` to a command, which then is called again and again."""

    @functools.wraps(command)
    def bundle(*, watch: bool, **rest: Any) -> Any:
        if not watch:
            return command(**rest)
        return _print_changes(lambda: command(**rest))

    return cast(options.F, _watch(bundle))


def _print_changes(look: Callable[[], Any]) -> None:
    """Print what a command says whenever that changes; an error is said and looked past, but for one at the first
    look."""
    before: tuple[str, str] | None = None
    while True:
        out, err = _Kept(sys.stdout), _Kept(sys.stderr)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                look()
        except PipelineError as error:
            if before is None:
                raise
            err.write(f"error: {error.message}\n")
        now = (out.getvalue(), err.getvalue())
        if now != before:
            _print_look(*now, first=before is None)
        before = now
        time.sleep(PAUSE)


def _print_look(out: str, err: str, *, first: bool) -> None:
    screen = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if screen:
        click.clear()
    elif not first:
        click.echo()
    click.echo(out, nl=False)
    click.echo(err, nl=False, err=True)
    sys.stdout.flush()
