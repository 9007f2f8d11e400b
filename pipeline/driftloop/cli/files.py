"""`driftloop files`."""

import os
from pathlib import Path

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.lazy import SuggestingGroup
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.rollouts.carrying import read_proven
from driftloop.operations.rollouts.release_files import load_files, read_saved, save_files
from driftloop.operations.rollouts.rollback import ClusterStore, open_saved_store, open_store
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop files save digits ../digits --cluster --context staging --on staging \\
    --repository https://github.com/acme/cluster.git
  driftloop files load ../digits --cluster --context production"""
SAVE_EXAMPLES = """\b
Examples:
  driftloop files save digits ../digits
  driftloop files save digits ../digits --cluster --context staging --on staging \\
    --repository https://github.com/acme/cluster.git"""
LOAD_EXAMPLES = """\b
Examples:
  driftloop files load ../digits --cluster --context production
  driftloop files load ../digits --cluster -n ml"""

_folder = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group("files", cls=SuggestingGroup, epilog=EXAMPLES)
def command() -> None:
    """Carry the files of a release from one object store to another, before `driftloop promote
    --to CLUSTER --copied`.

    An object store is that of a cluster (--cluster), reached through the API server with your own
    rights, that of the state folder, or the one of AWS_ENDPOINT_URL and its keys.
    """


@command.command("save", epilog=SAVE_EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@_folder
@cluster_options
@options.repository_options
@options.output
def save(
    *,
    name: str,
    folder: Path,
    cluster: ClusterChoice,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    output: str,
) -> None:
    """Save the files of what pipeline NAME has in production in FOLDER: the model, its detectors
    with their reference data, and what its run recorded.

    Files that are gone, or have other digests than the release, are refused.
    """
    cluster.refuse_stray()
    looked = _choose_cluster(cluster)
    with target.open_repository(repository, branch, state, on) as opened:
        proven = read_proven(opened, name)
        with open_store(
            opened, name, state=state.folder, cluster=looked, environment=os.environ
        ) as store:
            if store is None:
                raise click.UsageError(
                    "--cluster, or AWS_ENDPOINT_URL and its keys, names the store"
                )
            saved = save_files(store, proven.committed, proven.version, folder)
    if output != "text":
        document = {"release": saved.release, "folder": str(folder), "files": saved.files}
        options.print_document(document, output)
        return
    click.echo(f"{saved.release}  {folder}")
    options.print_progress(
        f"saved {count_noun(len(saved.files), 'file')}; `driftloop files load {folder} --cluster` puts them into "
        "the object store of another cluster"
    )


@command.command("load", epilog=LOAD_EXAMPLES)
@_folder
@options.state
@cluster_options
@options.output
def load(*, folder: Path, state: StateChoice, cluster: ClusterChoice, output: str) -> None:
    """Load the files of a release, saved in FOLDER, into an object store, under the address that
    they had.

    The pipeline's namespace must have its settings there (`driftloop secrets init`), and need not
    have the pipeline yet. Nothing is overwritten: files that are there must have the same bytes.
    """
    cluster.refuse_stray()
    saved = read_saved(folder)
    with open_saved_store(
        saved.namespace,
        state=state.folder,
        cluster=_choose_cluster(cluster),
        environment=os.environ,
    ) as store:
        if store is None:
            raise click.UsageError("--cluster, or AWS_ENDPOINT_URL and its keys, names the store")
        loaded = load_files(store, saved, folder)
    if output != "text":
        options.print_document(
            {"release": saved.release, "sent": loaded.sent, "present": loaded.present}, output
        )
        return
    click.echo(
        f"{saved.release}  {count_noun(loaded.sent, 'file')} sent, {loaded.present} there already"
    )
    options.print_progress(f"next: `driftloop promote {saved.pipeline} --to CLUSTER --copied`")


def _choose_cluster(cluster: ClusterChoice) -> ClusterStore | None:
    if not cluster.chosen:
        return None
    return ClusterStore(cluster.kubeconfig, cluster.context, cluster.namespace)
