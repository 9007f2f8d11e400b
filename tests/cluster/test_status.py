"""`driftloop status --cluster`, against an API that answers as a real one does; its objects are rendered ones."""

import inspect
import json
import re
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

import pytest
import yaml
from click.testing import CliRunner

from driftloop.cli.root import root
from driftloop.cluster import status
from driftloop.cluster.reader import ClusterError, ForbiddenError
from driftloop.contract.inboxes import InboxStatus
from driftloop.contract.integrity import describe_mismatch
from driftloop.contract.names import Names
from driftloop.local.up.supervisor import Supervisor
from driftloop.release.judgement import Answers as Answered
from driftloop.release.judgement import Measured, StageTraffic
from driftloop.retrain.state import RetrainState
from tests.golden.trees import UNLISTED, documents, release_text, tree

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
COMMIT, OLDER = "4f1c" * 10, "77ab" * 10

PLURALS = {
    "VirtualService": "virtualservices",
    "SeldonDeployment": "seldondeployments",
    "Deployment": "deployments",
}

METRICS = """\
# HELP driftloop_detector_windows_total Windows judged
# TYPE driftloop_detector_windows_total counter
driftloop_detector_windows_total{alarm="true"} 2.0
# HELP driftloop_detector_window Number of the last window of this release
# TYPE driftloop_detector_window gauge
driftloop_detector_window 7.0
# HELP driftloop_detector_alarm 1 when the last window alarmed
# TYPE driftloop_detector_alarm gauge
driftloop_detector_alarm 1.0
# HELP driftloop_detector_score Score of the last window
# TYPE driftloop_detector_score gauge
driftloop_detector_score 1.5e-09
# HELP driftloop_detector_threshold Threshold of the last window
# TYPE driftloop_detector_threshold gauge
driftloop_detector_threshold 0.00015625
# HELP driftloop_detector_verdict_time_seconds Time of the last verdict
# TYPE driftloop_detector_verdict_time_seconds gauge
driftloop_detector_verdict_time_seconds 1.7698518e+09
"""
OPEN_WINDOW = {
    "release": "rd0a85823",
    "window": 8,
    "rows": 37,
    "full": 500,
    "least": 100,
    "repeated": 2,
    "since": "2026-01-31T09:30:00Z",
    "due": "2026-01-31T15:30:00Z",
    "budget": {"month": 1.0, "traffic": 1.0, "assumed": True, "measured": 40.0, "expected": 40.0},
    "order": "training rows as alike in order as at random",
    "together": {"window": 8, "windows": 4, "known": 3},
}


class Answers:
    """A cluster that holds these paths and nothing else; a path may also be forbidden or not answer."""

    def __init__(self, paths, forbidden=(), silent=()):
        self.paths, self.forbidden, self.silent = paths, forbidden, silent

    def text(self, path):
        if any(one in path for one in self.forbidden):
            raise ForbiddenError(f"{path}: Forbidden")
        if any(one in path for one in self.silent):
            raise ClusterError(f"{path} answered 503 Service Unavailable")
        return self.paths.get(path)

    def get(self, path):
        body = self.text(path)
        return None if body is None else json.loads(body)


def pod(name, namespace, *, ready=True, restarts=0, waiting=None, last=None, conditions=()):
    """As `kubectl get pod -o json` shows it, shortened."""
    state = (
        {"waiting": {"reason": waiting}}
        if waiting
        else {"running": {"startedAt": "2026-11-21T11:00:05Z"}}
    )
    return {
        "metadata": {"name": name, "namespace": namespace},
        "status": {
            "phase": "Running",
            "startTime": "2026-11-21T11:00:00Z",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}, *conditions],
            "containerStatuses": [
                {
                    "name": "model", "ready": ready, "restartCount": restarts, "state": state,
                    "lastState": {"terminated": last} if last else {},
                }
            ],
        },
    }  # fmt: skip


