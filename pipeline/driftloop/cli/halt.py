"""`driftloop halt`."""

import click

from driftloop.cli import options
from driftloop.cli.clusters import ClusterChoice, cluster_options, url_option
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.reaching import open_decision
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.watching.suspend import SuspensionState, suspend_decision

EXAMPLES = """\b
Examples:
  driftloop halt digits --reason "new camera, labels not ready"
  driftloop halt digits --cluster --context staging --reason "new camera\""""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@cluster_options
@url_option
@click.option("--reason", default="", help="Reason in a few words; refused runs report it.")
@options.output
def command(
    *,
    name: str,
    state: StateChoice,
    cluster: ClusterChoice,
    url: str | None,
    reason: str,
    output: str,
) -> None:
    """Suspend retraining of pipeline NAME: no run starts until `driftloop resume`.

    A current run and its rollout may finish.
    """
    with open_decision(name, state, cluster, url) as decision:
        suspended = suspend_decision(decision, reason)
    print_state(name, suspended, output)


def print_state(name: str, state: SuspensionState, output: str) -> None:
    """Print the phase of the decision."""
    if state.is_suspending:
        options.print_progress(f"{name} is suspended once the current run has finished")
    if output != "text":
        options.print_document({"pipeline": name, **state.to_json()}, output)
    else:
        click.echo(state.phase)
