"""`driftloop step finish`: report the outcome of a run to the decision and as an event.

Git tells more than the phase of the Workflow: a run whose version is the candidate goes on in
its rollout; a run that succeeded without a commit was refused by the gate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from driftloop.clients import events, sdk
from driftloop.clients.events import EventRefusedError
from driftloop.clients.kubernetes import KubernetesUnreachableError
from driftloop.clients.s3 import MissingObjectError
from driftloop.contract.approvals import list_holds
from driftloop.contract.documents import DocumentError
from driftloop.contract.names import CANCELLED_BY_ANNOTATION, Names, release_id
from driftloop.contract.outcomes import (
    OBSTACLES,
    RunOutcome,
    clean_reason,
    read_outputs,
    write_outcome,
)
from driftloop.contract.records import GateVerdict, Rehearsal
from driftloop.contract.runs import RunAlarm, RunReport
from driftloop.contract.trees import rehearsal_key, verdict_key
from driftloop.errors import PipelineError
from driftloop.git.repository import LoggedCommit, Repository
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.operations.runs.prune import remove_work
from driftloop.operations.runs.run_reports import (
    KnownRun,
    RunFolder,
    compose_report,
    find_report,
    write_report,
)
from driftloop.operations.runs.run_store import RunPlace
from driftloop.operations.runs.run_workflows import is_idle_look
from driftloop.operations.stories.cards import store_cards
from driftloop.operations.stories.reports import store_report
from driftloop.operations.traces.traces import TracePlace
from driftloop.release import record
from driftloop.release.record import Release, Version
from driftloop.release.refits import was_refitted
from driftloop.retrain import store as decisions
from driftloop.retrain.state import EndEvent, MoveEvent, RetrainState
from driftloop.steps import options
from driftloop.steps.outcomes import end_refit, read_outcome, store_outcome
from driftloop.steps.settings import StepSettings, write_parameters
from driftloop.tracking.outbox import TrackingBox

EXAMPLES = """\b
Examples:
  driftloop step finish --pipeline digits --namespace digits --run digits-4f0c1d2e3a5b --status Succeeded
