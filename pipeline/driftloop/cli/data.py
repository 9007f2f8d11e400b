"""`driftloop data`."""

import contextlib
from pathlib import Path

import click

from driftloop.cli import options
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.lazy import SuggestingGroup
from driftloop.cluster.reader import ApiReader
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.data import (
    DataFolder,
    list_files,
    open_cluster_folder,
    open_local_folder,
    put_files,
)
from driftloop.text.words import count_noun

GROUP_EXAMPLES = """\b
Examples:
  driftloop data put batches/*.npz --to digits
  driftloop data ls digits --cluster"""

PUT_EXAMPLES = """\b
Examples:
  driftloop data put batches/*.npz --to digits
  driftloop data put may.csv --to digits --cluster --context staging"""

LS_EXAMPLES = """\b
Examples:
  driftloop data ls digits
  driftloop data ls digits --cluster --output json"""


@click.group("data", cls=SuggestingGroup, epilog=GROUP_EXAMPLES)
def command() -> None:
    """Put labelled batches where a pipeline trains on them, and list them."""


@command.command("put", epilog=PUT_EXAMPLES)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--to",
    "name",
    required=True,
    shell_complete=complete_pipeline,
    help="Name of the pipeline.",
)
@click.option("--replace", is_flag=True, help="Overwrite files that are there already.")
@options.yes
@options.state
@cluster_options
@options.output
def put(
    *,
    files: tuple[Path, ...],
    name: str,
    replace: bool,
    yes: bool,
    state: StateChoice,
    cluster: ClusterChoice,
    output: str,
) -> None:
    """Put FILES of labelled rows (.npz, .csv, .jsonl, .parquet) into the data folder of a pipeline.

    A cluster's store is reached through the API server with your own rights.
    """
    if replace:
        options.confirm(f"Overwrite what the data folder of {name} has under these names?", yes=yes)
    with _open_folder(name, state, cluster) as folder:
        names = put_files(folder, files, replace=replace)
        if output != "text":
            options.print_document({"to": str(folder.location), "files": names}, output)
            return
        for file in names:
            click.echo(str(folder.location / file))


@command.command("ls", epilog=LS_EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@options.state
@cluster_options
@options.output
def ls(
    *,
    name: str,
    state: StateChoice,
    cluster: ClusterChoice,
    output: str,
) -> None:
    """List the files in the data folder of pipeline NAME, with their sizes in bytes."""
    with _open_folder(name, state, cluster) as folder:
        objects = {
            folder.location.relative_key(entry.key): entry.size for entry in list_files(folder)
        }
        if output != "text":
            files = [{"name": key, "bytes": size} for key, size in objects.items()]
            options.print_document({"in": str(folder.location), "files": files}, output)
            return
        for key, size in objects.items():
            click.echo(f"{size:>12}  {key}")
        options.print_progress(f"{count_noun(len(objects), 'file')} in {folder.location}")
        if folder.has_sources:
            options.print_progress(
                f"files of `data.sources` come besides: `driftloop trace RELEASE` lists what {name} was trained on"
            )


def _open_folder(
    name: str, state: StateChoice, cluster: ClusterChoice
) -> contextlib.AbstractContextManager[DataFolder]:
    cluster.refuse_stray()
    if not cluster.chosen:
        return open_local_folder(state.ensure_exists(), name)
    return open_cluster_folder(
        ApiReader(cluster.kubeconfig, cluster.context),
        name,
        namespace=cluster.namespace or name,
        kubeconfig=cluster.kubeconfig,
        context=cluster.context,
    )
