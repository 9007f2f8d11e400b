"""`driftloop schema`: the JSON Schema of the spec, for editors."""

import json

import click

from driftloop.spec import schema


@click.command()
def command() -> None:
    """Print the JSON Schema of a spec, for editors: `driftloop schema > pipeline.schema.json`."""
    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
