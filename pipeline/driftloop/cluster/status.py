"""The picture of `driftloop status`, of a cluster: read from the API server alone, in the shape
of the local one.

git is not asked, so a release is what serves it; NATS can't be reached from outside, so the
decision and the detectors' last verdicts are asked of their services through the API server.
What could not be read is said, and the rest goes on.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from driftloop.cluster.asking import ask_service, read_analysis
from driftloop.cluster.following import read_applied
from driftloop.cluster.pods import describe_unplaced, describe_unstarted, find_altered
from driftloop.cluster.qualities import describe_quality
from driftloop.cluster.reader import ClusterError, TextReader, items
from driftloop.cluster.recorders import describe_recorder
from driftloop.cluster.samples import read_samples
from driftloop.contract.approvals import describe_hold, list_holds
from driftloop.contract.documents import DocumentError, parse_json, to_json
from driftloop.contract.names import (
    COMPONENT_LABEL,
    NAME_LABEL,
    OWN_SELECTOR,
    WORKFLOW_LABEL,
    Names,
)
from driftloop.contract.outcomes import clean_reason, describe_end
from driftloop.contract.policies import describe_unfitted
from driftloop.contract.times import format_time
from driftloop.contract.windows import OpenWindow
from driftloop.contract.workflow_steps import describe_steps, find_pipeline
from driftloop.release.judgement import describe_rollout
from driftloop.retrain.explanation import explain_state
from driftloop.retrain.state import DecisionError, RetrainState

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

Json = dict[str, Any]

FAILED = "the user's function failed on it: the detector's log says why"


@dataclass
class _Picture:
    reader: TextReader
    now: datetime
    unknown: list[str] = field(default_factory=list)
    loops: dict[str, str] = field(default_factory=dict)
    """Pipeline to what its loop waits for."""
    tracking: dict[str, Json] = field(default_factory=dict)
    """Pipeline to how far its tracking server has been told."""
    inboxes: dict[str, Json] = field(default_factory=dict)
    """Pipeline to the files of labels that wait and were refused."""
    unjudged: dict[str, Json] = field(default_factory=dict)
    """Detector to its windows that are not judged."""
    windows: dict[str, Json] = field(default_factory=dict)
    """Detector to its open window."""
    unfitted: dict[str, str] = field(default_factory=dict)
    """Pipeline to what production lacks of its monitors."""

    def list(self, path: str) -> list[Json]:
        """Objects of a kind; none when the cluster does not have it."""
        return items(self.reader, path) or []

    @contextlib.contextmanager
    def part(self, what: str) -> Iterator[None]:
        """Record a part that cannot be read."""
        try:
            yield
        except ClusterError as error:
            self.unknown.append(f"{what}: {error.message}")


def overview(
    reader: TextReader, *, where: str, namespaces: Iterable[str] = (), now: datetime | None = None
) -> Json:
    """Return the state of the cluster: the keys of the local runtime's status, `gateway`, and
    `unknown` for what could not be read.

    `namespaces` narrows it to some pipelines. ClusterError when the API server does not answer
    at all.
    """
    reader.get("/version")
    picture = _Picture(reader, now or datetime.now(UTC))
    document: Json = {
        "state": where, "pid": None, "uptime": None, "ports": {}, "gateway": None, "tip": None, "applied": None,
        "refused": None, "stuck": None, "waiting": [], "processes": [], "verdicts": {}, "runs": {}, "decisions": {},
        "releases": {}, "memory": None, "disk": [], "altered": [],
        "blind": [], "untold": [],
    }  # fmt: skip
    with picture.part("the gateway"):
        document["gateway"] = _gateway(picture)
    with picture.part("nodes"):
        document["disk"] = list(_full(picture))
    with picture.part("what is applied"):
        document |= read_applied(reader)
    for names in _pipelines(picture, tuple(namespaces)):
        home = f"{names.namespace}/{names.pipeline}"
        with picture.part(f"pods of {home}"):
            document["processes"] += _pods(picture, names)
        with picture.part(f"room for pods of {home}"):
            pods = picture.list(f"/api/v1/namespaces/{names.namespace}/pods")
            document["waiting"] += describe_unplaced(reader, pods)
            document["waiting"] += describe_unstarted(pods)
            document["altered"] += [
                f"{names.namespace}/{pod['metadata']['name']}: {mismatch}"
                for pod in pods
                if (mismatch := find_altered(pod)) is not None
            ]
        with picture.part(f"the recorder of {home}"):
            document["blind"] += describe_recorder(reader, names)
        for key, read in _PARTS.items():
            with picture.part(f"{key} of {home}"):
                document[key] |= read(picture, names)
        with picture.part(f"what the rollout of {home} measured"):
            release = document["releases"].get(names.pipeline, {})
            release |= read_analysis(reader, names, release)
    for name, unfitted in picture.unfitted.items():
        if name in document["releases"]:
            document["releases"][name]["unfitted"] = unfitted
    return document | {
        "loops": picture.loops, "tracking": picture.tracking, "inboxes": picture.inboxes,
        "unjudged": picture.unjudged, "windows": picture.windows,
        "unknown": picture.unknown,
    }  # fmt: skip


def list_releases(
    reader: TextReader, namespaces: Iterable[str] = ()
) -> tuple[list[Json], list[str]]:
    """Return each pipeline of the cluster with its namespace, phase and weights, and what could not be read.

    ClusterError when the API server does not answer at all.
    """
    reader.get("/version")
    picture = _Picture(reader, datetime.now(UTC))
    found: list[Json] = []
    for names in _pipelines(picture, tuple(namespaces)):
        told: Json = {"pipeline": names.pipeline, "namespace": names.namespace}
        with picture.part(f"releases of {names.namespace}/{names.pipeline}"):
            told |= _releases(picture, names)[names.pipeline]
        found.append(told)
    return found, picture.unknown


def explain_loop(reader: TextReader, names: Names) -> Json:
    """Return what the decision says that the loop waits for (its `GET /why`), `windows`, the open window of
    each detector, `holds`, what waits for a person, `rollout`, what a stage waits for, and `unknown`. ClusterError
    when the decision can't be asked."""
    picture = _Picture(reader, datetime.now(UTC))
    text = ask_service(picture.reader, names, names.decision, "why")
    if text is None:
        raise ClusterError(f"Service {names.namespace}/{names.decision} does not exist")
    with picture.part(f"open windows of {names.namespace}/{names.pipeline}"):
        _verdicts(picture, names)
    holds: list[str] = []
    with picture.part(f"what waits for a person in {names.namespace}/{names.pipeline}"):
        workflows = f"/apis/argoproj.io/v1alpha1/namespaces/{names.namespace}/workflows"
        holds = [
            hold.text
            for workflow in picture.list(workflows)
            if find_pipeline(workflow) == names.pipeline
            for hold in list_holds(workflow)
        ]
    rollout = ""
    with picture.part(f"the rollout of {names.namespace}/{names.pipeline}"):
        release = _releases(picture, names)[names.pipeline]
        waits = read_analysis(reader, names, release).get("waits")
        rollout = describe_rollout(release, waits) if waits else ""
    said: Json = parse_json(text, label="the decision's answer")
    return said | {
        "windows": picture.windows, "holds": holds, "rollout": rollout, "unknown": picture.unknown,
    }  # fmt: skip


