"""`driftloop halt`."""

import json
import os

import click

from driftloop.cli import options
from driftloop.cli.completing import complete_pipeline
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.watching.suspend import SuspensionState, find_decision, suspend_decision

EXAMPLES = """\b
Examples:
  driftloop halt digits --reason "new camera, labels not ready"
  driftloop halt digits --url http://localhost:8080"""

url_option = click.option(
    "--url",
    help="Decision service of a cluster (port-forward Service NAME-decision); "
    "the token is read from DRIFTLOOP_WEBHOOK_TOKEN.",
)


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@url_option
@click.option("--reason", default="", help="Reason in a few words; refused runs report it.")
@options.output
def command(*, name: str, state: StateChoice, url: str | None, reason: str, output: str) -> None:
    """Suspend retraining of pipeline NAME: no run starts until `driftloop resume`.

    A current run and its rollout may finish.
    """
    decision = find_decision(name, state.folder, url, os.environ)
    print_state(name, suspend_decision(decision, reason), output)


def print_state(name: str, state: SuspensionState, output: str) -> None:
    """Print the phase of the decision."""
    if state.is_suspending:
        options.print_progress(f"{name} is suspended once the current run has finished")
    click.echo(
        json.dumps({"pipeline": name, **state.to_json()}) if output == "json" else state.phase
    )