def workflow(name, template, started=None, phase="Succeeded"):
    return {
        "metadata": {"name": name, "namespace": "x"},
        "spec": {"workflowTemplateRef": {"name": template}, "arguments": {}},
        "status": {"phase": phase, "startedAt": started, "finishedAt": None, "progress": "3/3"}
        if started
        else {},
    }


def kustomization(
    name,
    applied,
    ready="True",
    reason="ReconciliationSucceeded",
    message="Applied revision",
    source="flux-system",
):
    ours = name.rpartition("-")[2] in ("workflows", "deployments", "monitors")
    labels = {"app.kubernetes.io/managed-by": "driftloop"} if ours else {}
    return {
        "metadata": {"name": name, "namespace": "flux-system", "generation": 1, "labels": labels},
        "spec": {
            "interval": "1m",
            "path": f"./{name}",
            "sourceRef": {"kind": "GitRepository", "name": source},
        },
        "status": {
            "observedGeneration": 1,
            "lastAppliedRevision": f"main@sha1:{applied}",
            "conditions": [
                {"type": "Ready", "status": ready, "reason": reason, "message": message}
            ],
        },
    }


def cluster(golden, **changes):
    """Path -> body of a cluster that runs a golden pipeline."""
    objects = [
        document for path, document in documents(tree(golden)) if not path.endswith(UNLISTED)
    ]
    # the pipeline's first tree names it, too, and leaves it as it is
    home = next(
        item
        for item in objects
        if item["kind"] == "Namespace" and "annotations" not in item["metadata"]
    )
    name, pipeline = home["metadata"]["name"], home["metadata"]["labels"]["app.kubernetes.io/name"]
    found = {
        "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.4"},
        "/api/v1/namespaces?labelSelector=app.kubernetes.io/managed-by%3Ddriftloop": {
            "items": [home]
        },
        f"/api/v1/namespaces/{name}": home,
        "/api/v1/namespaces/istio-system/services/istio-ingressgateway": {
            "metadata": {"name": "istio-ingressgateway"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.7.7"},
            "status": {"loadBalancer": {"ingress": [{"ip": "172.18.0.5"}]}},
        },
        "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/flux-system": {
            "metadata": {"name": "flux-system"},
            "status": {"artifact": {"revision": f"main@sha1:{COMMIT}"}},
        },
        "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations": {
            "items": [
                kustomization(f"{pipeline}-{tree}", COMMIT)
                for tree in ("workflows", "deployments", "monitors")
            ]
        },
        f"/api/v1/namespaces/{name}/pods?labelSelector=%21workflows.argoproj.io/workflow": {
            "items": [pod(f"{pipeline}-decision-7c9-x2x", name)]
        },
        f"/apis/argoproj.io/v1alpha1/namespaces/{name}/workflows": {
            "items": [
                workflow(f"{pipeline}-bbb", f"{pipeline}-train", "2026-11-21T11:30:00Z", "Running"),
                workflow(f"{pipeline}-aaa", f"{pipeline}-train", "2026-11-21T10:00:00Z"),
                workflow(
                    f"{pipeline}-release-r1",
                    f"{pipeline}-release",
                    "2026-11-21T10:10:00Z",
                    "Failed",
                ),
            ]
        },
        f"/apis/apps/v1/namespaces/{name}/deployments?labelSelector=app.kubernetes.io/managed-by%3Ddriftloop": {
            "items": [item for item in objects if item["kind"] == "Deployment"]
        },
        f"/api/v1/namespaces/{name}/services/{pipeline}-decision:8080/proxy/state": {
            **RetrainState(f"{name}.{pipeline}", run=f"{pipeline}-1", cause="schedule").to_json(),
            "phase": "rolling-out",
        },
    }
    for item in objects:
        if item["kind"] in PLURALS:
            path = f"/apis/{item['apiVersion']}/namespaces/{name}/{PLURALS[item['kind']]}/{item['metadata']['name']}"
            found[path] = item
    bodies = {
        path: json.dumps(body) for path, body in (found | changes).items() if body is not None
    }
    for detector in ("drift", "outlier"):
        bodies[f"/api/v1/namespaces/{name}/services/{pipeline}-{detector}:8080/proxy/metrics"] = (
            METRICS
        )
    return bodies