def _gateway(picture: _Picture) -> str | None:
    """Return the gateway's address: the load balancer's, or the one inside the cluster."""
    service = picture.reader.get("/api/v1/namespaces/istio-system/services/istio-ingressgateway")
    if service is None:
        picture.unknown.append(
            "the gateway: Service istio-system/istio-ingressgateway does not exist"
        )
        return None
    balanced = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or []
    if balanced:
        return f"http://{balanced[0].get('ip') or balanced[0].get('hostname')}"
    return f"http://{service['spec'].get('clusterIP')} (inside the cluster)"


def _full(picture: _Picture) -> Iterator[str]:
    """Nodes that run out of disk; pods are evicted there."""
    for node in picture.list("/api/v1/nodes"):
        for condition in node.get("status", {}).get("conditions") or []:
            if condition["type"] == "DiskPressure" and condition["status"] == "True":
                yield f"node {node['metadata']['name']}: {condition.get('message', 'DiskPressure')}"


def _pipelines(picture: _Picture, wanted: tuple[str, ...]) -> Iterator[Names]:
    """Namespaces of ours that hold a pipeline, or those asked for."""
    homes: list[Json] = []
    with picture.part("pipelines"):
        if wanted:
            each = (picture.reader.get(f"/api/v1/namespaces/{name}") for name in wanted)
            homes = [home for home in each if home is not None]
        else:
            homes = picture.list(f"/api/v1/namespaces?{OWN_SELECTOR}")
    for home in homes:
        name = home["metadata"]["name"]
        pipeline = (home["metadata"].get("labels") or {}).get(NAME_LABEL)
        if pipeline:
            yield Names(pipeline, name)
        else:
            picture.unknown.append(f"{name}: it has settings, but no pipeline yet")
    for name in set(wanted) - {home["metadata"]["name"] for home in homes}:
        picture.unknown.append(f"namespace {name} does not exist")


