"""One run in MLflow as its record says, whatever is there already.

MLflow makes a run of each request, and knows no name that only one may have. So what is there is looked
up by our run id first, and after a run was made it is looked up again: of several, by whoever made
them, the first stays and the others are deleted. A version of a model is found by the release it is of,
in the same way; the lowest number stays.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from driftloop.clients.mlflow import (
    MlflowClient,
    MlflowError,
    MlflowRefusedError,
    MlflowRun,
    MlflowVersion,
)
from driftloop.contract.runs import RunReport
from driftloop.contract.times import format_now
from driftloop.contract.tracking import MADE_TAG, RELEASE_TAG, RUN_TAG, TRIAL_TAG, TrackedRun
from driftloop.tracking.entries import (
    PARENT_TAG,
    TrackedEntry,
    describe_run,
    describe_trials,
)


@dataclass(frozen=True)
class TrackingServer:
    """The server, and the name of experiment and registered model there."""

    client: MlflowClient
    name: str


def send_run(
    server: TrackingServer, report: RunReport, model: str, files: Mapping[str, bytes]
) -> TrackedRun:
    """Make the server show a run; MlflowError.

    `model` is the address of the model's files, `files` are its artifacts by name.
    """
    client = server.client
    experiment = client.ensure_experiment(server.name)
    entry = describe_run(report)
    parent = _converge(client, experiment, report.run, (entry,))[""]
    below = {PARENT_TAG: parent.id}
    trials = tuple(
        replace(trial, tags={**trial.tags, **below}) for trial in describe_trials(report)
    )
    _converge(client, experiment, report.run, trials)
    link = {"model": model, "digest": report.digests.model, "release": report.release}
    artifacts = dict(files)
    if report.digests.model:
        artifacts["model.json"] = (json.dumps(link, indent=1) + "\n").encode()
    note = _send_artifacts(client, parent, artifacts)
    version = None
    if report.release is not None and report.digests.model:
        version = _ensure_version(server, report, model, parent).number
    return TrackedRun(
        server=client.url,
        experiment=experiment,
        id=parent.id,
        version=version,
        time=format_now(),
        note=note,
    )


def list_releases(server: TrackingServer) -> Mapping[str, MlflowVersion]:
    """Return the version of each release that the server has."""
    versions = reversed(server.client.find_versions(server.name))
    return {
        version.tags[RELEASE_TAG]: version for version in versions if RELEASE_TAG in version.tags
    }


def _converge(
    client: MlflowClient, experiment: str, run: str, entries: tuple[TrackedEntry, ...]
) -> Mapping[str, MlflowRun]:
    """Return the run of each entry by the number of its trial; each is as the entry says then."""
    found = _find_runs(client, experiment, run)
    missing = [entry for entry in entries if entry.trial not in found]
    for entry in missing:
        made = {MADE_TAG: str(time.time_ns())}
        client.create_run(experiment, entry.name, entry.started, {**entry.tags, **made})
    if missing:
        found = _find_runs(client, experiment, run)
    for entry in entries:
        _complete(client, found[entry.trial], entry)
    return found


def _find_runs(client: MlflowClient, experiment: str, run: str) -> dict[str, MlflowRun]:
    """Return what the server has of a run, by the number of the trial; deletes copies."""
    copies: dict[str, list[MlflowRun]] = {}
    for one in client.find_runs(experiment, RUN_TAG, run):
        copies.setdefault(one.tags.get(TRIAL_TAG, ""), []).append(one)
    found = {}
    for trial, same in copies.items():
        same.sort(key=lambda one: (one.tags.get(MADE_TAG, ""), one.id))
        found[trial] = same[0]
        for copy in same[1:]:
            client.delete_run(copy.id)
    return found


def _complete(client: MlflowClient, run: MlflowRun, entry: TrackedEntry) -> None:
    """Send what a run lacks; a parameter that it has stays as it is."""
    params = {name: value for name, value in entry.params.items() if name not in run.params}
    metrics = {
        name: value for name, value in entry.metrics.items() if run.metrics.get(name) != value
    }
    tags = {name: value for name, value in entry.tags.items() if run.tags.get(name) != value}
    if params or metrics or tags:
        at = entry.ended or entry.started
        client.log(run.id, params=params, metrics=metrics, tags=tags, time=at)
    if (run.status, run.ended) != (entry.status, entry.ended):
        client.update_run(run.id, entry.status, entry.ended)


def _send_artifacts(client: MlflowClient, run: MlflowRun, files: Mapping[str, bytes]) -> str:
    """Send files; what the server does not take is said, and no error."""
    for name, content in files.items():
        try:
            if not client.put_artifact(run, name, content):
                return f"no files are sent: the server keeps them at {run.artifacts}, not by itself"
        except MlflowRefusedError as error:
            return f"{name} is not sent: {error.message}"
    return ""


def _ensure_version(
    server: TrackingServer, report: RunReport, model: str, run: MlflowRun
) -> MlflowVersion:
    """Return the version of a run's release, made when there is none."""
    release = report.release or ""
    found = _list_versions(server, release)
    if not found:
        tags = {
            RELEASE_TAG: release,
            RUN_TAG: report.run,
            "driftloop.model": report.digests.model or "",
            "driftloop.data": report.digests.data or "",
        }
        server.client.ensure_model(server.name, {"driftloop.pipeline": report.pipeline})
        server.client.create_version(server.name, model, run.id, tags)
        found = _list_versions(server, release)
    if not found:
        raise MlflowError(f"{server.client.url} has lost the version of {release} again")
    for copy in found[1:]:
        server.client.delete_version(server.name, copy.number)
    return found[0]


def _list_versions(server: TrackingServer, release: str) -> list[MlflowVersion]:
    versions = server.client.find_versions(server.name)
    return [version for version in versions if version.tags.get(RELEASE_TAG) == release]
