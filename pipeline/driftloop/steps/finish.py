"""`driftloop step finish`: how a run ended, told to the decision and to everybody who listens.

What git holds says more than the Workflow's phase: a run whose version is the candidate goes on in its rollout; a run
that succeeded without a commit was refused by the gate.
"""

from dataclasses import dataclass
from typing import Any

import click

from driftloop.clients import events, sdk
from driftloop.clients.events import EventRefusedError
from driftloop.clients.kubernetes import KubernetesUnreachableError
from driftloop.clients.s3 import MissingObjectError
from driftloop.contract.names import Names
from driftloop.errors import PipelineError
from driftloop.git.repository import Repository
from driftloop.operations import releases as pipelines
from driftloop.operations.releases import Message
from driftloop.release import record
from driftloop.release.record import Release, Version
from driftloop.retrain import store as decisions
from driftloop.retrain.decision import End, Move, Outcome
from driftloop.steps import options
from driftloop.steps.settings import Settings, run_folder


@dataclass(frozen=True)
class Ended:
    """A run is over."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class RollingOut:
    """A run goes on in the Workflow of its rollout."""

    workflow: str


@click.command()
@options.pipeline
@options.namespace
@options.run
@click.option("--status", required=True, help="{{workflow.status}}")
@click.option("--release", default=None, help="Release id, when a rollout ends.")
@click.option("--decision", default="", help="Decision id that asked for the run.")
def command(*, pipeline: str, namespace: str, run: str, status: str, release: str | None, decision: str) -> None:
    """Report how a run ended: moves the decision on and emits `dev.driftloop.run.finished`."""
    settings = Settings.here()
    decision = decision or run.removeprefix(f"{pipeline}-")
    names = Names(pipeline, namespace)
    where = standing(settings, names, run, status, rollout=release is not None)
    if isinstance(where, RollingOut):
        decisions.apply_once(settings.nats_url, namespace, pipeline, Move(run, "rolling-out", where.workflow))
        options.say(f"{run} goes on in {where.workflow}")
        return
    state = decisions.apply_once(settings.nats_url, namespace, pipeline, End(run, where.outcome, where.reason))
    options.say(f"{run}: {where.outcome}" + (f" ({where.reason})" if where.reason else ""))
    if run not in state.ended:
        options.say("it had not been claimed; nobody is told")
        return
    if run in state.ended[-2:] and state.outcome not in (None, where.outcome):
        options.say(f"it was {state.outcome} before; that has been told")
        return
    told = events.run_finished(
        namespace,
        pipeline,
        run=run,
        decision=decision,
        outcome=where.outcome,
        reason=where.reason,
        release=record.release_id(run),
    )
    try:
        sdk.send(names.broker_url, told)
    except EventRefusedError as error:
        options.say(f"the event was not taken: {error.message}")


def standing(settings: Settings, names: Names, run: str, status: str, *, rollout: bool) -> Ended | RollingOut:
    """Where a run stands, from git first; a rollout that broke off without anybody's doing is rejected here."""
    id = record.release_id(run)
    repository = settings.repository()
    tip = repository.tip()
    release = pipelines.read(repository.tree(tip), names.pipeline).release
    if release.production is not None and release.production.id == id:
        return Ended("released", "")
    if release.candidate is not None and release.candidate.id == id:
        if not rollout and status == "Succeeded":
            return RollingOut(f"{names.release}-{id}")
        if rollout and status == "Succeeded":
            return Ended("released", f"{id} waits for `driftloop promote {names.pipeline}`")
        if tip is not None and pipelines.interference(repository, tip, names.pipeline, run) is None:
            _reject(repository, names, run, release.candidate, f"its workflow ended as {status}")
        return Ended("rejected", f"the rollout ended as {status}")
    if tip is not None and repository.find(tip, "Driftloop-Run", run) is not None:
        return Ended("rejected", _rejection(repository, names, tip, run))
    if status != "Succeeded":
        return Ended("failed", _failure(settings, names, run))
    return Ended("refused", _refusal(settings, run))


def _reject(repository: Repository, names: Names, run: str, version: Version, reason: str) -> None:
    def move(release: Release) -> Release:
        still = release.candidate is not None and release.candidate.id == version.id
        return record.reject(release) if still else release

    subject = f"Reject {version.id} of {names.pipeline}"
    cause = _trailer(repository, run, "Driftloop-Cause")
    pipelines.move(repository, names.pipeline, move, lambda before, after: Message(subject, version, cause, reason))


def _rejection(repository: Repository, names: Names, tip: str, run: str) -> str:
    """The commit that ended it: somebody else's, or the run's own last one."""
    commit = pipelines.interference(repository, tip, names.pipeline, run)
    if commit is None:
        found = repository.find(tip, "Driftloop-Run", run)
        commit = found.commit if found is not None else None
    return f"{commit.subject} ({commit.sha[:12]})" if commit is not None else ""


def _trailer(repository: Repository, run: str, trailer: str) -> str:
    tip = repository.tip()
    found = repository.find(tip, "Driftloop-Run", run) if tip is not None else None
    return found.trailers.get(trailer, "") if found is not None else ""


def _refusal(settings: Settings, run: str) -> str:
    at = run_folder(settings.bucket, run) / "verdict" / "verdict.json"
    try:
        verdict = settings.store.read_json(at)
    except MissingObjectError:
        return ""
    return "; ".join(verdict.get("reasons", []))


def _failure(settings: Settings, names: Names, run: str) -> str:
    """Which step failed, in its own words; empty when the Workflow can't be read."""
    try:
        workflow = settings.kubernetes.workflow(names.namespace, run)
    except (KubernetesUnreachableError, PipelineError) as error:
        options.say(f"the workflow can't be read: {error.message}")
        return ""
    nodes: dict[str, Any] = ((workflow or {}).get("status") or {}).get("nodes") or {}
    failed = {
        # tries of one step are called `step(0)`, `step(1)`; the last one's words are enough
        str(node.get("displayName")).partition("(")[0]: str(node.get("message") or node.get("phase"))
        for node in nodes.values()
        if node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error")
    }
    return "; ".join(f"{step}: {message}" for step, message in failed.items())[:500]
