"""Read what runs: commit, releases, verdicts, runs and processes, of a state folder or of a
cluster."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftloop.contract.approvals import Hold
from driftloop.contract.documents import to_json
from driftloop.contract.inboxes import InboxStatus
from driftloop.contract.names import NAME_LABEL
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.policies import describe_unfitted
from driftloop.contract.tracking import TrackingStatus
from driftloop.contract.trees import DEPLOYMENTS, RELEASE
from driftloop.contract.windows import OpenWindow
from driftloop.contract.workflow_steps import StepProgress
from driftloop.errors import LocalError, PipelineError
from driftloop.local.argo.objects import Objects
from driftloop.local.ground import addresses, binaries, memory
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground import endpoints
from driftloop.operations.rollouts.analyses import ask_analyses
from driftloop.operations.runs.decisions import ask_decisions
from driftloop.operations.runs.tracking import ask_tracking
from driftloop.operations.watching.refusals import CallerRefusals, read_refusals
from driftloop.operations.watching.windows import ask_windows
from driftloop.release.judgement import describe_last
from driftloop.release.record import load_release

Json = dict[str, Any]


@dataclass(frozen=True)
class ReleaseStatus:
    """Phase, version ids and weights (percent) of a pipeline's release."""

    phase: str | None
    production: str | None
    candidate: str | None
    weights: Mapping[str, int]
    error: str | None = None
    """Why release.yaml can't be read; nothing else is there then."""
    measured: str = ""
    """What the analysis of its rollout measured last, in words; empty without one."""
    waits: str = ""
    """What the stage of its rollout still waits for, in words; empty when that is nothing, or not known."""
    unfitted: str = ""
    """What production lacks of its monitors, in words; empty when it lacks nothing."""

    @classmethod
    def from_json(cls, document: Json) -> "ReleaseStatus":
        """Parse one of `releases`."""
        if "error" in document:
            return cls(None, None, None, {}, document["error"])
        return cls(
            document["phase"],
            document["production"],
            document["candidate"],
            document["weights"],
            measured=document.get("measured") or "",
            waits=document.get("waits") or "",
            unfitted=document.get("unfitted") or "",
        )


@dataclass(frozen=True)
class VerdictStatus:
    """The last verdict of a detector."""

    release: str | None
    window: int | None
    alarm: bool
    score: float | None
    threshold: float | None
    time: str | None = None
    """None when the detector does not tell it."""
    size: int | None = None
    """Rows of the window; None when that is not known."""
    rejected: int = 0
    """Rows that came with them and are not judged."""
    changes: str = ""
    """Columns that have changed, in words; empty without an alarm, or when the detector names none."""
    repeated: int = 0
    """Rows that came before, and are not in the window."""
    lasting: str = ""
    """A change that earlier windows showed together and that lasts, in words; empty without one."""
    failure: str = ""
    """Why the window is not judged; empty for one that is."""
    quality: str = ""
    """How good the answers of the window are, and those of its slices, in words; empty without labels."""

    @classmethod
    def from_json(cls, document: Json) -> "VerdictStatus":
        """Parse one of `verdicts`."""
        return cls(
            release=document.get("release"),
            window=document.get("window"),
            alarm=bool(document.get("alarm")),
            score=document.get("score"),
            threshold=document.get("threshold"),
            time=document.get("time"),
            size=document.get("size"),
            rejected=document.get("rejected") or 0,
            changes=document.get("changes") or "",
            repeated=document.get("repeated") or 0,
            lasting=document.get("lasting") or "",
            failure=document.get("failure") or "",
            quality=document.get("quality") or "",
        )


@dataclass(frozen=True)
class UnjudgedStatus:
    """Requests that a detector has no reference of, or whose rows it can't read."""

    release: str
    """Release whose requests they are."""
    reference: str
    windows: int
    time: str | None
    """Time of the last one."""
    rows: int | None = None
    """Rows that can't be read since the last verdict; None when that is not known."""
    reason: str = ""

    @classmethod
    def from_json(cls, document: Json) -> "UnjudgedStatus":
        """Parse one of `unjudged`."""
        return cls(
            document["release"],
            document["reference"],
            document["windows"],
            document["time"],
            document.get("rows"),
            document.get("reason") or "",
        )

    @property
    def is_own(self) -> bool:
        """Return True for rows of the release that the detector was fitted for."""
        return self.release == self.reference


