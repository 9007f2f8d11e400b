"""`driftloop status`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from driftloop.cli import options, terminal, watching
from driftloop.cli.completing import complete_pipeline
from driftloop.contract.verdicts import describe_unjudged
from driftloop.local.ground.sentences import describe_step, drop_alarm_ids
from driftloop.operations.ground.place import StateChoice
from driftloop.operations.watching.narrowing import narrow_status
from driftloop.operations.watching.status import (
    PlatformStatus,
    ReleaseStatus,
    RunStatus,
    UnjudgedStatus,
    VerdictStatus,
    read_cluster_status,
    read_local_status,
)
from driftloop.text.tables import format_table
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop status
  driftloop status digits --watch
  driftloop status --output json
  driftloop status --cluster --context staging -n digits"""


@click.command(epilog=EXAMPLES)
@click.argument("name", required=False, shell_complete=complete_pipeline)
@options.state
@click.option("--cluster", is_flag=True, help="Show a cluster instead of a state folder.")
@options.kubeconfig
@options.context
@click.option(
    "-n", "--namespace", "namespaces", multiple=True, help="Show this namespace only; repeatable."
)
@watching.watch
@options.output
def command(
    *,
    name: str | None,
    state: StateChoice,
    cluster: bool,
    kubeconfig: Path | None,
    context: str | None,
    namespaces: tuple[str, ...],
    output: str,
) -> None:
    """Show what runs from a state folder, or with --cluster in a cluster; with NAME that pipeline's
    part alone. Exit code 1 when nothing runs.

    A cluster is only read, through its API server; what can't be read is listed as unknown.
    """
    if cluster:
        status = read_cluster_status(kubeconfig, context, namespaces)
    elif kubeconfig or context or namespaces:
        raise click.UsageError("--kubeconfig, --context and --namespace need --cluster")
    else:
        status = read_local_status(state.ensure_exists())
    if name is not None:
        status = narrow_status(status, name)
    if output != "text":
        options.print_document(status.document, output, indent=1)
    else:
        terminal.print_lines(_format_status(status))


def _format_status(status: PlatformStatus) -> Iterator[str]:
    yield from _format_platform(status)
    for name, release in status.releases.items():
        yield _format_release(name, release)
    for name, verdict in sorted(status.verdicts.items()):
        unknown = _is_unknown(verdict, status.unjudged.get(name))
        served = status.releases.get(name.split("/")[1])
        yield _format_verdict(name, verdict, served, unknown=unknown)
        if verdict.quality:
            yield f"quality  {name}: window {verdict.window} of {verdict.release}: {verdict.quality}"
    now = datetime.now(UTC)
    for name, window in sorted(status.windows.items()):
        yield f"window   {name}: {window.describe(now)}"
    for name, unjudged in sorted(status.unjudged.items()):
        served = status.releases.get(name.split("/")[1])
        # what a replaced version was still asked is no news
        if served is None or unjudged.release == served.production:
            yield _format_unjudged(name, unjudged)
    for name, phase in sorted(status.decisions.items()):
        waits = f"; {drop_alarm_ids(status.loops[name])}" if name in status.loops else ""
        yield f"decision {name}: {phase}{waits}"
    for name, tracking in sorted(status.tracking.items()):
        yield f"tracking {name}: {tracking.text}"
    for name, inbox in sorted(status.inboxes.items()):
        if inbox.text:
            yield f"labels   {name}: {inbox.text}"
    yield from (f"callers  {line}" for line in status.callers.list_lines())
    for name, run in sorted(status.runs.items()):
        yield f"run      {name}: {run.name} {_format_run(run)}"
        yield from (
            f"run      {name}: {describe_step(step.step)}: {step.describe(now)}"
            for step in run.progress
        )
    yield from (f"unknown  {line}" for line in status.unknown)
    yield ""
    yield from format_table(_list_processes(status))
    if status.supervisor is not None:
        total = status.supervisor.total_memory
        yield f"total {total:.0f} MB (proportional set size of everything it started)"


def _format_platform(status: PlatformStatus) -> Iterator[str]:
    yield f"state    {status.place}"
    yield f"gateway  {status.gateway or 'none'}"
    behind = (
        ""
        if status.applied == status.tip
        else f", {(status.tip or '')[:12]} is the tip of the branch"
    )
    yield f"commit   {(status.applied or 'none')[:12]} applied{behind}"
    yield from (f"refused  {line}" for line in status.refused.splitlines())
    for line in status.waiting:
        if line.partition(": ")[2] not in status.refused:
            yield f"waiting  {line}"
    if status.stuck:
        yield f"stalled  {status.stuck}"
    yield from (f"disk     {line}" for line in status.disk)
    yield from (f"blind    {line}" for line in status.blind)
    yield from (f"altered  {line}" for line in status.altered)
    yield from (f"untold   {line}" for line in status.untold)


