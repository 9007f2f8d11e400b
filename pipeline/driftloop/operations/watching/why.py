"""Ask the decision service what a pipeline's loop waits for, and the detectors what they have."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from driftloop.clients.kubernetes import KubernetesUnreachableError
from driftloop.contract.documents import DocumentError
from driftloop.contract.names import Names
from driftloop.contract.windows import OpenWindow
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground import endpoints
from driftloop.operations.ground.runtime import find_runtime
from driftloop.operations.rollouts.analyses import ask_analyses
from driftloop.operations.runs.approvals import list_pipeline_holds
from driftloop.operations.watching.status import read_releases
from driftloop.operations.watching.suspend import DecisionEndpoint
from driftloop.operations.watching.windows import ask_windows
from driftloop.release.judgement import describe_rollout


@dataclass(frozen=True)
class LoopAnswer:
    """The phase of a loop and what it waits for, in one line and in one paragraph."""

    pipeline: str
    phase: str
    summary: str
    text: str
    windows: tuple[str, ...] = ()
    """What each detector has of its open window, in words."""
    holds: tuple[str, ...] = ()
    """What waits for a person, in words."""
    rollout: str = ""
    """What the stage of a rollout waits for, in words; empty when that is nothing, or not known."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "LoopAnswer":
        """Read the answer of the service; KeyError or TypeError for another one."""
        return cls(**{key: document[key] for key in ("pipeline", "phase", "summary", "text")})

    def to_json(self) -> dict[str, Any]:
        """Return the answer as the service sends it, and the windows beside it."""
        return asdict(self)


def ask_why(decision: DecisionEndpoint) -> LoopAnswer:
    """Return what the loop waits for; LocalError when its service does not answer."""
    url = f"{decision.url}/why"
    try:
        with endpoints.open_near(url, timeout=10) as response:
            return LoopAnswer.from_json(json.load(response))
    except HTTPError as error:
        text = error.read(200).decode(errors="replace").strip()
        raise LocalError(
            f"the decision service answered {error.code}: {text}",
            hint="see `driftloop logs`, and check that NATS runs",
        ) from error
    except (URLError, OSError, ValueError, KeyError, TypeError) as error:
        raise LocalError(f"{url} can't be reached: {error}", hint=endpoints.NOT_RUNNING) from error


def ask_cluster_why(
    kubeconfig: Path | None, context: str | None, namespace: str, pipeline: str
) -> LoopAnswer:
    """Return what the loop of a cluster waits for, with its open windows, through the API server;
    ClusterError when that or the decision does not answer."""
    from driftloop.cluster.reader import ApiReader, ClusterError
    from driftloop.cluster.status import explain_loop

    try:
        document = explain_loop(ApiReader(kubeconfig, context), Names(pipeline, namespace))
        windows = {key: OpenWindow.read(item) for key, item in document["windows"].items()}
        answer = LoopAnswer.from_json(document)
    except (DocumentError, KeyError, TypeError) as error:
        raise ClusterError(
            f"the decision of {namespace}/{pipeline} can't be read: {error}"
        ) from error
    lines = (*describe_open(windows), *document["unknown"])
    return replace(
        answer, windows=lines, holds=tuple(document["holds"]), rollout=document["rollout"]
    )


def describe_windows(state: StateFolder, pipeline: str) -> tuple[str, ...]:
    """Return a line for each detector of a pipeline that runs here, and for each that does not
    answer."""
    windows, unknown = ask_windows(state, pipeline)
    return (*describe_open(windows), *unknown)


def describe_stage(state: StateFolder, pipeline: str) -> str:
    """Return what the stage of a pipeline's rollout here waits for, in words; empty when that is nothing, or not known."""
    try:
        release = read_releases(state).get(pipeline, {})
    except LocalError as error:
        return f"what a rollout waits for is not known: {error.message}"
    measured = ask_analyses(state, {pipeline: release}).get(pipeline)
    return describe_rollout(release, measured.waits) if measured and measured.waits else ""


def describe_holds(
    state: StateFolder, environment: Mapping[str, str], namespace: str, pipeline: str
) -> tuple[str, ...]:
    """Return a line for each run of a pipeline that waits for a person here."""
    api = find_runtime(state, environment)
    try:
        found = list_pipeline_holds(api, namespace, pipeline) if api is not None else ()
    except KubernetesUnreachableError as error:
        return (f"what waits for a person is not known: {error.message}",)
    return tuple(hold.text for _, hold in found)


def describe_open(windows: Mapping[str, OpenWindow]) -> tuple[str, ...]:
    """Return a line for each open window, by `<namespace>/<pipeline>/<detector>`."""
    now = datetime.now(UTC)
    return tuple(f"{key.split('/')[-1]}: {window.describe(now)}" for key, window in windows.items())
