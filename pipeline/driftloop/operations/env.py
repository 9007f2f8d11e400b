"""`driftloop env`: addresses and keys of what runs here, for other programs."""

import json
import shlex
from pathlib import Path

import click

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
        "AWS_ENDPOINT_URL": config["s3-endpoint"],
        "AWS_DEFAULT_REGION": config["s3-region"],
        "AWS_ACCESS_KEY_ID": secret["accesskey"],
        "AWS_SECRET_ACCESS_KEY": secret["secretkey"],
        "DRIFTLOOP_GATEWAY": f"http://127.0.0.1:{state.known_ports()['gateway']}",
        "DRIFTLOOP_GIT_URL": config["git-url"],
    }
