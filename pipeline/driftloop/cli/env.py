"""`driftloop env`."""

import shlex

import click

from driftloop.cli import options
from driftloop.operations.ground.environment import read_environment
from driftloop.operations.ground.place import StateChoice

EXAMPLES = """\b
Examples:
  eval "$(driftloop env)"            then any S3 client reaches the local store
  driftloop env --output json"""


@click.command(epilog=EXAMPLES)
@options.state
@click.option(
    "-o",
    "--output",
    type=click.Choice(["shell", "json", "yaml"]),
    default="shell",
    show_default=True,
    help="Format of the output.",
)
def command(*, state: StateChoice, output: str) -> None:
    """Print addresses and keys of the local platform as environment variables.

    AWS_ENDPOINT_URL, AWS_DEFAULT_REGION and the keys are read by every S3 client.
    DRIFTLOOP_GATEWAY is the address for predictions, DRIFTLOOP_CLUSTER_REPOSITORY the cluster
    repository, for `git clone`; no command of driftloop reads these two.
    The keys are valid for this state folder only.
    """
    variables = read_environment(state.ensure_exists())
    if output != "shell":
        options.print_document(variables, output, indent=1)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")
