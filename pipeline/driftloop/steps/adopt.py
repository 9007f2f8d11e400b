"""`driftloop step adopt`: take the model that a person has given to a run in place of training."""

import shutil
from pathlib import Path

import click

from driftloop.clients import s3
from driftloop.clients.s3 import MissingObjectError
from driftloop.contract.integrity import describe_mismatch
from driftloop.contract.names import find_given_model
from driftloop.contract.times import format_now
from driftloop.contract.trees import METADATA_FILE, given_key, trials_key
from driftloop.errors import StepError
from driftloop.steps import options
from driftloop.steps.settings import StepSettings, write_parameters
from driftloop.text.dump import dump_yaml

EXAMPLES = """\b
Examples:
  driftloop step adopt --run digits-4f0c1d2e3a5b --cause "person eve (forced, model …): models:/digits/7" --out /tmp/out
"""
TRIAL = "0"


@click.command(epilog=EXAMPLES)
@options.run
@click.option("--cause", required=True, help="Cause of the run, with the digest of the model.")
@options.out
def command(*, run: str, cause: str, out: Path) -> None:
    """Fetch the model of a run that a person gave it; writes model/, metadata.yaml, `trial` and `home`.

    Its bytes must be those that the cause names by their digest.
    """
    settings = StepSettings.from_environment()
    expected = find_given_model(cause)
    if expected is None:
        raise StepError(
            f"the cause `{cause}` names no model", hint="`driftloop release NAME --model …` does"
        )
    source, folder = settings.bucket / given_key(run), out / "model"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        settings.store.get_folder(source, folder)
    except MissingObjectError as error:
        raise StepError(
            f"{source} does not exist: the model was not stored, or is removed",
            hint="`driftloop release NAME --model …` stores it before it starts the run",
        ) from error
    if (digest := s3.folder_digest(folder)) != expected:
        raise StepError(
            describe_mismatch(source, digest, expected),
            hint="somebody changed it after it was given: give it again",
        )
    metadata = {
        "function": cause.partition("): ")[2] or "a given model",
        "trial": TRIAL,
        "parameters": {},
        "metrics": {},
        "startedAt": format_now(),
    }
    (out / METADATA_FILE).write_text(dump_yaml(metadata))
    write_parameters(out / "parameters", trial=TRIAL, home=trials_key(run, TRIAL))
    options.print_progress(f"the given model {digest}")