"""


@dataclass(frozen=True)
class RolloutProgress:
    """A run that goes on in the Workflow of its rollout."""

    workflow: str


@click.command(epilog=EXAMPLES)
@options.pipeline
@options.namespace
@options.run
@click.option("--status", required=True, help="Phase of the Workflow: {{workflow.status}}.")
@click.option("--release", default=None, help="Release id, for the end of a rollout.")
@click.option("--decision", default="", help="Id of the decision that started the run.")
@click.option("--tracking", is_flag=True, help="A tracking server is told of the run.")
@options.out
def command(
    *,
    pipeline: str,
    namespace: str,
    run: str,
    status: str,
    release: str | None,
    decision: str,
    tracking: bool,
    out: Path,
) -> None:
    """Report the outcome of a run: store it, end its decision, emit `dev.driftloop.run.finished`;
    writes `outcome`, and `rollout` when the run goes on there."""
    settings = StepSettings.from_environment()
    decision = decision or run.removeprefix(f"{pipeline}-")
    names = Names(pipeline, namespace)
    name = f"{names.release}-{release}" if release is not None else run
    workflow = _read_workflow(settings, names, name)
    progress = read_progress(settings, names, run, status, workflow, rollout=release is not None)
    known = KnownRun(pipeline=pipeline, namespace=namespace, decision=decision)
    if isinstance(progress, RolloutProgress):
        state = decisions.apply_once(
            settings.nats_url, namespace, pipeline, MoveEvent(run, "rolling-out", progress.workflow)
        )
        alarm = _read_alarm(state, run)
        rollout = replace(known, alarm=alarm, release=release_id(run), rollout=progress.workflow)
        in_rollout = release is not None
        _store_report(settings, run, rollout, workflow, in_rollout=in_rollout, tracking=tracking)
        write_parameters(out, outcome="", rollout=progress.workflow)
        options.print_progress(f"{run} goes on in {progress.workflow}")
        _remove_work(settings, run)
        return
    alarm = _read_alarm(decisions.read_once(settings.nats_url, namespace, pipeline), run)
    state = decisions.apply_once(
        settings.nats_url,
        namespace,
        pipeline,
        EndEvent(run, progress.kind, progress.reason, progress.obstacle),
    )
    if run not in state.ended and progress.kind != "not-started":
        why = f": {progress.reason}" if progress.kind == "failed" else ""
        progress = RunOutcome.now("not-started", f"the run was not claimed{why}", obstacle="busy")
    outcome = store_outcome(settings.store, settings.bucket, run, progress)
    write_parameters(out, outcome=write_outcome(outcome), rollout="")
    options.print_progress(f"{run}: {outcome.text}")
    ended = replace(known, alarm=alarm, outcome=outcome)
    in_rollout = release is not None
    _store_report(settings, run, ended, workflow, in_rollout=in_rollout, tracking=tracking)
    if run in state.ended[-2:] and state.outcome not in (None, outcome.kind):
        options.print_progress(f"the outcome was {state.outcome} before; its event was sent")
        _remove_work(settings, run)
        return
    event = events.run_finished(
        namespace,
        pipeline,
        run=run,
        decision=decision,
        outcome=outcome,
        release=release_id(run),
    )
    try:
        sdk.send_event(names.broker_url, event)
    except EventRefusedError as error:
        options.print_progress(f"the event was not taken: {error.message}")
    _remove_work(settings, run)


def _remove_work(settings: StepSettings, run: str) -> None:
    """Remove what the steps handed on; `driftloop prune` does it later where this fails."""
    try:
        removed = remove_work(settings.store, settings.bucket, run)
    except PipelineError as error:
        options.print_progress(f"files between steps are left: {error.message}")
        return
    options.print_progress(f"{removed} bytes of files between steps are removed")


def _store_pages(settings: StepSettings, known: KnownRun, report: RunReport) -> None:
    """Store beside run.json the card of the run's release, where the spec has one, and the report of the
    run, once it has ended; without them the run has ended, too."""
    repository = settings.open_repository()
    runs = RunPlace(settings.store, settings.bucket, known.namespace, lambda *_: None, lambda _: {})
    place = TracePlace(runs, repository, repository.tip())
    try:
        if report.release is not None:
            store_cards(place, known.pipeline, report.release)
        if report.outcome is not None:
            store_report(replace(place, nats_url=settings.verdicts_url), report)
    except PipelineError as error:
        options.print_progress(f"card and report of {report.run} are not stored: {error.message}")


def _note_tracking(settings: StepSettings, pipeline: str, run: str) -> None:
    """Leave word that a tracking server must be told of the run; the decision service tells it."""
    try:
        TrackingBox(settings.store, settings.bucket, pipeline).add(run)
    except PipelineError as error:
        options.print_progress(
            f"the tracking server is not told of {run}: {error.message}; "
            f"`driftloop tracking sync {pipeline} --all` does it"
        )


def _read_alarm(state: RetrainState, run: str) -> RunAlarm | None:
    """Return the alarms behind the run that holds the lease; None for any other run."""
    if state.run != run or state.alarm is None:
        return None
    alarm = state.alarm
    return RunAlarm(
        event=alarm.event.partition(":")[0],
        monitor=alarm.detector,
        release=alarm.release,
        first=max(alarm.first, 1),
        last=max(alarm.last, 1),
    )


def _store_report(
    settings: StepSettings,
    run: str,
    known: KnownRun,
    workflow: Mapping[str, Any],
    *,
    in_rollout: bool,
    tracking: bool,
) -> None:
    """Write run.json, and word that a tracking server must be told. The run has ended without it, too: what keeps it from being written is
    told and no failure."""
    folder = RunFolder(settings.store, settings.bucket, run)
    if is_idle_look(workflow):
        return
    try:
        try:
            earlier = find_report(folder)
        except DocumentError as error:
            options.print_progress(f"run.json is composed anew: {error.message}")
            earlier = None
        cause = None
        if earlier is None and in_rollout:
            cause = _read_trailer(settings.open_repository(), run, "Driftloop-Cause") or None
        report = compose_report(folder, replace(known, cause=cause), workflow or None, earlier)
        write_report(folder, report)
    except PipelineError as error:
        options.print_progress(f"run.json is not written: {error.message}")
        return
    if report.release is not None or report.outcome is not None:
        _store_pages(settings, known, report)
    if tracking:
        _note_tracking(settings, known.pipeline, run)
    for note in report.notes:
        options.print_progress(f"note: {note}")


def read_progress(
    settings: StepSettings,
    names: Names,
    run: str,
    status: str,
    workflow: Mapping[str, Any],
    *,
    rollout: bool,
) -> RunOutcome | RolloutProgress:
    """Return the progress of a run, from git first, then from its workflow; a rollout whose workflow
    broke off is ended."""
    id = release_id(run)
    repository = settings.open_repository()
    tip = repository.tip()
    release = pipelines.read_pipeline(repository.tree(tip), names.pipeline).release
    if release.production is not None and was_refitted(release, run):
        return end_refit(release.production)
    if release.production is not None and release.production.id == id:
        return RunOutcome.now("released", f"{id} is production")
    if release.candidate is not None and release.candidate.id == id:
        if not rollout and status == "Succeeded":
            return RolloutProgress(f"{names.release}-{id}")
        foreign = tip and pipelines.find_interference(repository, tip, names.pipeline, run)
        if foreign:
            return RunOutcome.now("superseded", f"{foreign.subject} ({foreign.sha[:12]})")
        if rollout and status == "Succeeded":
            waits = f"{id} waits for `driftloop promote {names.pipeline}`"
            return RunOutcome.now("released", waits)
        broken = _describe_failure(workflow) or f"the workflow ended as {status}"
        outcome = _read_cancellation(workflow) or RunOutcome.now("failed", broken)
        _end_rollout(repository, names, run, release.candidate, outcome)
        return outcome
    if tip is not None and (newest := repository.find(tip, "Driftloop-Run", run)) is not None:
        return _read_rollout_end(repository, names, tip, run, newest)
    if (stored := read_outcome(settings.store, settings.bucket, run)) is not None:
        return stored
    if (ended := _read_cancellation(workflow) or _read_claim(workflow)) is not None:
        return ended
    if status != "Succeeded":
        failure = _describe_failure(workflow) or f"the workflow ended as {status}"
        return RunOutcome.now("failed", failure)
    return RunOutcome.now("refused", _read_refusal(settings, run))


def _end_rollout(
    repository: Repository, names: Names, run: str, version: Version, outcome: RunOutcome
) -> None:
    def take_out(release: Release) -> Release:
        is_candidate = release.candidate is not None and release.candidate.id == version.id
        return record.reject_candidate(release) if is_candidate else release

    verb = "Cancel" if outcome.kind == "cancelled" else "Reject"
    subject = f"{verb} {version.id} of {names.pipeline}"
    cause = _read_trailer(repository, run, "Driftloop-Cause")
    pipelines.commit_transition(
        repository,
        names.pipeline,
        take_out,
        lambda before, after: TransitionMessage(subject, version, cause, outcome.reason, outcome),
    )


def _read_rollout_end(
    repository: Repository, names: Names, tip: str, run: str, newest: LoggedCommit
) -> RunOutcome:
    """Return how a rollout ended: as the run's own last commit tells, or by somebody else's."""
    ending = pipelines.read_outcome_trailers(newest)
    # a promotion that is no longer in force was taken back by another commit
    if ending is not None and ending[0] != "released":
        return RunOutcome.now(*ending)
    commit = pipelines.find_interference(repository, tip, names.pipeline, run) or newest.commit
    return RunOutcome.now("superseded", f"{commit.subject} ({commit.sha[:12]})")


def _read_trailer(repository: Repository, run: str, trailer: str) -> str:
    tip = repository.tip()
    newest = repository.find(tip, "Driftloop-Run", run) if tip is not None else None
    return newest.trailers.get(trailer, "") if newest is not None else ""


def _read_refusal(settings: StepSettings, run: str) -> str:
    """Return the reasons of the step that refused the candidate: the gate, or the rehearsal after
    it."""
    at = settings.bucket / verdict_key(run)
    try:
        verdict = GateVerdict.read(settings.store.read_json(at))
    except MissingObjectError:
        return f"no version was committed, and {at} does not exist"
    except DocumentError as error:
        return f"{at} can't be read: {error.message}"
    if verdict.passed:
        at = settings.bucket / rehearsal_key(run)
        try:
            rehearsal = Rehearsal.read(settings.store.read_json(at))
        except MissingObjectError:
            return f"the gate passed, no version was committed, and {at} does not exist"
        except DocumentError as error:
            return f"{at} can't be read: {error.message}"
        return f"rehearsal: {'; '.join(rehearsal.reasons)}"
    return "; ".join(verdict.reasons) or f"{at} gives no reason"


def _read_workflow(settings: StepSettings, names: Names, name: str) -> Mapping[str, Any]:
    """Return a Workflow; empty when it can't be read."""
    try:
        return settings.kubernetes.get_workflow(names.namespace, name) or {}
    except (KubernetesUnreachableError, PipelineError) as error:
        options.print_progress(f"the workflow can't be read: {error.message}")
        return {}