def _releases(picture: _Picture, names: Names) -> Json:
    """Phase and weights, from what routes the requests."""
    base = f"namespaces/{names.namespace}"
    deployed = picture.reader.get(
        f"/apis/machinelearning.seldon.io/v1/{base}/seldondeployments/{names.pipeline}"
    )
    shares: dict[str, int] = {}
    mirror: str | None = None
    if deployed is not None:
        for predictor in deployed["spec"]["predictors"]:
            if predictor.get("shadow"):  # committed by a version before this VirtualService
                mirror = predictor["name"]
            elif predictor.get("traffic"):
                shares[predictor["name"]] = predictor["traffic"]
        routing = names.mirror
    else:
        routing = names.pipeline
    route = picture.reader.get(f"/apis/networking.istio.io/v1/{base}/virtualservices/{routing}")
    for http in (route or {"spec": {"http": []}})["spec"]["http"]:
        if deployed is None:
            for to in http.get("route") or ():
                shares[_predictor(names, to["destination"])] = to.get("weight", 100)
        mirror = _predictor(names, http["mirror"]) if http.get("mirror") else mirror
    production, *more = [*shares, None]
    candidate = mirror or next(iter(more), None)
    phase = (
        "empty"
        if production is None
        else "shadow"
        if mirror
        else "canary"
        if candidate
        else "stable"
    )
    told = {"phase": phase, "production": production, "candidate": candidate, "weights": shares}
    return {names.pipeline: told}


def _predictor(names: Names, destination: Json) -> str:
    return str(destination["host"]).partition(".")[0].removeprefix(f"{names.pipeline}-")


def _pods(picture: _Picture, names: Names) -> Iterator[Json]:
    """Every pod that is to stay, in the shape of a local process."""
    for pod in picture.list(
        f"/api/v1/namespaces/{names.namespace}/pods?labelSelector=%21{WORKFLOW_LABEL}"
    ):
        status = pod.get("status", {})
        containers = [
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ]
        ended = [
            c["lastState"]["terminated"]
            for c in containers
            if (c.get("lastState") or {}).get("terminated")
        ]
        yield {
            "name": f"{names.namespace}/{pod['metadata']['name']}",
            "pid": None,
            "phase": _phase(pod, containers),
            "uptime": _age(picture.now, status.get("startTime")),
            "restarts": sum(container.get("restartCount", 0) for container in containers),
            "lastExit": f"{ended[-1].get('reason', '')} ({ended[-1].get('exitCode')})"
            if ended
            else None,
            "log": None,
            "memory": None,
        }


