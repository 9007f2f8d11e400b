"""`driftloop logs`."""

import re

import click

from driftloop.cli import options
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.errors import LocalError
from driftloop.local.ground import timeline
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.platform.logs import TIMELINE, find_logs, list_logs, read_lines

EXAMPLES = """\b
Examples:
  driftloop logs --follow
  driftloop logs argo --lines 50
  driftloop logs digits-4f0c1d2e3a5b
  driftloop logs digits --cluster --context staging --lines 50"""


_RUN = re.compile(r"(.+)-[0-9a-f]{12}")


@click.command(epilog=EXAMPLES)
@click.argument("name", default=TIMELINE)
@options.state
@cluster_options
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they are written.")
@click.option(
    "--lines",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Number of last lines to print.",
)
def command(
    *, name: str, state: StateChoice, cluster: ClusterChoice, follow: bool, lines: int
) -> None:
    """Print the log of one part (NAME as `driftloop status` prints it, or a step of a run), or
    the timeline.

    The name of a run prints the logs of all its steps, one after another; the namespace of a
    pipeline those of its pods. With --cluster, NAME is a pipeline, a run or the beginning of a pod's name.
    """
    cluster.refuse_stray()
    if cluster.chosen:
        _print_pods(name, cluster, follow=follow, lines=lines)
        return
    folder = state.ensure_exists()
    if name == TIMELINE:
        for line in read_lines(folder.timeline, last=lines, follow=follow):
            click.echo(timeline.format_line(line))
        return
    logs = find_logs(folder, name)
    if follow and len(logs) > 1:
        raise LocalError(
            f"--follow takes one log, not {len(logs)}; {list_logs(logs)}", hint="name one of them"
        )
    for key, file in logs.items():
        if len(logs) > 1:
            click.echo(f"==> {key} <==")
        for line in read_lines(file, last=lines, follow=follow):
            click.echo(line)


def _print_pods(name: str, cluster: ClusterChoice, *, follow: bool, lines: int) -> None:
    from driftloop.cluster.logs import read_pod_logs
    from driftloop.cluster.reader import ApiReader

    if name == TIMELINE:
        raise click.UsageError("--cluster needs NAME: the timeline is that of one machine")
    if follow:
        raise click.UsageError("--follow is for one machine; `kubectl logs -f` follows a pod")
    run = _RUN.fullmatch(name)
    namespace = cluster.namespace or (run[1] if run else name)
    reader = ApiReader(cluster.kubeconfig, cluster.context)
    for log in read_pod_logs(reader, namespace, name, lines):
        click.echo(f"==> {log.key} <==")
        for line in log.lines:
            click.echo(line)
