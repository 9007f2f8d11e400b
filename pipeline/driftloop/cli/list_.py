"""`driftloop list`."""

from collections.abc import Iterator, Sequence

import click

from driftloop.cli import options, target, watching
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.errors import GitError
from driftloop.operations.commits.clusters import SeveralClustersError
from driftloop.operations.commits.listing import ListedPipeline, list_committed, list_running
from driftloop.operations.ground.place import StateChoice
from driftloop.text.tables import format_table
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop list
  driftloop list --repository https://github.com/acme/cluster.git -o yaml
  driftloop list --cluster --context staging --watch"""


@click.command("list", epilog=EXAMPLES)
@options.repository_options
@cluster_options
@watching.watch
@options.output
def command(
    *,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    cluster: ClusterChoice,
    output: str,
) -> None:
    """List the pipelines of a cluster repository, with the phase of their releases, for each of its clusters; or
    with --cluster those that a cluster has, by what routes their requests.

    `driftloop status` shows what runs of them, `driftloop history NAME` the releases of one.
    """
    cluster.refuse_stray()
    if cluster.chosen:
        listed, unknown = list_running(cluster.kubeconfig, cluster.context, cluster.namespace)
    else:
        listed, unknown = _list_repository(repository, branch, state, on)
    if output != "text":
        options.print_document([each.to_json() for each in listed], output, indent=1)
    elif listed:
        click.echo("\n".join(_format_table(listed)))
    for line in unknown:
        options.print_progress(f"unknown: {line}")
    options.print_progress(f"{count_noun(len(listed), 'pipeline')} listed")


def _list_repository(
    repository: str | None, branch: str, state: StateChoice, on: str | None
) -> tuple[list[ListedPipeline], list[str]]:
    """Return the pipelines of one cluster of a repository, or of all, and what can't be read."""

    def list_cluster(name: str | None) -> list[ListedPipeline]:
        with target.open_repository(repository, branch, state, name) as opened:
            return list_committed(opened.repository)

    try:
        return list_cluster(on), []
    except SeveralClustersError as several:
        clusters = several.clusters
    listed: list[ListedPipeline] = []
    unknown: list[str] = []
    for name in clusters:
        try:
            listed += list_cluster(name)
        except GitError as error:
            unknown.append(f"cluster {name}: {error.message}")
    return sorted(listed, key=lambda each: (each.pipeline, each.clusters)), unknown


def _format_table(listed: Sequence[ListedPipeline]) -> Iterator[str]:
    rows = [("PIPELINE", "NAMESPACE", "CLUSTERS", "PHASE", "PRODUCTION", "CANDIDATE", "WEIGHTS")]
    for each in listed:
        if each.problem is not None:
            rows.append((each.pipeline, "-", "-", "unknown", "-", "-", each.problem))
            continue
        weights = ", ".join(f"{id} {percent}%" for id, percent in (each.weights or {}).items())
        rows.append(
            (
                each.pipeline,
                each.namespace or "-",
                ", ".join(each.clusters) or "-",
                each.phase or "-",
                each.production or "-",
                each.candidate or "-",
                weights or "-",
            )
        )
    return format_table(rows)
