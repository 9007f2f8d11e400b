"""`driftloop report`."""

import contextlib
import os
from datetime import datetime
from pathlib import Path

import click

from driftloop.cli import options, target
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.moments import since_option
from driftloop.cli.runs import open_runs
from driftloop.contract.times import format_time
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.stories.reports import ReportChoice, read_report
from driftloop.operations.traces.kept_requests import find_nats
from driftloop.operations.traces.traces import TracePlace
from driftloop.pages.reports import draw_report

EXAMPLES = """\b
Examples:
  driftloop report digits
  driftloop report digits --since 7d -o week.html
  driftloop report digits --release r1a2b3c4d --cluster"""


@click.command(epilog=EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File that is written.  [default: NAME-report.html]",
)
@click.option(
    "--release", metavar="ID", help="Only this release: how it came to be and how it went."
)
@since_option("Only what happened")
@options.repository_options
@cluster_options
def command(
    *,
    name: str,
    file: Path | None,
    release: str | None,
    since: datetime | None,
    repository: str | None,
    branch: str,
    state: StateChoice,
    on: str | None,
    cluster: ClusterChoice,
) -> None:
    """Write a report of pipeline NAME as one page: what happened and why, drift by column with what the
    columns looked like, runs with parameters and metrics, rollouts with figures beside limits, commits.

    The page needs no server and no network. Without --since and --release it is of everything that is
    kept. What can't be read from here is said in it.
    """
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(target.open_repository(repository, branch, state, on))
        runs = stack.enter_context(open_runs(cluster, state, name))
        own = not cluster.chosen and opened.repository.url == state.folder.repository_url
        nats_url = find_nats(state.folder, os.environ) if own else None
        place = TracePlace(runs, opened.repository, opened.repository.tip(), nats_url)
        begin = format_time(since) if since is not None else None
        choice = ReportChoice(pipeline=name, release=release, since=begin)
        report = read_report(place, choice)
    path = file or Path(f"{name}-report.html")
    try:
        path.write_text(draw_report(report), encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path} can't be written: {error.strerror}") from error
    for note in report.notes:
        options.print_progress(f"note: {note}")
    click.echo(path)
