"""`driftloop halt`: a person stops the loop from starting runs."""

import json
from pathlib import Path
from typing import Any

import click

from driftloop.cli import target
from driftloop.contract.names import SERVICE_PORT
from driftloop.errors import LocalError
from driftloop.local.ground.state import State
from driftloop.operations import door

url_option = click.option(
    "--url", help="Decision service of a cluster (port-forward P-decision); the token is DRIFTLOOP_WEBHOOK_TOKEN."
)


@click.command()
@click.argument("name")
@target.state
@url_option
@click.option("--reason", default="", help="Why, in a few words; a run that is refused says it.")
@target.output
def command(*, name: str, state: Path, url: str | None, reason: str, output: str) -> None:
    """Let no alarm, schedule or person start a run of pipeline NAME until `driftloop resume`.

    A run that is on may end, its rollout too.
    """
    print_state(name, ask(state, name, url, "halt", " ".join(reason.split())[:200]), output)


def print_state(name: str, said: dict[str, Any], output: str) -> None:
    """The phase of the decision, as data."""
    if said["halt"] is not None and said["phase"] != "halted":
        target.say(f"{name} halts when the run that is on is over")
    click.echo(json.dumps({"pipeline": name, **said}) if output == "json" else said["phase"])


def ask(folder: Path, name: str, url: str | None, what: str, body: str) -> dict[str, Any]:
    """What the decision service says its state is then; LocalError says why it was not asked or refused."""
    if url:
        base, token = url.rstrip("/"), door.token()
    else:
        found = door.local(State.at(folder), name, suffix="-decision", port=SERVICE_PORT)
        base, token = f"http://{found.address}", found.token
    hint = "see `driftloop logs`, and whether NATS runs"
    answer = door.post(f"{base}/{what}", body, token=token, who="the decision service", hint=hint, shown=base)
    try:
        said: dict[str, Any] = json.loads(answer)
    except ValueError as error:
        raise LocalError(f"{base} can't be reached: {error}", hint="is `driftloop up` running?") from error
    return said