def overview(paths, **options):
    return status.overview(Answers(paths, **options), where="https://127.0.0.1:6443", now=NOW)


def test_the_shape_is_the_local_one():
    local = set(
        re.findall(
            r'^            "(\w+)":', inspect.getsource(Supervisor.build_status), re.MULTILINE
        )
    )
    assert {"tip", "processes", "verdicts"} <= local
    found = overview(cluster("digits-released"))
    added = {"memory", "releases", "gateway", "unknown", "windows", "tracking", "inboxes"}
    assert set(found) == local | added
    (process,) = found["processes"]
    named = set(
        re.findall(
            r'^                    "(\w+)":',
            inspect.getsource(Supervisor.build_status),
            re.MULTILINE,
        )
    )
    assert set(process) == named | {"memory"}


@pytest.mark.parametrize(
    "golden", ["minimal", "digits-released", "shadow", "canary", "plain", "plain-shadow", "standby"]
)
def test_a_release_is_read_from_what_routes_the_requests(golden):
    """With either back end, the same as release.yaml says."""
    found = overview(cluster(golden))
    assert found["unknown"] == []
    (release,) = found["releases"].values()
    text = release_text(golden)
    if text is None:
        assert release == {"phase": "empty", "production": None, "candidate": None, "weights": {}}
        return
    wanted = yaml.safe_load(text)["spec"]
    assert release == {
        "phase": wanted["phase"],
        "production": wanted["production"]["id"],
        "candidate": (wanted["candidate"] or {}).get("id"),
        "weights": wanted["weights"],
    }


def test_what_the_stage_of_a_rollout_waits_for_is_asked_of_its_analysis():
    (name,) = overview(cluster("shadow"))["releases"]
    release = yaml.safe_load(release_text("shadow"))["spec"]
    pair = {side: release[side]["id"] for side in ("production", "candidate")}
    answered = Answered(20, 0, {0.25: 20, float("inf"): 20})
    last = Measured(61.0, answered, answered, asked=StageTraffic(500, 600.0, 500)).to_json()
    judge = f"/api/v1/namespaces/{name}/services/{name}-judge:8080/proxy/judgement"
    paths = cluster("shadow", **{f"{judge}?{urlencode(pair)}": {"now": 1.0, "last": last}})
    found = overview(paths)
    waits = "20 of 500 requests; 0 of 500 answers to compare; 61 of 600 s"
    assert found["releases"][name]["waits"] == waits
    assert found["releases"][name]["measured"] == "20 requests, error rate 0.00%, p99 248 ms"
    why = f"/api/v1/namespaces/{name}/services/{name}-decision:8080/proxy/why"
    said = status.explain_loop(Answers(paths | {why: json.dumps(WHY)}), Names(name, name))
    assert said["rollout"] == f"shadow of {pair['candidate']} waits for more: {waits}"
    broken = overview(cluster("shadow", **{f"{judge}?{urlencode(pair)}": {"now": 1.0, "last": {}}}))
    assert "waits" not in broken["releases"][name]


def test_what_production_lacks_of_its_monitors_is_told():
    answers = cluster("digits-released")
    path = next(path for path in answers if "/namespaces/digits/deployments?" in path)
    listed = json.loads(answers[path])
    (decision,) = (
        item for item in listed["items"] if item["metadata"]["name"] == "digits-decision"
    )
    args = decision["spec"]["template"]["spec"]["containers"][0]["args"]
    place = args.index("--policy") + 1
    lacks = {"drift": "outdated", "outlier": "missing"}
    args[place] = json.dumps(json.loads(args[place]) | {"unfitted": lacks})
    answers[path] = json.dumps(listed)
    words = "production has no detector of `outlier` and has one of `drift` that was fitted with other settings"
    assert overview(answers)["releases"]["digits"]["unfitted"] == words


