"""Tell a tracking server what it was not told yet, and say how far it has been told."""

import base64
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from driftloop.clients.mlflow import MlflowClient, MlflowRefusedError
from driftloop.cluster.forward import reach_url
from driftloop.cluster.reader import ApiReader
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.names import TRACKING_SECRET
from driftloop.contract.platform import TRACKING_SETTINGS
from driftloop.contract.tracking import TrackedRun, TrackingStatus
from driftloop.contract.trees import release_path, spec_path
from driftloop.errors import PipelineError
from driftloop.git.repository import Repository
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits import releases
from driftloop.operations.runs.decisions import ask_decisions
from driftloop.operations.runs.run_store import RunFilter, RunPlace, list_runs
from driftloop.spec import load_spec
from driftloop.spec.tracking import Tracking
from driftloop.tracking.mirror import TrackingServer
from driftloop.tracking.outbox import TrackingBox
from driftloop.tracking.roles import load_versions
from driftloop.tracking.sync import (
    SyncResult,
    join_results,
    send_aliases,
    send_report,
    send_waiting,
)

Report = Callable[[str], None]

MOST_RUNS = 1_000_000


@dataclass(frozen=True)
class TrackedPipeline:
    """A pipeline whose spec names a tracking server."""

    name: str
    tracking: Tracking
    release: str
    """Text of its release.yaml."""


def read_tracked_pipeline(repository: Repository, name: str) -> TrackedPipeline:
    """Read a pipeline from the cluster repository; PipelineError when its spec names no server."""
    tip = repository.tip()
    committed = releases.read_pipeline(repository.tree(tip), name)
    tracking = load_spec(committed.spec, path=spec_path(name)).spec.tracking
    if tracking is None:
        raise PipelineError(
            f"the spec of {name} names no tracking server",
            hint="add `tracking: {mlflow: https://…}` to it, and commit it",
        )
    return TrackedPipeline(name, tracking, committed.files[release_path(name)])


def sync_tracking(
    place: RunPlace,
    pipeline: TrackedPipeline,
    url: str,
    credential: Mapping[str, str],
    *,
    everything: bool,
    report: Report,
) -> SyncResult:
    """Send what waits, or all runs that are stored, and the aliases; MlflowError when the server
    does not answer. `url` is where it is reached from here."""
    name = pipeline.tracking.name or pipeline.name
    server = TrackingServer(MlflowClient.from_environment(url, credential), name)
    box = TrackingBox(place.store, place.bucket, pipeline.name)
    results = [_send_all(place, box, server, report)] if everything else []
    results.append(send_waiting(box, server))
    results.append(send_aliases(box, server, load_versions(pipeline.release)))
    return join_results(results)


def _send_all(
    place: RunPlace, box: TrackingBox, server: TrackingServer, report: Report
) -> SyncResult:
    """Send all runs, those of older versions without run.json, too."""
    sent, problems = [], []
    for found in reversed(list_runs(place, RunFilter(box.pipeline), MOST_RUNS)):
        run = found.report.run
        content = box.read_report(run) or json.dumps(to_json(found.report), indent=1).encode()
        try:
            if send_report(box, server, found.report, content):
                report(f"{run} is sent")
                sent.append(run)
        except (MlflowRefusedError, DocumentError) as error:
            problems.append(f"{run}: {error.message}")
    return SyncResult(tuple(sent), tuple(problems))


def read_local_credential(state: StateFolder, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the credential of the environment, else that of the state folder."""
    if any(environment.get(setting.environment) for setting in TRACKING_SETTINGS):
        return environment
    held = LocalSettings.load(state).secret
    return {each.environment: held[each.key] for each in TRACKING_SETTINGS if each.key in held}


@contextlib.contextmanager
def reach_from_outside(
    kubeconfig: Path | None,
    context: str | None,
    namespace: str,
    url: str,
    environment: Mapping[str, str],
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield an address of a server that a cluster's pods know, and its credential: of the environment,
    else of the namespace's Secret, with the rights of the person."""
    credential: Mapping[str, str] = environment
    if not any(environment.get(setting.environment) for setting in TRACKING_SETTINGS):
        path = f"/api/v1/namespaces/{namespace}/secrets/{TRACKING_SECRET}"
        held = (ApiReader(kubeconfig, context).get(path) or {}).get("data") or {}
        credential = {
            each.environment: base64.b64decode(held[each.key]).decode()
            for each in TRACKING_SETTINGS
            if each.key in held
        }
    with reach_url(url, kubeconfig=kubeconfig, context=context) as reached:
        yield reached, credential


def describe_run_tracking(place: RunPlace, pipeline: str, run: str) -> str:
    """Return what a tracking server has of a run, in words; empty for one that none is told of."""
    box = TrackingBox(place.store, place.bucket, pipeline)
    tracked, waits = box.read_tracked(run), box.is_waiting(run)
    if tracked is None:
        return "waits to be sent" if waits else ""
    return f"{_describe_tracked(tracked)}{'; its last state waits to be sent' if waits else ''}"


def _describe_tracked(tracked: TrackedRun) -> str:
    version = f", version {tracked.version}" if tracked.version is not None else ""
    note = f"; {tracked.note}" if tracked.note else ""
    return f"run {tracked.id}{version} of {tracked.server}, sent {tracked.time or '?'}{note}"


def ask_tracking(state: StateFolder) -> tuple[dict[str, TrackingStatus], list[str]]:
    """Return how far each pipeline's tracking server has been told, by `<namespace>.<pipeline>`, and a
    line for each that can't be asked."""
    return ask_decisions(state, "tracking", TrackingStatus.read)