def _read_claim(workflow: Mapping[str, Any]) -> RunOutcome | None:
    """Return the outcome of a run that was not claimed; None for one that was."""
    for parameters in read_outputs(workflow):
        if parameters.get("claimed") == "false":
            for obstacle in OBSTACLES:
                if parameters.get("obstacle") == obstacle:
                    reason = parameters.get("reason") or "the run was not claimed"
                    return RunOutcome.now("not-started", reason, obstacle=obstacle)
    return None


def _read_cancellation(workflow: Mapping[str, Any]) -> RunOutcome | None:
    """Return the outcome of a Workflow that a person stopped; None for any other."""
    if not (workflow.get("spec") or {}).get("shutdown"):
        return None
    annotations = (workflow.get("metadata") or {}).get("annotations") or {}
    return RunOutcome.now(
        "cancelled", annotations.get(CANCELLED_BY_ANNOTATION) or "its workflow was stopped"
    )


def _describe_failure(workflow: Mapping[str, Any]) -> str:
    """Return the failed steps and their messages; empty when there is none."""
    nodes: dict[str, Any] = (workflow.get("status") or {}).get("nodes") or {}
    failed = {
        # attempts of one step are named `step(0)`, `step(1)`; the message of the last is enough
        str(node.get("displayName")).partition("(")[0]: clean_reason(
            str(node.get("message") or node.get("phase"))
        )
        for node in nodes.values()
        if node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error")
    }
    failed |= {
        hold.step: f"nobody has approved it since {hold.since} ({hold.asks})"
        for hold in list_holds(workflow, phase="Failed")
        # what ends a wait for a reason of its own has failed, too
        if not failed
    }
    return "; ".join(f"{step}: {message}" for step, message in failed.items())[:500]
