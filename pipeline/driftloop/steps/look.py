"""`driftloop step look`: whether the data's folder holds batches that no run has seen."""

from pathlib import Path

import click

from driftloop.clients import s3
from driftloop.clients.s3 import MissingObjectError
from driftloop.steps import options, seen
from driftloop.steps.settings import Settings, write_parameters


@click.command()
@options.pipeline
@click.option("--uri", required=True, help="Folder of the batches, s3://bucket/prefix.")
@options.out
def command(*, pipeline: str, uri: str, out: Path) -> None:
    """Look for batches that no run has seen; writes `new` (true or false)."""
    settings = Settings.here()
    store, source = settings.store, s3.location(uri)
    try:
        there = {(source.below(entry.key), entry.etag) for entry in store.folder(source)}
    except MissingObjectError:
        there = set()
    new = sorted(key for key, _ in there - seen.recall(store, settings.bucket, pipeline))
    write_parameters(out, new="true" if new else "false")
    options.say(f"{len(new)} of {len(there)} batches are new" + (f": {', '.join(new[:5])}" if new else ""))
