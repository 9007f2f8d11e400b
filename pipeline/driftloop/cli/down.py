"""`driftloop down`: stop everything that `up` started."""

import os
import signal
import time
from pathlib import Path

import click
import psutil

from driftloop.errors import LocalError
from driftloop.local.ground import leftovers
from driftloop.local.ground.state import State

PATIENCE = 90.0
"""Seconds that `up` gets to stop its parts in order."""


@click.command()
@click.option("--state", "folder", type=click.Path(path_type=Path), default=Path(".driftloop"), show_default=True)
def command(folder: Path) -> None:
    """Stop everything that `up` started in this state folder; what it stored stays."""
    state = State.at(folder)
    if not state.exists():
        raise LocalError(f"{state.root} is no state folder", hint="name the one `up` used with --state")
    pid = state.holder()
    if pid is not None:
        click.echo(f"stopping process {pid} and its children", err=True)
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while _lives(pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        if _lives(pid):
            click.echo(f"process {pid} did not stop within {PATIENCE:.0f} s; killing it", err=True)
            os.kill(pid, signal.SIGKILL)
    left = leftovers.stop(state)
    if left:
        click.echo(f"stopped {left} processes that were left behind", err=True)
    if pid is None and not left:
        click.echo("nothing was running", err=True)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
