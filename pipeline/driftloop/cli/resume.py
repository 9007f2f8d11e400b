"""`driftloop resume`: a loop that was halted goes on."""

from pathlib import Path

import click

from driftloop.cli import halt, target


@click.command()
@click.argument("name")
@target.state
@halt.url_option
@target.output
def command(*, name: str, state: Path, url: str | None, output: str) -> None:
    """Let alarms, schedules and persons start runs of pipeline NAME again."""
    halt.print_state(name, halt.ask(state, name, url, "resume", ""), output)
