"""`driftloop step look`: look for batches that no run has read."""

from pathlib import Path

import click

from driftloop.clients import s3
from driftloop.clients.s3 import MissingObjectError
from driftloop.steps import options, seen
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
    store, source = settings.store, s3.parse_location(uri)
    try:
        batches = {
            (source.relative_key(entry.key), entry.etag) for entry in store.list_folder(source)
        }
    except MissingObjectError:
        batches = set()
    new = sorted(key for key, _ in batches - seen.read_batches(store, settings.bucket, pipeline))
    write_parameters(out, new="true" if new else "false")
    options.print_progress(
        f"{len(new)} of {len(batches)} batches are new" + (f": {', '.join(new[:5])}" if new else "")
    )
