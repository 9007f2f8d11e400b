"""`driftloop why`."""

import json
import os
from dataclasses import replace

import click

from driftloop.cli import halt, options
from driftloop.operations.place import StateChoice
from driftloop.operations.suspend import find_decision
from driftloop.operations.why import ask_why, describe_windows

EXAMPLES = """\b
Examples:
  driftloop why digits
  driftloop why digits --url http://localhost:8080"""


@click.command(epilog=EXAMPLES)
@click.argument("name")
@options.state
@halt.url_option
@options.output
def command(*, name: str, state: StateChoice, url: str | None, output: str) -> None:
    """Explain in one paragraph what the loop of pipeline NAME waits for: alarms, data, the end of
    a pause, a person; and of a state folder, what each detector has of its open window."""
    answer = ask_why(find_decision(name, state.folder, url, os.environ))
    if url is None:
        answer = replace(answer, windows=describe_windows(state.folder, name))
    if output == "json":
        click.echo(json.dumps(answer.to_json()))
        return
    click.echo("\n".join((f"{name} is {answer.phase}: {answer.text}", *answer.windows)))
