"""`driftloop logs`: print the log of one part, or the timeline."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import click

from pipeline.errors import LocalError
from pipeline.runtimes.local import timeline
from pipeline.runtimes.local.state import State

TIMELINE = "timeline"


@click.command()
@click.argument("name", default=TIMELINE)
@click.option("--state", "folder", type=click.Path(path_type=Path), default=Path(".driftloop"), show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on")
@click.option("-n", "--lines", type=click.IntRange(0), default=200, show_default=True, help="How many last lines")
def command(name: str, folder: Path, follow: bool, lines: int) -> None:
    """Print the log of one part (a name as `driftloop status` prints it, or a run's step), or the timeline."""
    state = State.at(folder)
    if not state.exists():
        raise LocalError(f"{state.root} is no state folder", hint="name the one `up` used with --state")
    file = state.timeline if name == TIMELINE else _log(state, name)
    for line in _lines(file, last=lines, follow=follow):
        click.echo(timeline.line(json.loads(line)) if name == TIMELINE else line)


def _log(state: State, name: str) -> Path:
    """The log of exactly that name, or the only one whose name holds it."""
    known = {file.relative_to(state.logs).with_suffix("").as_posix(): file for file in state.logs.rglob("*.log")}
    if name in known:
        return known[name]
    found = [key for key in known if name in key]
    if len(found) == 1:
        return known[found[0]]
    listed = ", ".join(sorted(found or known)) or "none yet"
    raise LocalError(
        f"{len(found) or 'no'} logs have `{name}` in their name; logs: {TIMELINE}, {listed}", hint="name one of them"
    )


def _lines(file: Path, *, last: int, follow: bool) -> Iterator[str]:
    if not file.exists():
        return
    with file.open(errors="replace") as stream:
        yield from stream.read().splitlines()[-last:] if last else ()
        while follow:
            position = stream.tell()
            if file.stat().st_size < position:
                # it was moved aside, since it had grown large
                stream.seek(0)
            line = stream.readline()
            if line.endswith("\n"):
                yield line.rstrip("\n")
            else:
                stream.seek(position if file.stat().st_size >= position else 0)
                time.sleep(0.3)
