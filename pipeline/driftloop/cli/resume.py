"""`driftloop resume`."""

import click

from driftloop.cli import halt, options
from driftloop.cli.clusters import ClusterChoice, cluster_options, url_option
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.reaching import open_decision
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.watching.suspend import resume_decision

EXAMPLES = """\b
Examples:
  driftloop resume digits
  driftloop resume digits --cluster --context staging"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@cluster_options
@url_option
@options.output
def command(
    *, name: str, state: StateChoice, cluster: ClusterChoice, url: str | None, output: str
) -> None:
    """Resume retraining of pipeline NAME: alarms, schedules and people may start runs again."""
    with open_decision(name, state, cluster, url) as decision:
        resumed = resume_decision(decision)
    halt.print_state(name, resumed, output)
