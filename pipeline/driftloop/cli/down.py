"""`driftloop down`."""

import click

from driftloop.cli import options
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.platform.down import stop_platform

EXAMPLES = """\b
Examples:
  driftloop down
  driftloop down --state ../digits/.driftloop"""


@click.command(epilog=EXAMPLES)
@options.state
def command(*, state: StateChoice) -> None:
    """Stop everything that `driftloop up` started in a state folder; stored data is kept."""
    stopped = stop_platform(state.ensure_exists(), options.print_progress)
    if stopped.leftovers:
        options.print_progress(f"stopped {stopped.leftovers} processes that were left behind")
    if stopped.pid is None and not stopped.leftovers:
        options.print_progress("nothing was running")