def test_verdicts_decision_and_runs():
    found = overview(cluster("digits-released"))
    release = found["releases"]["digits"]["production"]
    verdict = {
        "window": 7,
        "size": None,
        "alarm": True,
        "score": 1.5e-09,
        "threshold": 0.00015625,
        "time": "2026-01-31T09:30:00Z",
        "changes": "",
        "lasting": "",
        "failure": "",
        "quality": "",
        "release": release,
    }
    assert found["verdicts"] == {"digits/digits/drift": verdict, "digits/digits/outlier": verdict}
    assert found["decisions"] == {"digits.digits": "rolling-out"}
    runs = {key: (run["name"], run["phase"]) for key, run in found["runs"].items()}
    assert runs == {
        "digits/digits-train": ("digits-bbb", "Running"),
        "digits/digits-release": ("digits-release-r1", "Failed"),
    }


def test_a_recorder_that_writes_nothing_is_told():
    paths = cluster("capture")
    state = "/api/v1/namespaces/capture/services/capture-recorder:8080/proxy/state"
    well = {"waiting": 3, "trouble": None}
    assert overview(paths | {state: json.dumps(well)})["blind"] == []
    trouble = {"since": "2026-11-21T11:00:00Z", "why": "no answer from S3"}
    found = overview(paths | {state: json.dumps({"waiting": 70, "trouble": trouble})})
    assert found["blind"] == [
        "since 2026-11-21T11:00:00Z: capture: its traffic is not written, 70 events wait: no answer from S3"
    ]
    silent = overview(paths, silent=[state])
    assert any("the recorder of capture/capture" in line for line in silent["unknown"])


def test_windows_of_another_release_than_the_references_are_shown_as_not_judged():
    paths = cluster("digits-released")
    paths["/api/v1/namespaces/digits/services/digits-drift:8080/proxy/metrics"] = METRICS + (
        "# HELP driftloop_detector_windows_not_judged_total Windows\n"
        "# TYPE driftloop_detector_windows_not_judged_total counter\n"
        "driftloop_detector_windows_not_judged_total 3.0\n"
        "# HELP driftloop_detector_not_judged_time_seconds Time of the last\n"
        "# TYPE driftloop_detector_not_judged_time_seconds gauge\n"
        'driftloop_detector_not_judged_time_seconds{reference="r2",requests="r0"} 1.7698517e+09\n'
        'driftloop_detector_not_judged_time_seconds{reference="r2",requests="r1"} 1.7698518e+09\n'
    )
    assert overview(paths)["unjudged"] == {
        "digits/digits/drift": {
            "release": "r1", "reference": "r2", "windows": 3, "time": "2026-01-31T09:30:00Z"
        }
    }  # fmt: skip


def test_rows_that_can_not_be_read_and_columns_that_changed_are_shown():
    paths = cluster("digits-released")
    paths["/api/v1/namespaces/digits/services/digits-drift:8080/proxy/metrics"] = METRICS + (
        'driftloop_detector_not_judged_time_seconds{reference="r1",requests="r1"} 1.7698518e+09\n'
        'driftloop_detector_rejected_rows{reason="a"} 3.0\n'
        'driftloop_detector_rejected_rows{reason="b"} 4.0\n'
        "driftloop_detector_columns_changed 2.0\n"
        'driftloop_detector_column_score{column="carrier"} 3.0\n'
        'driftloop_detector_column_score{column="delay"} 33.0\n'
    )
    found = overview(paths)
    assert found["verdicts"]["digits/digits/drift"]["changes"] == "delay, carrier"
    unjudged = found["unjudged"]["digits/digits/drift"]
    assert (unjudged["rows"], unjudged["reason"]) == (7, "b")


WINDOW_PATH = "/api/v1/namespaces/digits/services/digits-drift:8080/proxy/window"


def test_an_open_window_is_shown_as_its_detector_says_it():
    found = overview(cluster("digits-released", **{WINDOW_PATH: OPEN_WINDOW}))
    assert found["windows"] == {"digits/digits/drift": OPEN_WINDOW}


