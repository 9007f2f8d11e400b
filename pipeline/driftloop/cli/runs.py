"""`driftloop runs`."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import click

from driftloop.cli import options, watching
from driftloop.cli.clusters import ClusterChoice, cluster_options
from driftloop.cli.completing import complete_pipeline
from driftloop.cli.lazy import SuggestingGroup
from driftloop.cli.moments import since_option
from driftloop.cli.show_run import format_run
from driftloop.contract.documents import to_json
from driftloop.contract.outcomes import OUTCOME_KINDS, OutcomeKind
from driftloop.contract.runs import TRIGGERS, RunReport, Trigger
from driftloop.contract.times import format_time
from driftloop.contract.trees import PAGE_FILE, run_key
from driftloop.local.ground.sentences import drop_alarm_ids
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.runs.run_diffs import compare_runs, describe_difference
from driftloop.operations.runs.run_store import (
    ListedRun,
    RunFilter,
    RunPlace,
    list_runs,
    open_cluster_runs,
    open_local_runs,
    require_run,
)
from driftloop.operations.runs.tracking import describe_run_tracking
from driftloop.text.tables import format_table, shorten_cell
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop runs digits
  driftloop runs digits --outcome rejected --since 7d
  driftloop runs show digits-4f0c1d2e3a5b
  driftloop runs diff digits-4f0c1d2e3a5b digits-9a8b7c6d5e4f"""

LIST_EXAMPLES = """\b
Examples:
  driftloop runs digits
  driftloop runs digits --trigger alarm --since 7d -o json
  driftloop runs digits --cluster --context staging --watch"""

SHOW_EXAMPLES = """\b
Examples:
  driftloop runs show digits-4f0c1d2e3a5b
  driftloop runs show digits-4f0c1d2e3a5b -o json"""

DIFF_EXAMPLES = """\b
Examples:
  driftloop runs diff digits-4f0c1d2e3a5b digits-9a8b7c6d5e4f"""

LIST = "ls"


