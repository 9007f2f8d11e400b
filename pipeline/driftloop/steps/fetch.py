"""`driftloop step fetch`: a model from S3 into the folder its server reads."""

import shutil
from pathlib import Path

import click

from driftloop.clients import s3
from driftloop.errors import StepError
from driftloop.steps import options
from driftloop.steps.settings import Settings


@click.command()
@click.option("--uri", required=True, help="Folder in the object store, s3://bucket/prefix.")
@click.option("--digest", default=None, help="Refuse files that don't have this digest.")
@options.out
def command(*, uri: str, digest: str | None, out: Path) -> None:
    """Download a folder from S3; the target holds exactly its files afterwards."""
    store = Settings.here().store
    out.mkdir(parents=True, exist_ok=True)
    for left in out.iterdir():
        # the folder itself may be a mount and stays
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    count = store.get_folder(s3.location(uri), out)
    if digest is not None and (found := s3.folder_digest(out)) != digest:
        raise StepError(f"{uri} has digest {found}, expected {digest}", hint="somebody changed it after the release")
    options.say(f"{count} files from {uri}")
