"""`driftloop schema`."""

import click

from driftloop.cli import options
from driftloop.spec import schema

EXAMPLES = """\b
Examples:
  driftloop schema > pipeline.schema.json"""


@click.command(epilog=EXAMPLES)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["json", "yaml"]),
    default="json",
    show_default=True,
    help="Format of the output.",
)
def command(*, output: str) -> None:
    """Print the JSON Schema of the spec, for editors."""
    options.print_document(schema(), output, indent=2, escaped=False)
