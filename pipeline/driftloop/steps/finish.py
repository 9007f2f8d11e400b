"""`driftloop step finish`: report the outcome of a run to the decision and as an event.

Git tells more than the phase of the Workflow: a run whose version is the candidate goes on in
its rollout; a run that succeeded without a commit was refused by the gate.
"""

from dataclasses import dataclass
from typing import Any

import click

from driftloop.clients import events, sdk
from driftloop.clients.events import EventRefusedError
from driftloop.clients.kubernetes import KubernetesUnreachableError
from driftloop.clients.s3 import MissingObjectError
from driftloop.contract.names import Names
from driftloop.contract.records import RefusalKind
from driftloop.contract.trees import verdict_key
from driftloop.errors import PipelineError
from driftloop.git.repository import Repository
from driftloop.operations import releases as pipelines
from driftloop.operations.releases import TransitionMessage
from driftloop.release import record
from driftloop.release.record import Release, Version
from driftloop.retrain import store as decisions
from driftloop.retrain.state import EndEvent, MoveEvent, Outcome
from driftloop.steps import options, refusals
from driftloop.steps.settings import StepSettings

EXAMPLES = """\b
Examples:
  driftloop step finish --pipeline digits --namespace digits --run digits-4f0c1d2e3a5b --status Succeeded
"""


@dataclass(frozen=True)
class EndedProgress:
    """A run that is over."""

    outcome: Outcome
    reason: str
    refusal: RefusalKind | None = None


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
def command(
    *, pipeline: str, namespace: str, run: str, status: str, release: str | None, decision: str
) -> None:
    """Report the outcome of a run: end its decision and emit `dev.driftloop.run.finished`."""
    settings = StepSettings.from_environment()
    decision = decision or run.removeprefix(f"{pipeline}-")
    names = Names(pipeline, namespace)
    progress = read_progress(settings, names, run, status, rollout=release is not None)
    if isinstance(progress, RolloutProgress):
        decisions.apply_once(
            settings.nats_url, namespace, pipeline, MoveEvent(run, "rolling-out", progress.workflow)
        )
        options.print_progress(f"{run} goes on in {progress.workflow}")
        return
    state = decisions.apply_once(
        settings.nats_url,
        namespace,
        pipeline,
        EndEvent(run, progress.outcome, progress.reason, progress.refusal),
    )
    options.print_progress(
        f"{run}: {progress.outcome}" + (f" ({progress.reason})" if progress.reason else "")
    )
    if run not in state.ended:
        options.print_progress("the run was not claimed; no event is sent")
        return
    if run in state.ended[-2:] and state.outcome not in (None, progress.outcome):
        options.print_progress(f"the outcome was {state.outcome} before; its event was sent")
        return
    event = events.run_finished(
        namespace,
        pipeline,
        run=run,
        decision=decision,
        outcome=progress.outcome,
        reason=progress.reason,
        release=record.release_id(run),
    )
    try:
        sdk.send_event(names.broker_url, event)
    except EventRefusedError as error:
        options.print_progress(f"the event was not taken: {error.message}")


def read_progress(
    settings: StepSettings, names: Names, run: str, status: str, *, rollout: bool
) -> EndedProgress | RolloutProgress:
    """Return the progress of a run, from git first; a rollout whose workflow broke off is
    rejected."""
    id = record.release_id(run)
    repository = settings.open_repository()
    tip = repository.tip()
    release = pipelines.read_pipeline(repository.tree(tip), names.pipeline).release
    if release.production is not None and release.production.id == id:
        return EndedProgress("released", "")
    if release.candidate is not None and release.candidate.id == id:
        if not rollout and status == "Succeeded":
            return RolloutProgress(f"{names.release}-{id}")
        if rollout and status == "Succeeded":
            return EndedProgress("released", f"{id} waits for `driftloop promote {names.pipeline}`")
        if (
            tip is not None
            and pipelines.find_interference(repository, tip, names.pipeline, run) is None
        ):
            _reject_candidate(
                repository, names, run, release.candidate, f"its workflow ended as {status}"
            )
        return EndedProgress("rejected", f"the rollout ended as {status}")
    if tip is not None and repository.find(tip, "Driftloop-Run", run) is not None:
        return EndedProgress("rejected", _describe_rejection(repository, names, tip, run))
    if status != "Succeeded":
        return EndedProgress("failed", _describe_failure(settings, names, run))
    refusal = refusals.read_refusal(settings, run)
    if refusal is not None:
        return EndedProgress("refused", refusal.reason, refusal.kind)
    return EndedProgress("refused", _read_refusal(settings, run))


def _reject_candidate(
    repository: Repository, names: Names, run: str, version: Version, reason: str
) -> None:
    def apply_rejection(release: Release) -> Release:
        is_candidate = release.candidate is not None and release.candidate.id == version.id
        return record.reject_candidate(release) if is_candidate else release

    subject = f"Reject {version.id} of {names.pipeline}"
    cause = _read_trailer(repository, run, "Driftloop-Cause")
    pipelines.commit_transition(
        repository,
        names.pipeline,
        apply_rejection,
        lambda before, after: TransitionMessage(subject, version, cause, reason),
    )


def _describe_rejection(repository: Repository, names: Names, tip: str, run: str) -> str:
    """Return the commit that ended the rollout: somebody else's, or the last of the run."""
    commit = pipelines.find_interference(repository, tip, names.pipeline, run)
    if commit is None:
        newest = repository.find(tip, "Driftloop-Run", run)
        commit = newest.commit if newest is not None else None
    return f"{commit.subject} ({commit.sha[:12]})" if commit is not None else ""


def _read_trailer(repository: Repository, run: str, trailer: str) -> str:
    tip = repository.tip()
    newest = repository.find(tip, "Driftloop-Run", run) if tip is not None else None
    return newest.trailers.get(trailer, "") if newest is not None else ""


def _read_refusal(settings: StepSettings, run: str) -> str:
    at = settings.bucket / verdict_key(run)
    try:
        verdict = settings.store.read_json(at)
    except MissingObjectError:
        return ""
    return "; ".join(verdict.get("reasons", []))


def _describe_failure(settings: StepSettings, names: Names, run: str) -> str:
    """Return the failed steps and their messages; empty when the Workflow can't be read."""
    try:
        workflow = settings.kubernetes.get_workflow(names.namespace, run)
    except (KubernetesUnreachableError, PipelineError) as error:
        options.print_progress(f"the workflow can't be read: {error.message}")
        return ""
    nodes: dict[str, Any] = ((workflow or {}).get("status") or {}).get("nodes") or {}
    failed = {
        # attempts of one step are named `step(0)`, `step(1)`; the message of the last is enough
        str(node.get("displayName")).partition("(")[0]: str(
            node.get("message") or node.get("phase")
        )
        for node in nodes.values()
        if node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error")
    }
    return "; ".join(f"{step}: {message}" for step, message in failed.items())[:500]
