"""`driftloop rollback`."""

import click

from driftloop.cli import options, target
from driftloop.operations.place import StateChoice
from driftloop.operations.rollout import is_rollback, roll_back

EXAMPLES = """\b
Examples:
  driftloop rollback digits
  driftloop rollback digits --repository https://github.com/acme/cluster.git"""


@click.command(epilog=EXAMPLES)
@click.argument("name")
@options.repository_options
@options.output
def command(
    *, name: str, repository: str | None, branch: str, state: StateChoice, output: str
) -> None:
    """Restore the previous version of pipeline NAME; during a rollout, end it and keep
    production."""
    with target.open_repository(repository, branch, state) as opened:
        moved = roll_back(opened, name)
    if is_rollback(moved):
        options.print_progress(
            f"alarms and schedules of {name} start nothing for the time of `retrain.hold`, and no run makes that version again "
            f"from the same data; `driftloop halt {name}` prevents runs until `driftloop resume {name}`"
        )
    production = moved.release.production
    target.print_commit(
        opened, moved.commit, name, output, production=production.id if production else None
    )
