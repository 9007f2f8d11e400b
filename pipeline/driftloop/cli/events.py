"""`driftloop events`."""

import sys

import click

from driftloop.cli import options
from driftloop.cli.clusters import ClusterChoice, cluster_options, url_option
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.lazy import SuggestingGroup
from driftloop.cli.reaching import open_decision
from driftloop.contract.documents import to_json
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.watching.deadletters import list_letters, replay_letters

EXAMPLES = """\b
Examples:
  driftloop events ls digits
  driftloop events replay digits
  driftloop events replay digits --cluster --context staging"""


@click.group("events", cls=SuggestingGroup, epilog=EXAMPLES)
def command() -> None:
    """List the events that nobody took, and send them again."""


@command.command("ls", epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@cluster_options
@url_option
@options.output
def list_command(
    *, name: str, state: StateChoice, cluster: ClusterChoice, url: str | None, output: str
) -> None:
    """List the dead letters of pipeline NAME, the oldest first: events that their subscriber did
    not take in all of its tries."""
    with open_decision(name, state, cluster, url) as decision:
        letters = list_letters(decision)
    if output != "text":
        options.print_document(to_json(letters), output)
        return
    for letter in letters.letters:
        click.echo(f"{letter.time}  {letter.type}  {letter.id}  {letter.destination}")
    more = letters.waiting - len(letters.letters)
    if more > 0:
        click.echo(f"and {more} more")
    if not letters.waiting:
        options.print_progress("no event waits")


@command.command("replay", epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@cluster_options
@url_option
@options.output
def replay_command(
    *, name: str, state: StateChoice, cluster: ClusterChoice, url: str | None, output: str
) -> None:
    """Send the dead letters of pipeline NAME again, each once, to the subscriber that did not take
    it. Those that are taken now are dead letters no more.

    Exit code 1 when one is not taken again.
    """
    with open_decision(name, state, cluster, url) as decision:
        result = replay_letters(decision, options.print_progress)
    if output != "text":
        options.print_document(to_json(result), output)
    else:
        click.echo(
            f"{result.sent} sent again, {len(result.failed)} not taken, {result.waiting} left"
        )
    if result.failed:
        sys.exit(1)
