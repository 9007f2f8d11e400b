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
            f"if the traffic is still what the replaced version was trained for, alarms of {name} start a new run: "
            f"`driftloop halt {name}` prevents that until `driftloop resume {name}`"
        )
    production = moved.release.production
    target.print_commit(
        opened, moved.commit, name, output, production=production.id if production else None
    )