def _phase(pod: Json, containers: list[Json]) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "stopping"
    conditions = pod.get("status", {}).get("conditions") or []
    if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
        return "ready"
    waiting = [
        c["state"]["waiting"].get("reason")
        for c in containers
        if (c.get("state") or {}).get("waiting")
    ]
    # a pod with init containers has its other ones waiting: the first says why
    told = next(
        (
            reason
            for reason in waiting
            if reason not in (None, "PodInitializing", "ContainerCreating")
        ),
        None,
    )
    unscheduled = next(
        (c for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), None
    )
    return str(told or (unscheduled or {}).get("reason") or "starting")


def _runs(picture: _Picture, names: Names) -> Json:
    """The last Workflow of each template."""
    runs: dict[str, Json] = {}
    for run in picture.list(f"/apis/argoproj.io/v1alpha1/namespaces/{names.namespace}/workflows"):
        status = run.get("status") or {}
        template = (run["spec"].get("workflowTemplateRef") or {}).get("name") or run["metadata"][
            "name"
        ]
        key = f"{names.namespace}/{template}"
        told = {
            "name": run["metadata"]["name"],
            "phase": status.get("phase") or "Pending",
            "startedAt": status.get("startedAt"),
            "finishedAt": status.get("finishedAt"),
            "message": clean_reason(status.get("message", "")),
            **describe_end(run),
            **describe_hold(run),
            **describe_steps(run),
        }
        if key not in runs or _rank_run(told) > _rank_run(runs[key]):
            runs[key] = told
    return runs


def _rank_run(run: Json) -> tuple[bool, str]:
    """Order runs by what is to be seen: one that waits for a person, then the newest; one that has not begun is
    that."""
    return ("hold" in run, run["startedAt"] or "~")


def _decisions(picture: _Picture, names: Names) -> Json:
    text = ask_service(picture.reader, names, names.decision, "state")
    if text is None:
        picture.unknown.append(
            f"decision of {names.namespace}/{names.pipeline}: the Service does not exist"
        )
        return {}
    key = f"{names.namespace}.{names.pipeline}"
    try:
        state = RetrainState.parse(text)
    except DecisionError as error:
        picture.unknown.append(f"decision of {key}: {error.message}")
        return {}
    explained = explain_state(state, names.pipeline, picture.now.timestamp())
    picture.loops[key] = explained.summary
    with picture.part(f"tracking of {key}"):
        _read_tracking(picture, names, key)
    with picture.part(f"files of labels of {key}"):
        _read_inbox(picture, names, key)
    return {key: state.phase}


def _read_tracking(picture: _Picture, names: Names, key: str) -> None:
    """Read how far a tracking server has been told; nothing for a pipeline that has none."""
    text = ask_service(picture.reader, names, names.decision, "tracking")
    said = parse_json(text, label="the decision's answer") if text else None
    if said is not None:
        picture.tracking[key] = said


def _read_inbox(picture: _Picture, names: Names, key: str) -> None:
    """Read which files of labels wait and were refused; nothing for a pipeline that reads none."""
    text = ask_service(picture.reader, names, names.decision, "labels")
    said = parse_json(text, label="the decision's answer") if text else None
    if said is not None:
        picture.inboxes[key] = said


