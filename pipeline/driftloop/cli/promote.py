"""`driftloop promote`."""

import click

from driftloop.cli import options, target
from driftloop.cli.completing import complete_pipeline
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.rollouts.rollout import promote_candidate

EXAMPLES = """\b
Examples:
  driftloop promote digits
  driftloop promote digits --repository https://github.com/acme/cluster.git"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.repository_options
@options.output
def command(
    *,
    name: str,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    output: str,
) -> None:
    """Make the candidate of pipeline NAME production, without waiting for its analysis."""
    with target.open_repository(repository, branch, state, on) as opened:
        moved = promote_candidate(opened, name)
    production = moved.release.production
    target.print_commit(
        opened, moved.commit, name, output, production=production.id if production else None
    )
