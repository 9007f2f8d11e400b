"""`driftloop step look`: look for batches that no run has read."""

from pathlib import Path

import click

from driftloop.clients import s3
from driftloop.contract.limits import DATA_LIMIT
from driftloop.retrain.batches import find_new_batches
from driftloop.steps import options
from driftloop.steps.collect import collect_sources
from driftloop.steps.settings import StepSettings, write_parameters

EXAMPLES = """\b
Examples:
  driftloop step look --pipeline digits --uri s3://digits/batches --out /tmp/out
"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@click.option("--uri", required=True, help="Folder of the batches, s3://bucket/prefix.")
@click.option("--sources", help="Sources of the data, as JSON: what is new there is copied first.")
@click.option(
    "--max-bytes",
    default=DATA_LIMIT,
    show_default=True,
    help="Largest total size of the sources' files.",
)
@options.out
def command(*, pipeline: str, uri: str, sources: str | None, max_bytes: int, out: Path) -> None:
    """Look for batches that no run has read; writes `new` (true or false)."""
    settings = StepSettings.from_environment()
    if sources is not None:
        collect_sources(pipeline, sources, max_bytes)
    batches = find_new_batches(
        settings.store,
        settings.bucket,
        pipeline,
        s3.parse_location(uri),
        collected=sources is not None,
    )
    write_parameters(out, new="true" if batches.new else "false")
    listed = f": {', '.join(batches.new[:5])}" if batches.new else ""
    options.print_progress(f"{len(batches.new)} of {batches.total} batches are new{listed}")