def _verdicts(picture: _Picture, names: Names) -> Json:
    """Return the last verdict of each detector; detectors without a verdict are left out.

    What a detector has not judged goes into the picture beside it.
    """
    verdicts: Json = {}
    deployments = picture.list(
        f"/apis/apps/v1/namespaces/{names.namespace}/deployments?{OWN_SELECTOR}"
    )
    for deployment in deployments:
        component = (deployment["metadata"].get("labels") or {}).get(COMPONENT_LABEL, "")
        args = deployment["spec"]["template"]["spec"]["containers"][0].get("args") or []
        if component == "decision" and (unfitted := describe_unfitted(deployment)):
            picture.unfitted[names.pipeline] = unfitted
        if "--detector" not in args or "--release" not in args:
            continue
        with picture.part(f"verdict of {names.namespace}/{deployment['metadata']['name']}"):
            service = names.detector(component)
            text = ask_service(picture.reader, names, service, "metrics") or ""
            samples = tuple(read_samples(text))
            shown = _gauges(samples)
            key = f"{names.namespace}/{names.pipeline}/{component}"
            release = args[args.index("--release") + 1]
            if (unjudged := _read_unjudged(samples)) is not None:
                picture.unjudged[key] = unjudged
            if shown.get("driftloop_detector_window"):
                verdicts[key] = {
                    "release": release,
                    "window": int(shown["driftloop_detector_window"]),
                    "size": None,
                    "alarm": bool(shown.get("driftloop_detector_alarm")),
                    "score": shown.get("driftloop_detector_score"),
                    "threshold": shown.get("driftloop_detector_threshold"),
                    "time": _format_time(shown.get("driftloop_detector_verdict_time_seconds")),
                    "changes": _list_changed(samples),
                    "lasting": _describe_lasting(shown),
                    "failure": FAILED if shown.get("driftloop_detector_failed") else "",
                    "quality": describe_quality(samples),
                }
            if (window := _read_window(picture, names, service)) is not None:
                picture.windows[key] = window
    return verdicts


def _describe_lasting(shown: Mapping[str, float]) -> str:
    """Say over how many windows a change lasts; empty without one."""
    windows = int(shown.get("driftloop_detector_lasting_windows", 0))
    return f"over {windows} windows" if windows else ""


def _read_window(picture: _Picture, names: Names, service: str) -> Json | None:
    """Return the window that a detector has open; None from one of an earlier version."""
    text = ask_service(picture.reader, names, service, "window")
    if text is None:
        return None
    try:
        return to_json(OpenWindow.read(parse_json(text, label="the open window")))
    except DocumentError as error:
        raise ClusterError(error.message) from error


def _read_unjudged(samples: Sequence["Sample"]) -> Json | None:
    """Return the windows that a detector has not judged, of the release that it was last about."""
    times = [
        (sample.value, sample.labels)
        for sample in samples
        if sample.name == "driftloop_detector_not_judged_time_seconds"
    ]
    if not times:
        return None
    seconds, labels = max(times, key=lambda item: item[0])
    rejected = {
        sample.labels["reason"]: int(sample.value)
        for sample in samples
        if sample.name == "driftloop_detector_rejected_rows"
    }
    own = labels["requests"] == labels["reference"]
    read: Json = {}
    if own and rejected:
        reason = max(rejected, key=lambda name: rejected[name])
        read = {"rows": sum(rejected.values()), "reason": reason}
    return {
        "release": labels["requests"],
        "reference": labels["reference"],
        "windows": int(_gauges(samples).get("driftloop_detector_windows_not_judged_total", 0)),
        "time": _format_time(seconds),
        **read,
    }


def _list_changed(samples: Sequence["Sample"]) -> str:
    """Return the names of the columns that have changed by the last verdict, the most certain first."""
    shown = _gauges(samples)
    if not shown.get("driftloop_detector_columns_changed"):
        return ""
    scores = {
        sample.labels["column"]: sample.value
        for sample in samples
        if sample.name == "driftloop_detector_column_score"
    }
    return ", ".join(sorted(scores, key=lambda column: -scores[column]))


def _format_time(seconds: float | None) -> str | None:
    """Return a time as RFC 3339 writes it; None for a detector that does not tell."""
    if not seconds:
        return None
    return format_time(datetime.fromtimestamp(seconds, UTC))


def _gauges(samples: Sequence["Sample"]) -> dict[str, float]:
    return {sample.name: sample.value for sample in samples if not sample.labels}


_PARTS: dict[str, Callable[[_Picture, Names], Json]] = {
    "releases": _releases,
    "runs": _runs,
    "decisions": _decisions,
    "verdicts": _verdicts,
}


def _age(now: datetime, since: str | None) -> float:
    return (now - datetime.fromisoformat(since)).total_seconds() if since else 0.0
