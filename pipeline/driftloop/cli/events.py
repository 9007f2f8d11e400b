"""`driftloop events`."""

import json
import os
import sys

import click

from driftloop.cli import halt, options
from driftloop.cli.completing import complete_pipeline
from driftloop.contract.documents import to_json
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.watching.deadletters import list_letters, replay_letters
from driftloop.operations.watching.suspend import find_decision

EXAMPLES = """\b
Examples:
  driftloop events ls digits
  driftloop events replay digits
  kubectl -n digits port-forward service/digits-decision 8080 &
  DRIFTLOOP_WEBHOOK_TOKEN=... driftloop events replay digits --url http://localhost:8080"""


@click.group("events", epilog=EXAMPLES)
def command() -> None:
    """List the events that nobody took, and send them again."""


@command.command("ls", epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@halt.url_option
@options.output
def list_command(*, name: str, state: StateChoice, url: str | None, output: str) -> None:
    """List the dead letters of pipeline NAME, the oldest first: events that their subscriber did
    not take in all of its tries."""
    letters = list_letters(find_decision(name, state.folder, url, os.environ))
    if output == "json":
        click.echo(json.dumps(to_json(letters)))
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
@halt.url_option
@options.output
def replay_command(*, name: str, state: StateChoice, url: str | None, output: str) -> None:
    """Send the dead letters of pipeline NAME again, each once, to the subscriber that did not take
    it. Those that are taken now are dead letters no more.

    Exit code 1 when one is not taken again.
    """
    decision = find_decision(name, state.folder, url, os.environ)
    result = replay_letters(decision, options.print_progress)
    click.echo(
        json.dumps(to_json(result))
        if output == "json"
        else f"{result.sent} sent again, {len(result.failed)} not taken, {result.waiting} left"
    )
    if result.failed:
        sys.exit(1)
