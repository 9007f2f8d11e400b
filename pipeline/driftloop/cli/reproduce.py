"""`driftloop reproduce`."""

import os
import sys
import tempfile
from pathlib import Path

import click

from driftloop.cli import options, target
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.run_store import open_local_runs, require_run
from driftloop.operations.traces.reproduce import check_images, describe_reproduction, reproduce_run

EXAMPLES = """\b
Examples:
  driftloop reproduce digits-4f0c1d2e3a5b
  driftloop reproduce digits-4f0c1d2e3a5b --keep /tmp/again -o json"""


@click.command(epilog=EXAMPLES)
@click.argument("run")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for what the steps write, which stays.  [default: a temporary one]",
)
@options.repository_options
@options.output
def command(
    *,
    run: str,
    keep: Path | None,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    output: str,
) -> None:
    """Run a RUN again from what is stored of it, on this machine, and compare the model.

    Its batches are fetched and each compared with its digest; data steps, split, training with the
    parameters of the chosen trial and evaluation run in the images that the run had. Nothing is
    stored or released. Exit code 1 when the model has another digest: what differs is listed.
    """
    folder = state.ensure_exists()
    with (
        target.open_repository(repository, branch, state, on) as opened,
        open_local_runs(folder, os.environ) as place,
        tempfile.TemporaryDirectory(prefix="driftloop-again-") as temporary,
    ):
        found = require_run(place, run).report
        check_images(folder, found)
        work = (keep or Path(temporary)).resolve()
        if keep is not None and keep.exists() and any(keep.iterdir()):
            raise click.UsageError(f"{keep} is not empty: name a new folder with --keep")
        work.mkdir(parents=True, exist_ok=True)
        result = reproduce_run(
            place, opened.repository, folder, found, work=work, report=options.print_progress
        )
    if output != "text":
        options.print_document(result.to_json(), output, indent=1)
    else:
        click.echo("\n".join(describe_reproduction(result)))
    if not result.same:
        sys.exit(1)