def test_a_window_that_can_not_be_read_hides_no_verdict():
    found = overview(cluster("digits-released", **{WINDOW_PATH: {**OPEN_WINDOW, "rows": "many"}}))
    assert found["windows"] == {}
    assert "digits/digits/drift" in found["verdicts"]
    (line,) = found["unknown"]
    assert line == (
        'verdict of digits/digits-drift: the open window: `rows` is `"many"`, must be a number of rows'
    )


def test_a_detector_that_has_judged_nothing_yet_has_no_verdict():
    paths = cluster("digits-released")
    silent = re.sub(r"(?m)^(driftloop_detector_\w+) .*$", r"\1 0.0", METRICS)
    paths["/api/v1/namespaces/digits/services/digits-drift:8080/proxy/metrics"] = silent
    assert set(overview(paths)["verdicts"]) == {"digits/digits/outlier"}


def test_flux_is_behind_refuses_and_waits():
    path = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations"
    refused = kustomization(
        "digits-deployments", OLDER, "False", "HealthCheckFailed", "Deployment digits-r1 timed out"
    )
    waits = kustomization(
        "digits-monitors", OLDER, "False", "DependencyNotReady", "digits-deployments is not ready"
    )
    off = kustomization("digits-workflows", COMMIT)
    off["spec"]["suspend"] = True
    found = overview(cluster("digits-released", **{path: {"items": [refused, waits, off]}}))
    assert (found["tip"], found["applied"]) == (COMMIT, OLDER)
    assert found["refused"] == "digits-deployments: Deployment digits-r1 timed out"
    assert found["waiting"] == [
        "digits-monitors: digits-deployments is not ready",
        "digits-workflows is suspended",
    ]


def test_the_commits_of_other_projects_are_not_ours():
    path = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations"
    ours = kustomization("infra-base", COMMIT)
    theirs = kustomization("argo-events", OLDER, source="argo-events")
    document = overview(cluster("digits-released", **{path: {"items": [theirs, ours]}}))
    assert (document["tip"], document["applied"]) == (COMMIT, COMMIT)
    assert document["waiting"] == []


def test_the_source_is_the_one_that_pipelines_name():
    base = "/apis/kustomize.toolkit.fluxcd.io/v1"
    ours = kustomization("digits-workflows", OLDER, source="fleet")
    ours["metadata"]["namespace"] = "team-fraud"
    found = {
        f"{base}/kustomizations?labelSelector=app.kubernetes.io/managed-by%3Ddriftloop": {
            "items": [ours]
        },
        f"{base}/namespaces/flux-system/kustomizations": {"items": []},
        f"{base}/namespaces/team-fraud/kustomizations": {"items": [ours]},
        "/apis/source.toolkit.fluxcd.io/v1/namespaces/team-fraud/gitrepositories/fleet": {
            "status": {"artifact": {"revision": f"main@sha1:{COMMIT}"}}
        },
    }
    document = overview(cluster("digits-released", **found))
    assert (document["tip"], document["applied"]) == (COMMIT, OLDER)


def test_while_the_platform_comes_up_flux_says_what_waits_for_what():
    path = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations"
    releases = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/flux-system/helmreleases"
    stage = kustomization(
        "infra-configs", None, "False", "DependencyNotReady", "infra-controllers is not ready"
    )
    stage["status"].pop("lastAppliedRevision")
    theirs = kustomization(
        "argo-workflows", OLDER, "Unknown", "Progressing", "Running", "argo-workflows"
    )
    chart = {
        "metadata": {"name": "nats", "namespace": "flux-system"},
        "spec": {"chart": {"spec": {"chart": "nats"}}},
        "status": {
            "conditions": [
                {
                    "type": "Ready",
                    "status": "Unknown",
                    "reason": "Progressing",
                    "message": "install",
                }
            ]
        },
    }
    document = overview(
        cluster(
            "digits-released", **{path: {"items": [stage, theirs]}, releases: {"items": [chart]}}
        )
    )
    assert document["waiting"] == [
        "argo-workflows: Running",
        "infra-configs: infra-controllers is not ready",
        "nats: install",
    ]


