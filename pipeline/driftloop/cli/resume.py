"""`driftloop resume`."""

import os

import click

from driftloop.cli import halt, options
from driftloop.cli.completing import complete_pipeline
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.watching.suspend import find_decision, resume_decision

EXAMPLES = """\b
Examples:
  driftloop resume digits
  driftloop resume digits --url http://localhost:8080"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@halt.url_option
@options.output
def command(*, name: str, state: StateChoice, url: str | None, output: str) -> None:
    """Resume retraining of pipeline NAME: alarms, schedules and people may start runs again."""
    decision = find_decision(name, state.folder, url, os.environ)
    halt.print_state(name, resume_decision(decision), output)