def _format_release(name: str, release: ReleaseStatus) -> str:
    if release.error is not None:
        return "\n".join(f"release  {name}: {line}" for line in release.error.splitlines())
    if release.phase == "empty":
        # what a newcomer does next
        steps = f"`driftloop data put FILES --to {name}`, then `driftloop trigger {name} --wait`"
        return f"release  {name}: empty; production none; {steps} trains the first"
    parts = [f"production {release.production or 'none'}"]
    if release.candidate:
        parts.append(f"candidate {release.candidate}")
    if release.weights:
        weights = ", ".join(f"{id} {percent}%" for id, percent in release.weights.items())
        parts.append(f"weights {weights}")
    if release.measured:
        parts.append(f"measured {release.measured}")
    if release.waits:
        parts.append(f"{release.phase} waits: {release.waits.replace('; ', ', ')}")
    if release.unfitted:
        parts.append(f"{release.unfitted}; `driftloop trigger {name}` fits it anew")
    return f"release  {name}: {release.phase}; {'; '.join(parts)}"


def _format_run(run: RunStatus) -> str:
    if run.hold is not None:
        return f"{run.hold.describe()}; `driftloop approve` lets it go on"
    if run.outcome is not None:
        return f"{run.outcome.text}, {run.outcome.time}"
    if run.rollout is not None:
        return f"goes on in {run.rollout}"
    end = f", {run.finished_at}" if run.finished_at else ""
    reason = f" ({run.message})" if run.message and run.phase in ("Failed", "Error") else ""
    return f"{run.phase}{end}{reason}"


def _is_unknown(verdict: VerdictStatus, unread: UnjudgedStatus | None) -> bool:
    """Return True when since a verdict as many rows could not be read as its window has."""
    if unread is None or not unread.is_own or unread.release != verdict.release:
        return False
    return (unread.rows or 0) >= (verdict.size or 1)


def _format_verdict(
    name: str, verdict: VerdictStatus, release: ReleaseStatus | None, *, unknown: bool
) -> str:
    """Return a line; `unknown` when as many rows could not be read since as a window has."""
    if verdict.failure:
        return (
            f"verdict  {name}: NOT JUDGED, window {verdict.window} of {verdict.release}: {verdict.failure}"
            f"{f', {verdict.time}' if verdict.time else ''}{_format_replacement(verdict, release)}"
        )
    word = "ALARM" if verdict.alarm else "quiet"
    rows = (verdict.size or 0) + verdict.rejected
    return (
        f"verdict  {name}: {f'UNKNOWN, was {word}' if unknown else word}, window {verdict.window} of {verdict.release}, "
        f"score {_format_number(verdict.score)}, threshold {_format_number(verdict.threshold)}"
        f"{f', {verdict.rejected} of {rows} rows not judged' if verdict.rejected else ''}"
        f"{f', {verdict.repeated} repeated rows not counted' if verdict.repeated else ''}"
        f"{f': {verdict.changes}' if verdict.changes else ''}"
        f"{f'; a change lasts: {verdict.lasting}' if verdict.lasting else ''}"
        f"{f', {verdict.time}' if verdict.time else ''}{_format_replacement(verdict, release)}"
    )


def _format_unjudged(name: str, unjudged: UnjudgedStatus) -> str:
    count = count_noun(unjudged.windows, "window")
    if unjudged.is_own and unjudged.rows is not None:
        count = count_noun(unjudged.rows, "row")
    return (
        f"verdict  {name}: {describe_unjudged(unjudged.reference, unjudged.release, unjudged.reason)}, "
        f"{count}{f', {unjudged.time}' if unjudged.time else ''}"
    )


def _format_replacement(verdict: VerdictStatus, release: ReleaseStatus | None) -> str:
    """Return a note for the verdict of a replaced version: its last window is never filled."""
    production = release.production if release is not None else None
    if production is None or verdict.release == production:
        return ""
    return f" (replaced by {production}, whose next window is not full yet)"


def _list_processes(status: PlatformStatus) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("PROCESS", "PID", "PHASE", "UP", "RESTARTS", "MB")]
    if (up := status.supervisor) is not None:
        rows.append(
            ("up", str(up.pid), "ready", _format_duration(up.uptime), "0", f"{up.memory:.0f}")
        )
    for process in status.processes:
        rows.append(
            (
                process.name,
                str(process.pid or "-"),
                process.phase,
                _format_duration(process.uptime),
                str(process.restarts),
                "-" if process.memory is None else f"{process.memory:.0f}",
            )
        )
    return rows


def _format_number(value: float | None) -> str:
    """Return four digits: enough to compare a score with its threshold."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.1f}h"
