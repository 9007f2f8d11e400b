"""`driftloop step fetch`: download a model, or a detector, into the folder that its server reads."""

import shutil
from pathlib import Path

import click

from driftloop.clients import s3
from driftloop.contract.documents import DocumentError
from driftloop.contract.integrity import describe_mismatch
from driftloop.contract.trees import is_detector_key
from driftloop.errors import StepError
from driftloop.operations.runs.references import fetch_references
from driftloop.release.signing import verify_part
from driftloop.release.statement import SignedPart
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
@click.option("--statement", default=None, help="What the platform's key has signed (JSON).")
@click.option("--signature", default=None, help="Signature of the statement.")
@click.option(
    "--part",
    default=None,
    help="What the folder is: NAMESPACE/PIPELINE/RELEASE/PART; `model`, or a monitor.",
)
@options.out
def command(
    *,
    uri: str,
    digest: str | None,
    statement: str | None,
    signature: str | None,
    part: str | None,
    out: Path,
) -> None:
    """Download a folder from S3; afterwards the target has exactly its files.

    With a signature it is refused unless a key of the platform has signed its digest.
    """
    settings = StepSettings.from_environment()
    if statement is not None or signature is not None or part is not None:
        digest = _check_signature(settings, statement, signature, part, digest)
    store = settings.store
    out.mkdir(parents=True, exist_ok=True)
    for entry in out.iterdir():
        # the folder itself may be a mount
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    place = s3.parse_location(uri)
    count = store.get_folder(place, out)
    if is_detector_key(place.key):
        # a model may have files of any name
        fetch_references(store, place.bucket, out)
    if digest is not None and (actual := s3.folder_digest(out)) != digest:
        raise StepError(
            describe_mismatch(uri, actual, digest),
            hint="somebody changed it after the release: restore the objects, or go back to a release that is whole "
            "with `driftloop rollback`",
        )
    checked = "not checked: no digest of it is known" if digest is None else digest
    options.print_progress(f"{count_noun(count, 'file')} from {uri}, {checked}")


def _check_signature(
    settings: StepSettings,
    statement: str | None,
    signature: str | None,
    part: str | None,
    digest: str | None,
) -> str:
    """Return the digest that is signed; StepError or DistrustError."""
    if statement is None or signature is None or part is None:
        raise StepError(
            "a signature is checked with all of --statement, --signature and --part",
            hint="`driftloop commit` the spec again",
        )
    try:
        place = SignedPart.parse(part)
    except DocumentError as error:
        raise StepError(f"--part: {error.message}") from error
    signed = verify_part(statement, signature, place, settings.signing_keys)
    if digest is not None and digest != signed:
        raise StepError(
            describe_mismatch(part, digest, signed),
            hint="--digest is not the one that is signed: `git revert` the commit that changed it",
        )
    return signed
