"""`driftloop schema`."""

import json

import click

from driftloop.spec import schema

EXAMPLES = """\b
Examples:
  driftloop schema > pipeline.schema.json"""


@click.command(epilog=EXAMPLES)
def command() -> None:
    """Print the JSON Schema of the spec, for editors."""
    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
