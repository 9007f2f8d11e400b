"""`driftloop logs`."""

import click

from driftloop.cli import options
from driftloop.errors import LocalError
from driftloop.local.ground import timeline
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.platform.logs import TIMELINE, find_logs, list_logs, read_lines

EXAMPLES = """\b
Examples:
  driftloop logs --follow
  driftloop logs argo --lines 50
  driftloop logs digits-4f0c1d2e3a5b"""


@click.command(epilog=EXAMPLES)
@click.argument("name", default=TIMELINE)
@options.state
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they are written.")
@click.option(
    "--lines",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Number of last lines to print.",
)
def command(*, name: str, state: StateChoice, follow: bool, lines: int) -> None:
    """Print the log of one part (NAME as `driftloop status` prints it, or a step of a run), or
    the timeline.

    The name of a run prints the logs of all its steps, one after another; the namespace of a
    pipeline those of its pods.
    """
    folder = state.ensure_exists()
    if name == TIMELINE:
        for line in read_lines(folder.timeline, last=lines, follow=follow):
            click.echo(timeline.format_line(line))
        return
    logs = find_logs(folder, name)
    if follow and len(logs) > 1:
        raise LocalError(
            f"--follow takes one log, not {len(logs)}; {list_logs(logs)}", hint="name one of them"
        )
    for key, file in logs.items():
        if len(logs) > 1:
            click.echo(f"==> {key} <==")
        for line in read_lines(file, last=lines, follow=follow):
            click.echo(line)
