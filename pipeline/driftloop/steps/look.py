"""`driftloop step look`: look for batches that no run has read."""

from pathlib import Path

import click

from driftloop.clients import s3
from driftloop.retrain.batches import find_new_batches
from driftloop.steps import options
from driftloop.steps.settings import StepSettings, write_parameters

EXAMPLES = """\b
Examples:
  driftloop step look --pipeline digits --uri s3://digits/batches --out /tmp/out
"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@click.option("--uri", required=True, help="Folder of the batches, s3://bucket/prefix.")
@options.out
def command(*, pipeline: str, uri: str, out: Path) -> None:
    """Look for batches that no run has read; writes `new` (true or false)."""
    settings = StepSettings.from_environment()
    batches = find_new_batches(settings.store, settings.bucket, pipeline, s3.parse_location(uri))
    write_parameters(out, new="true" if batches.new else "false")
    listed = f": {', '.join(batches.new[:5])}" if batches.new else ""
    options.print_progress(f"{len(batches.new)} of {batches.total} batches are new{listed}")