def test_a_pod_that_no_node_has_room_for_is_told_with_the_sum():
    def asks(name, cpu, memory, *conditions, node=None):
        requests = {"resources": {"requests": {"cpu": cpu, "memory": memory}}}
        item = pod(name, "digits", conditions=conditions)
        item["spec"] = {"containers": [requests], **({"nodeName": node} if node else {})}
        return item

    unplaced = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
    }
    waits = asks("digits-r2", "150m", "400Mi", unplaced)
    others = [asks("a", "1", "1Gi", node="n"), asks("b", "950m", "512Mi", node="n")]
    node = {
        "metadata": {"name": "n"},
        "status": {"allocatable": {"cpu": "2", "memory": "4000000Ki"}},
    }
    document = overview(
        cluster(
            "digits-released",
            **{
                "/api/v1/namespaces/digits/pods": {"items": [waits]},
                "/api/v1/pods": {"items": [waits, *others]},
                "/api/v1/nodes": {"items": [node]},
            },
        )
    )
    assert document["waiting"] == [
        "Pod digits/digits-r2 can't be placed: 0/1 nodes are available: 1 Insufficient cpu. It "
        "requests 150m CPU and 400Mi; of the nodes' 2000m CPU and 3906Mi other pods request 1950m "
        "CPU and 1536Mi"
    ]


def test_a_pod_of_a_run_whose_image_no_registry_gives_is_named():
    step = pod("digits-9a8b-train-1", "digits", ready=False, waiting="ImagePullBackOff")
    step["status"]["containerStatuses"][0]["image"] = "registry.acme.test/trainer:1.0.0"
    step["status"]["containerStatuses"][0]["state"]["waiting"]["message"] = "401 Unauthorized"
    pods = {"/api/v1/namespaces/digits/pods": {"items": [step]}}
    assert overview(cluster("digits-released", **pods))["waiting"] == [
        "container model of Pod digits/digits-9a8b-train-1 does not get registry.acme.test/trainer:1.0.0: 401 Unauthorized"
    ]


def test_pods_say_what_keeps_them():
    path = "/api/v1/namespaces/digits/pods?labelSelector=%21workflows.argoproj.io/workflow"
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    crashed = {"exitCode": 137, "reason": "OOMKilled"}
    gone = pod("e", "digits")
    gone["metadata"]["deletionTimestamp"] = "2026-11-21T11:59:00Z"
    pods = [
        pod("a", "digits"),
        pod("b", "digits", ready=False, restarts=4, waiting="CrashLoopBackOff", last=crashed),
        pod("c", "digits", ready=False, waiting="ContainerCreating"),
        pod("d", "digits", ready=False, conditions=[unscheduled]),
        gone,
    ]
    found = overview(cluster("digits-released", **{path: {"items": pods}}))["processes"]
    assert [one["phase"] for one in found] == [
        "ready",
        "CrashLoopBackOff",
        "starting",
        "Unschedulable",
        "stopping",
    ]
    assert (found[1]["restarts"], found[1]["lastExit"]) == (4, "OOMKilled (137)")
    assert found[0]["uptime"] == 3600


def test_pods_that_refuse_their_files_are_told():
    words = f"error: {describe_mismatch('s3://b/runs/a/release/model', 'sha256:' + 'a' * 64, 'sha256:' + 'b' * 64)}\n"
    last = {"exitCode": 1, "reason": "Error", "message": words + "hint: somebody changed it"}
    pods = [pod("a", "digits", ready=False, waiting="CrashLoopBackOff", last=last)]
    path = "/api/v1/namespaces/digits/pods"
    found = overview(cluster("digits-released", **{path: {"items": pods}}))
    assert found["altered"] == [f"digits/a: {words.strip().removeprefix('error: ')}"]


def test_what_can_t_be_read_is_said_and_the_rest_goes_on():
    found = overview(
        cluster("digits-released"),
        silent=["digits-decision"],
        forbidden=["workflows?", "/workflows"],
    )
    assert found["releases"]["digits"]["phase"] == "stable"
    decision, runs = sorted(found["unknown"])
    assert "port-forward service/digits-decision 8080" in decision
    assert runs.startswith("runs of digits/digits: ")
    assert len(found["verdicts"]) == 2