@dataclass(frozen=True)
class RunStatus:
    """The last run of a workflow template."""

    name: str
    phase: str
    finished_at: str | None
    message: str
    outcome: RunOutcome | None = None
    """None while the run goes on, or when its last step left none."""
    rollout: str | None = None
    """Workflow in which the run goes on."""
    hold: Hold | None = None
    """What it waits for a person to approve."""
    progress: tuple[StepProgress, ...] = ()
    """Steps that go on and say how far they are."""

    @classmethod
    def from_json(cls, document: Json) -> "RunStatus":
        """Parse one of `runs`."""
        return cls(
            name=document["name"],
            phase=document["phase"],
            finished_at=document.get("finishedAt"),
            message=str(document.get("reason") or document.get("message") or ""),
            outcome=RunOutcome.read(document, label="the outcome of a run")
            if document.get("outcome")
            else None,
            rollout=document.get("rollout"),
            hold=Hold.from_json(document["name"], document["hold"])
            if document.get("hold")
            else None,
            progress=tuple(map(StepProgress.from_json, document.get("progress", ()))),
        )


@dataclass(frozen=True)
class ProcessStatus:
    """A local process, or a pod; times in seconds, memory in MB (None when it is not known)."""

    name: str
    pid: int | None
    phase: str
    uptime: float
    restarts: int
    memory: float | None

    @classmethod
    def from_json(cls, document: Json) -> "ProcessStatus":
        """Parse one of `processes`."""
        return cls(
            **{
                name: document[name]
                for name in ("name", "pid", "phase", "uptime", "restarts", "memory")
            }
        )


@dataclass(frozen=True)
class SupervisorStatus:
    """The process of `up`; memory in MB, of itself and of everything it started."""

    pid: int
    uptime: float
    memory: float
    total_memory: float


@dataclass(frozen=True)
class PlatformStatus:
    """All that `driftloop status` shows; mappings are by name."""

    place: str
    """State folder, or address of the API server."""
    gateway: str | None
    tip: str | None
    applied: str | None
    refused: str
    stuck: str | None
    waiting: tuple[str, ...]
    disk: tuple[str, ...]
    blind: tuple[str, ...]
    """What the loop does not see now, since when and why."""
    untold: tuple[str, ...]
    """Notices for people that did not reach them."""
    altered: tuple[str, ...]
    """Pods that refuse a model or detector, since its digest is not the one of the release."""
    unknown: tuple[str, ...]
    releases: Mapping[str, ReleaseStatus]
    verdicts: Mapping[str, VerdictStatus]
    unjudged: Mapping[str, UnjudgedStatus]
    windows: Mapping[str, OpenWindow]
    """Windows that are open."""
    decisions: Mapping[str, str]
    loops: Mapping[str, str]
    """Pipeline to what its loop waits for, in one line."""
    tracking: Mapping[str, TrackingStatus]
    """Pipeline to how far its tracking server has been told; none for one without."""
    inboxes: Mapping[str, InboxStatus]
    """Pipeline to its files of labels; none for one that reads none."""
    callers: CallerRefusals
    """Requests that the gateway here has refused for want of a login."""
    runs: Mapping[str, RunStatus]
    supervisor: SupervisorStatus | None
    """None for a cluster."""
    processes: tuple[ProcessStatus, ...]
    document: Json = field(repr=False, compare=False)
    """The same as JSON, in the order it is printed."""

    def list_dead(self) -> tuple[str, ...]:
        """Return the processes of this machine that have died and wait to be started again, by name."""
        if self.supervisor is None:
            return ()
        return tuple(process.name for process in self.processes if process.phase == "waiting")

    @classmethod
    def from_json(cls, document: Json) -> "PlatformStatus":
        """Parse the document that the supervisor and the cluster's reader make."""
        used = document["memory"]
        return cls(
            place=document["state"],
            gateway=document["gateway"],
            tip=document["tip"],
            applied=document["applied"],
            refused=document["refused"] or "",
            stuck=document["stuck"],
            waiting=tuple(document["waiting"]),
            disk=tuple(document.get("disk", ())),
            blind=tuple(document.get("blind", ())),
            untold=tuple(document.get("untold", ())),
            altered=tuple(document.get("altered", ())),
            unknown=tuple(document.get("unknown", ())),
            releases={
                name: ReleaseStatus.from_json(item) for name, item in document["releases"].items()
            },
            verdicts={
                name: VerdictStatus.from_json(item) for name, item in document["verdicts"].items()
            },
            unjudged={
                name: UnjudgedStatus.from_json(item)
                for name, item in document.get("unjudged", {}).items()
            },
            windows={
                name: OpenWindow.read(item) for name, item in document.get("windows", {}).items()
            },
            decisions=document["decisions"],
            loops=document.get("loops", {}),
            tracking={
                name: TrackingStatus.read(item)
                for name, item in document.get("tracking", {}).items()
            },
            inboxes={
                name: InboxStatus.read(item) for name, item in document.get("inboxes", {}).items()
            },
            callers=CallerRefusals.read(document.get("callers")),
            runs={name: RunStatus.from_json(item) for name, item in document["runs"].items()},
            supervisor=SupervisorStatus(
                document["pid"], document["uptime"], used["up"], used["total"]
            )
            if used is not None
            else None,
            processes=tuple(ProcessStatus.from_json(item) for item in document["processes"]),
            document=document,
        )


