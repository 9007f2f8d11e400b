"""`driftloop env`: addresses and keys of what runs here, for other programs."""

import json
import shlex
from pathlib import Path

import click

from driftloop.contract import platform as contract
from driftloop.errors import LocalError
from driftloop.local.ground.state import State

EXAMPLES = """\b
Examples:
  eval "$(driftloop env)"            then any S3 client reaches the local store
  driftloop env --output json"""


@click.command(epilog=EXAMPLES)
@click.option("--state", "folder", type=click.Path(path_type=Path), default=Path(".driftloop"), show_default=True)
@click.option("--output", type=click.Choice(["shell", "json"]), default="shell", show_default=True)
def command(folder: Path, output: str) -> None:
    """Print the settings with which programs of yours reach the local platform.

    AWS_ENDPOINT_URL, AWS_DEFAULT_REGION and the keys are what every S3 client reads; DRIFTLOOP_GATEWAY is where models
    answer, DRIFTLOOP_GIT_URL the cluster repository. The keys are this state folder's own and open nothing else.
    """
    found = settings(State.at(folder))
    if output == "json":
        click.echo(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def settings(state: State) -> dict[str, str]:
    """Environment variables by name; LocalError when nothing was ever started in the folder."""
    if not state.exists():
        raise LocalError(f"{state.root} is no state folder", hint="name the one `up` used with --state")
    try:
        platform = json.loads(state.platform.read_text())
    except FileNotFoundError as error:
        raise LocalError(f"nothing was started in {state.root}", hint="start it with `driftloop up`") from error
    config, secret = platform["configMap"], platform["secret"]
    return {
        contract.S3_ENDPOINT.environment: config[contract.S3_ENDPOINT.key],
        contract.S3_REGION.environment: config[contract.S3_REGION.key],
        contract.ACCESS_KEY.environment: secret[contract.ACCESS_KEY.key],
        contract.SECRET_KEY.environment: secret[contract.SECRET_KEY.key],
        "DRIFTLOOP_GATEWAY": f"http://127.0.0.1:{state.known_ports()['gateway']}",
        contract.GIT_URL.environment: config[contract.GIT_URL.key],
    }