def test_how_far_a_tracking_server_has_been_told_is_asked():
    path = "/api/v1/namespaces/digits/services/digits-decision:8080/proxy/tracking"
    told = {"server": "https://mlflow.example.org", "waiting": 1, "error": "away"}
    found = overview(cluster("digits-released", **{path: told}))
    assert found["tracking"] == {"digits.digits": told}
    assert overview(cluster("digits-released"))["tracking"] == {}


def test_files_of_labels_that_were_refused_are_asked_for():
    path = "/api/v1/namespaces/digits/services/digits-decision:8080/proxy/labels"
    told = {
        "waiting": 0,
        "refused": 1,
        "file": "labels/digits/refused/a.csv",
        "reason": "no column",
    }
    found = overview(cluster("digits-released", **{path: told}))
    assert found["inboxes"] == {"digits.digits": told}
    status_line = InboxStatus.read(found["inboxes"]["digits.digits"]).text
    assert status_line.startswith(
        "1 file of labels refused, the last one labels/digits/refused/a.csv"
    )


def test_a_node_without_disk_is_named():
    told = {"type": "DiskPressure", "status": "True", "message": "kubelet has disk pressure"}
    node = {
        "metadata": {"name": "n1"},
        "status": {"conditions": [told, {"type": "Ready", "status": "True"}]},
    }
    found = overview(cluster("digits-released", **{"/api/v1/nodes": {"items": [node]}}))
    assert found["disk"] == ["node n1: kubelet has disk pressure"]


def test_an_empty_cluster_and_one_that_does_not_answer():
    found = overview({"/version": "{}"})
    assert (found["applied"], found["releases"], found["processes"]) == (None, {}, [])
    assert found["unknown"] == [
        "the gateway: Service istio-system/istio-ingressgateway does not exist"
    ]
    with pytest.raises(ClusterError):
        overview({}, silent=["/version"])


def test_namespaces_that_are_asked_for():
    paths = cluster("digits-released")
    bare = {"metadata": {"name": "fresh", "labels": {"app.kubernetes.io/managed-by": "driftloop"}}}
    paths["/api/v1/namespaces/fresh"] = json.dumps(bare)
    answers = Answers(paths, forbidden=["namespaces?label"])
    found = status.overview(answers, where="x", namespaces=["digits", "fresh", "nowhere"], now=NOW)
    assert list(found["releases"]) == ["digits"]
    assert found["unknown"] == [
        "fresh: it has settings, but no pipeline yet",
        "namespace nowhere does not exist",
    ]


WHY = {
    "pipeline": "digits",
    "phase": "idle",
    "summary": "waits",
    "text": "waits for 2 alarms in a row of drift.",
}


@pytest.fixture
def kubeconfig(tmp_path):
    """An API server on the loopback that runs `digits-released`, and a kubeconfig for it."""
    services = "/api/v1/namespaces/digits/services"
    paths = cluster(
        "digits-released",
        **{f"{services}/digits-decision:8080/proxy/why": WHY, WINDOW_PATH: OPEN_WINDOW},
    )

    class Api(BaseHTTPRequestHandler):
        def do_GET(self):
            body = paths.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write((body or "{}").encode())

        def log_message(self, *args):
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(document))
    yield file
    server.shutdown()
    server.server_close()


