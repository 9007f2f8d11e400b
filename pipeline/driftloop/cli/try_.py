"""`driftloop try`."""

import os
import tempfile
from pathlib import Path

import click

from driftloop.cli import options
from driftloop.contract.trees import SPEC
from driftloop.errors import LocalError
from driftloop.local.ground.own_values import OwnValues
from driftloop.local.kubelet.values import start_own
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.ground.source_files import SourceReader, fetch_sources
from driftloop.operations.project.code import require_own_values
from driftloop.operations.project.project import validate_project
from driftloop.operations.rollouts.rollback import find_store
from driftloop.operations.servers.tryout import (
    STAGES,
    ProjectTry,
    TryStage,
    copy_batches,
    fetch_batches,
)
from driftloop.plan import Plan, make_plan
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop try
  driftloop try train --data ../batches
  driftloop try serve --spec models/digits/pipeline.yaml"""


@click.command(epilog=EXAMPLES)
@click.argument("stage", type=click.Choice(STAGES), default="serve")
@click.option(
    "--spec",
    default=Path(SPEC),
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    show_default=True,
    is_eager=True,
    help="Spec of the project.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of batches, or one batch.  [default: the last ones of the spec's data.uri, and its data.sources]",
)
@options.envs
@options.state
def command(
    *, stage: TryStage, spec: Path, data: Path | None, envs: Path | None, state: StateChoice
) -> None:
    """Call the functions of a project once, up to STAGE: data, train, evaluate or serve.

    They run on real data, in the environments of their images, with the first parameters of a
    search; the server is asked held-out rows. No git, tag or release is needed, and nothing is
    kept. An error names the line of your code.
    """
    project = validate_project(spec)
    options.print_notes(project.notes)
    pipeline, plan = project.document.pipeline, make_plan(project.document)
    values = OwnValues.load(state.folder)
    require_own_values(values, project.document)
    with tempfile.TemporaryDirectory(prefix="driftloop-try-") as folder:
        work = Path(folder)
        batches = work / "data" / "recent"
        fetch_data(plan, data, batches, state, values)
        ProjectTry(
            pipeline.spec,
            plan,
            spec.resolve().parent,
            work,
            envs or choose_envs(state),
            options.print_progress,
            values,
        ).run_stages(stage)


def fetch_data(
    plan: Plan, data: Path | None, folder: Path, state: StateChoice, values: OwnValues
) -> None:
    """Copy the batches of `data` into a folder, or fetch the last ones of the spec's and what its sources have;
    LocalError without a store or a source."""
    if data is not None:
        copy_batches(data, folder, options.print_progress)
        return
    if plan.sources:
        own = start_own("the sources", plan.source_keys, values, folder)
        reader = SourceReader(own.variables, options.print_progress)
        count = fetch_sources(plan.sources, reader, folder, plan.data_bytes)
        options.print_progress(f"data: {count_noun(count, 'file')} of `data.sources`")
    store = find_store(state.folder, state.folder.repository_url, os.environ)
    if store is None:
        if plan.sources:
            return
        raise LocalError(
            "no object store is known here, so no data",
            hint="name a folder with --data, run `driftloop up`, or set AWS_ENDPOINT_URL and keys",
        )
    fetch_batches(store, plan.data, folder, options.print_progress, may_be_empty=bool(plan.sources))


def choose_envs(state: StateChoice) -> Path:
    """Return the folder of environments: the state folder's, else a cache of the user's."""
    if state.folder.exists():
        return state.folder.envs
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "driftloop" / "envs"