class _RunsGroup(SuggestingGroup):
    """A group whose first argument may be a pipeline: then the runs of it are listed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = [LIST, *args]
        return super().parse_args(ctx, args)


@click.group(
    "runs", cls=_RunsGroup, epilog=EXAMPLES, subcommand_metavar="[NAME | COMMAND] [ARGS]..."
)
def command() -> None:
    """List the training runs of a pipeline, show one, compare two.

    `driftloop runs NAME` is short for `driftloop runs ls NAME`.
    """


def open_runs(
    cluster: ClusterChoice, state: StateChoice, pipeline: str | None
) -> AbstractContextManager[RunPlace]:
    """Open the runs of the state folder or of the cluster; `pipeline` names its namespace."""
    cluster.refuse_stray()
    if not cluster.chosen:
        return open_local_runs(state.ensure_exists(), os.environ)
    namespace = cluster.namespace or pipeline
    if namespace is None:
        raise click.UsageError("--cluster needs the NAME of a pipeline, or --namespace")
    return open_cluster_runs(cluster.kubeconfig, cluster.context, namespace)


@command.command(LIST, epilog=LIST_EXAMPLES)
@click.argument("name", shell_complete=complete_pipeline, required=False)
@click.option(
    "--outcome", "outcomes", multiple=True, type=click.Choice(OUTCOME_KINDS),
    help="Only runs that ended so; repeatable.",
)  # fmt: skip
@click.option(
    "--trigger", "triggers", multiple=True, type=click.Choice(TRIGGERS),
    help="Only runs that this started; repeatable.",
)  # fmt: skip
@since_option("Only runs")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Most runs listed."
)
@click.option("--all", "idle", is_flag=True, help="Also runs that never began.")
@options.state
@cluster_options
@watching.watch
@options.output
def list_command(
    *,
    name: str | None,
    outcomes: tuple[OutcomeKind, ...],
    triggers: tuple[Trigger, ...],
    since: datetime | None,
    limit: int,
    idle: bool,
    state: StateChoice,
    cluster: ClusterChoice,
    output: str,
) -> None:
    """List the runs of pipeline NAME, or of all, the newest first."""
    begin = format_time(since) if since is not None else None
    wanted = RunFilter(name, outcomes, triggers, begin, idle)
    with open_runs(cluster, state, name) as place:
        listed = list_runs(place, wanted, limit)
    if output != "text":
        options.print_document([_summarize(run) for run in listed], output, indent=1)
        return
    if listed:
        click.echo("\n".join(_format_table(listed)))
    options.print_progress(f"{count_noun(len(listed), 'run')} listed")


@command.command("show", epilog=SHOW_EXAMPLES)
@click.argument("run")
@options.state
@cluster_options
@options.output
def show(
    *,
    run: str,
    state: StateChoice,
    cluster: ClusterChoice,
    output: str,
) -> None:
    """Show everything about a RUN: trigger, steps, data, trials, metrics, gates, digests, outcome.

    With --cluster, --namespace is the pipeline's where it is not the start of the run's name.
    """
    with open_runs(cluster, state, run.rpartition("-")[0] or run) as place:
        found = require_run(place, run)
        tracking = describe_run_tracking(place, found.report.pipeline, run)
        page = place.bucket / run_key(run, PAGE_FILE)
        has_page = place.store.has_object(page)
    if output != "text":
        told = {"tracking": tracking} if tracking else {}
        if has_page:
            told["report"] = str(page)
        document = {"phase": found.phase, **to_json(found.report), **told}
        options.print_document(document, output, indent=1)
        return
    click.echo("\n".join(format_run(found)))
    if tracking:
        click.echo(f"tracking     {tracking}")
    if has_page:
        click.echo(f"report       {page}")


@command.command("diff", epilog=DIFF_EXAMPLES)
@click.argument("first")
@click.argument("second")
@options.state
@cluster_options
@options.output
def diff(
    *,
    first: str,
    second: str,
    state: StateChoice,
    cluster: ClusterChoice,
    output: str,
) -> None:
    """Say what differs between two runs: parameters, data, code, environment, metrics."""
    with open_runs(cluster, state, first.rpartition("-")[0] or first) as place:
        before, after = require_run(place, first), require_run(place, second)
        difference = compare_runs(place, before.report, after.report)
    if output != "text":
        options.print_document(difference.to_json(), output, indent=1)
        return
    click.echo("\n".join(describe_difference(difference)))


def _summarize(run: ListedRun) -> dict[str, Any]:
    report = run.report
    return {
        "pipeline": report.pipeline,
        "run": report.run,
        "phase": run.phase,
        "trigger": report.trigger,
        "cause": report.cause,
        "startedAt": report.started,
        "finishedAt": report.finished,
        "release": report.release,
        "dataDigest": report.digests.data,
        "modelDigest": report.digests.model,
        "metrics": report.metrics.candidate.get("all") if report.metrics is not None else None,
        "reason": report.outcome.reason if report.outcome is not None else None,
    }


def _format_table(listed: Sequence[ListedRun]) -> Iterator[str]:
    rows = [("RUN", "STARTED", "TOOK", "TRIGGER", "OUTCOME", "RELEASE", "METRIC", "CAUSE")]
    for run in listed:
        report = run.report
        rows.append(
            (
                report.run,
                report.started or "-",
                _format_span(report),
                report.trigger,
                run.phase,
                report.release or "-",
                _format_metric(report),
                shorten_cell(drop_alarm_ids(report.cause)),
            )
        )
    return format_table(rows)


def _format_metric(report: RunReport) -> str:
    """Return the metric that decided: that of the search, else of the first gate, else the first."""
    values = (report.metrics.candidate.get("all") or {}) if report.metrics is not None else {}
    gates = report.gates.gates if report.gates is not None else ()
    names = (report.metric, *(gate.metric for gate in gates), *values)
    name = next((name for name in names if name in values), None)
    return "-" if name is None else f"{name} {values[name]:.4g}"


def _format_span(report: RunReport) -> str:
    if report.started is None or report.finished is None:
        return "-"
    span = datetime.fromisoformat(report.finished) - datetime.fromisoformat(report.started)
    seconds = max(0, round(span.total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    return f"{seconds // 60}m" if seconds < 7200 else f"{seconds / 3600:.1f}h"