def test_the_command(kubeconfig):
    done = CliRunner().invoke(root, ["status", "--cluster", "--kubeconfig", str(kubeconfig)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("state    http://127.0.0.1:")
    assert lines[1:3] == ["gateway  http://172.18.0.5", f"commit   {COMMIT[:12]} applied"]
    assert "release  digits: stable; production rd0a85823; weights rd0a85823 100%" in lines
    (decision,) = [line for line in lines if line.startswith("decision digits.digits: rolling-out")]
    assert (
        "run digits-1 is rolled out since 1970-01-01 00:00:00 UTC because of schedule" in decision
    )
    assert any(
        re.match(r"verdict  digits/digits/drift: ALARM, window 7 of rd0a85823, score 1\.5e-09", x)
        for x in lines
    )
    (window,) = [line for line in lines if line.startswith("window   digits/digits/drift: ")]
    assert "; training rows as alike in order as at random; windows 5-8 are judged" in window
    assert any(re.match(r"digits/digits-decision-7c9-x2x +- +ready", line) for line in lines)
    found = CliRunner().invoke(
        root, ["status", "--cluster", "--kubeconfig", str(kubeconfig), "--output", "json"]
    )
    assert json.loads(found.stdout)["applied"] == COMMIT


def test_the_command_of_one_pipeline(kubeconfig):
    asked = ["status", "--cluster", "--kubeconfig", str(kubeconfig)]
    every = json.loads(CliRunner().invoke(root, [*asked, "--output", "json"]).stdout)
    own = json.loads(CliRunner().invoke(root, [*asked, "digits", "--output", "json"]).stdout)
    for document in (every, own):
        for process in document["processes"]:
            process.pop("uptime")
    assert own == every
    other = CliRunner().invoke(root, [*asked, "digit"])
    assert other.exit_code == 1
    assert "has no pipeline `digit`, it has: digits" in str(other.exception)


def held(name, pipeline):
    """A Workflow that waits for a person."""
    given = {"run": name, "asks": "it becomes production", "approvers": "[]"}
    node = {
        "id": f"{name}-1",
        "type": "Suspend",
        "phase": "Running",
        "displayName": "approval",
        "startedAt": "2026-11-21T11:40:00Z",
        "inputs": {"parameters": [{"name": key, "value": each} for key, each in given.items()]},
    }
    made = workflow(name, f"{pipeline}-release", "2026-11-21T11:30:00Z", "Running")
    made["metadata"]["labels"] = {"app.kubernetes.io/name": pipeline}
    made["status"]["nodes"] = {node["id"]: node}
    return made


def test_why_names_what_waits_for_a_person_of_its_own_pipeline():
    workflows = "/apis/argoproj.io/v1alpha1/namespaces/digits/workflows"
    why = "/api/v1/namespaces/digits/services/digits-decision:8080/proxy/why"
    waiting = {"items": [held("digits-1", "digits"), held("shoes-1", "shoes")]}
    paths = cluster("digits-released", **{workflows: waiting, why: WHY})
    said = status.explain_loop(Answers(paths), Names("digits", "digits"))
    assert said["holds"] == [
        "digits-1 waits since 2026-11-21T11:40:00Z for the approval: it becomes production"
    ]


def test_why_shows_the_open_windows_of_a_cluster(kubeconfig):
    asked = ["why", "digits", "--cluster", "--kubeconfig", str(kubeconfig)]
    done = CliRunner().invoke(root, asked)
    assert done.exit_code == 0, done.output
    said, window = done.stdout.splitlines()
    assert said == "digits is idle: waits for 2 alarms in a row of drift."
    assert window.startswith("drift: window 8 of rd0a85823 is open, 37 of 500 rows")
    assert window.endswith(
        "; training rows as alike in order as at random; windows 5-8 are judged together when the last of them "
        "closes, 3 are counted; an alarm of them counts by itself"
    )
    found = json.loads(CliRunner().invoke(root, [*asked, "--output", "json"]).stdout)
    assert found == {**WHY, "windows": [window], "holds": [], "rollout": ""}
    gone = CliRunner().invoke(root, [*asked, "--namespace", "nowhere"])
    assert gone.exit_code == 1
    assert "Service nowhere/digits-decision does not exist" in str(gone.exception)


@pytest.mark.parametrize("command", [["status"], ["why", "digits"]])
def test_options_of_a_cluster_want_the_cluster(command, kubeconfig):
    done = CliRunner().invoke(root, [*command, "--kubeconfig", str(kubeconfig)])
    assert done.exit_code == 2
    assert "--cluster" in done.stderr