def read_cluster_status(
    kubeconfig: Path | None, context: str | None, namespaces: tuple[str, ...]
) -> PlatformStatus:
    """Read the status of a cluster from its API server; ClusterError when that does not answer."""
    from driftloop.cluster import reader, status

    api = reader.ApiReader(kubeconfig, context)
    document = status.overview(api, where=api.address, namespaces=namespaces)
    _add_left(document)
    return PlatformStatus.from_json(document)


def read_local_status(state: StateFolder) -> PlatformStatus:
    """Read the status of what runs from a state folder; LocalError when nothing does."""
    document = _read_supervisor(state)
    pids = [
        document["pid"],
        *(process["pid"] for process in document["processes"] if process["pid"]),
    ]
    sizes = memory.measure_shares(pids)
    document["memory"] = {
        "up": sizes.get(document["pid"], 0.0),
        "total": memory.measure_total(state),
    }
    for process in document["processes"]:
        process["memory"] = sizes.get(process["pid"], 0.0)
    windows, document["unknown"] = ask_windows(state)
    document["windows"] = {name: to_json(window) for name, window in windows.items()}
    tracking, silent = ask_tracking(state)
    document["tracking"] = {name: to_json(status) for name, status in tracking.items()}
    document["unknown"] += silent
    document["callers"] = to_json(read_refusals(state))
    inboxes, silent = ask_decisions(state, "labels", InboxStatus.read)
    document["inboxes"] = {name: to_json(status) for name, status in inboxes.items()}
    document["unknown"] += silent
    try:
        document["releases"] = read_releases(state)
        for name, measured in ask_analyses(state, document["releases"]).items():
            document["releases"][name] |= describe_last(measured)
    except LocalError as error:
        document["releases"] = {}
        document["unknown"].append(f"releases: {error.message}")
    _add_left(document)
    document["gateway"] = f"http://127.0.0.1:{document['ports']['gateway']}"
    return PlatformStatus.from_json(document)


def _add_left(document: Json) -> None:
    """Say of each step that goes on in how many seconds it is done, which depends on when one looks."""
    now = datetime.now(UTC)
    for run in document["runs"].values():
        for step in run.get("progress", ()):
            left = StepProgress.from_json(step).measure_left(now)
            step["secondsLeft"] = None if left is None else round(left, 1)


def _read_supervisor(state: StateFolder) -> Json:
    if (pid := state.find_holder()) is None:
        raise LocalError(f"nothing runs in {state.root}", hint="start it with `driftloop up`")
    url = f"http://127.0.0.1:{state.require_port('api')}/status"
    try:
        with endpoints.open_near(url, timeout=5) as response:
            document: Json = json.load(response)
            return document
    except (OSError, ValueError) as error:
        raise LocalError(
            f"process {pid} of {state.root} does not answer yet ({error})",
            hint="try again in a moment",
        ) from error


def read_releases(state: StateFolder) -> dict[str, Json]:
    """Return phase, versions and weights of each pipeline at the tip of the branch; LocalError
    when git can't read the repository."""
    if not _run_git(state, "for-each-ref", f"refs/heads/{addresses.BRANCH}"):
        return {}
    paths = _run_git(
        state, "ls-tree", "-r", "-z", "--name-only", addresses.BRANCH, "--", DEPLOYMENTS
    )
    releases: dict[str, Json] = {}
    for path in paths.split("\0"):
        if path.endswith(f"/{RELEASE}"):
            text = _run_git(state, "show", f"{addresses.BRANCH}:{path}")
            pipeline = path.split("/")[1]
            try:
                release = load_release(text, path=path)
            except PipelineError as error:
                releases[pipeline] = {"error": error.message}
                continue
            releases[pipeline] = {
                "phase": release.phase,
                "production": release.production.id if release.production else None,
                "candidate": release.candidate.id if release.candidate else None,
                "weights": release.weights,
            }
    for deployment in Objects.read(state.objects).of("Deployment"):
        labels = deployment["metadata"].get("labels") or {}
        named = releases.get(labels.get(NAME_LABEL, ""))
        unfitted = describe_unfitted(deployment) if named is not None else ""
        if named is not None and unfitted:
            named["unfitted"] = unfitted
    return releases


def _run_git(state: StateFolder, *arguments: str) -> str:
    state.require_repository()
    command = [binaries.find_git(), f"--git-dir={state.repository}", *arguments]
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode != 0:
        words = result.stderr.decode(errors="replace").strip()
        raise LocalError(
            f"git {arguments[0]} in {state.repository}: {words}",
            hint="is the repository whole? `git fsck` there says more",
        )
    return result.stdout.decode(errors="replace")
