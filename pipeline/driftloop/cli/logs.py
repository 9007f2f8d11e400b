"""`driftloop logs`: print the log of one part, or the timeline."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from driftloop.errors import LocalError
from driftloop.local.ground import timeline
from driftloop.local.ground.state import State

TIMELINE = "timeline"

MOST_NAMES = 12
"""Logs that are still listed one by one."""


@click.command()
@click.argument("name", default=TIMELINE)
@click.option("--state", "folder", type=click.Path(path_type=Path), default=Path(".driftloop"), show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on")
@click.option("-n", "--lines", type=click.IntRange(0), default=200, show_default=True, help="How many last lines")
def command(name: str, folder: Path, follow: bool, lines: int) -> None:
    """Print the log of one part (a name as `driftloop status` prints it, or a run's step), or the timeline.

    A run's name prints the logs of all its steps, one after another; a pipeline's namespace those of its pods.
    """
    state = State.at(folder)
    if not state.exists():
        raise LocalError(f"{state.root} is no state folder", hint="name the one `up` used with --state")
    if name == TIMELINE:
        for line in _lines(state.timeline, last=lines, follow=follow):
            click.echo(timeline.line(json.loads(line)))
        return
    found = _logs(state, name)
    if follow and len(found) > 1:
        raise LocalError(f"{len(found)} logs can't be followed at once; {_listed(found)}", hint="name one of them")
    for key, file in found.items():
        if len(found) > 1:
            click.echo(f"==> {key} <==")
        for line in _lines(file, last=lines, follow=follow):
            click.echo(line)


def _logs(state: State, name: str) -> dict[str, Path]:
    """The log of exactly that name, all in the folder of that name, or the only one whose name holds it."""
    files = sorted(state.logs.rglob("*.log"), key=lambda file: file.stat().st_mtime)
    known = {file.relative_to(state.logs).with_suffix("").as_posix(): file for file in files}
    if name in known:
        return {name: known[name]}
    if inside := {key: file for key, file in known.items() if key.startswith(f"{name.rstrip('/')}/")}:
        return inside
    found = {key: file for key, file in known.items() if name in key}
    if len(found) == 1:
        return found
    if found:
        raise LocalError(f"{len(found)} logs have `{name}` in their name; {_listed(found)}", hint="name one of them")
    raise LocalError(f"no log has `{name}` in its name; {_listed(known)}", hint="name one of them, or a folder")


def _listed(logs: Iterable[str]) -> str:
    """What there is, by folder when that is a lot."""
    names = sorted(logs)
    if len(names) > MOST_NAMES:
        counts = Counter(name.rpartition("/")[0] for name in names)
        inner = [f"{folder}/ ({count})" for folder, count in counts.items() if folder]
        names = [name for name in names if "/" not in name] + inner
    return f"logs: {TIMELINE}, {', '.join(names)}" if names else f"logs: {TIMELINE}"


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
