"""`driftloop step fetch`: download a model, or a detector, into the folder that its server reads."""

import shutil
from pathlib import Path

import click

from driftloop.clients import s3
from driftloop.contract.integrity import describe_mismatch
from driftloop.errors import StepError
from driftloop.steps import options
from driftloop.steps.settings import StepSettings
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop step fetch --uri s3://driftloop/runs/digits-4f0c1d2e3a5b/release/model --out /models
"""


@click.command(epilog=EXAMPLES)
@click.option("--uri", required=True, help="Folder in the object store, s3://bucket/prefix.")
@click.option("--digest", default=None, help="Digest that the files must have.")
@options.out
def command(*, uri: str, digest: str | None, out: Path) -> None:
    """Download a folder from S3; afterwards the target has exactly its files."""
    store = StepSettings.from_environment().store
    out.mkdir(parents=True, exist_ok=True)
    for entry in out.iterdir():
        # the folder itself may be a mount
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    count = store.get_folder(s3.parse_location(uri), out)
    if digest is not None and (actual := s3.folder_digest(out)) != digest:
        raise StepError(
            describe_mismatch(uri, actual, digest),
            hint="somebody changed it after the release: restore the objects, or go back to a release that is whole "
            "with `driftloop rollback`",
        )
    checked = "not checked: no digest of it is known" if digest is None else digest
    options.print_progress(f"{count_noun(count, 'file')} from {uri}, {checked}")
