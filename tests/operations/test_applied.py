import pytest

from driftloop.clients.kubernetes import KubernetesUnreachableError
from driftloop.contract.names import Names
from driftloop.errors import StepError
from driftloop.operations.commits import applied
from driftloop.operations.commits.applied import AppliedCommits
from driftloop.spec import load_spec
from driftloop.spec.graph import own_names
from tests.spec.specs import MINIMAL

OLD, COMMIT, NEWER = "a" * 40, "b" * 40, "c" * 40


class Api:
    """Answers as the Kubernetes API would."""

    def __init__(self, revision=None, ready="True", message="", deployments=None, pods=()):
        conditions = [{"type": "Ready", "status": ready, "message": message}]
        self.status = {"lastAppliedRevision": revision, "conditions": conditions}
        self.deployments = deployments or {}
        self.pods = pods

    def get_kustomization(self, namespace, name):
        assert (namespace, name) == ("flux-system", "digits-deployments")
        return None if self.status["lastAppliedRevision"] == "gone" else {"status": self.status}

    def get_deployment(self, namespace, name):
        assert namespace == "ml"
        return self.deployments.get(name)

    def list_pods(self, namespace):
        assert namespace == "ml"
        if isinstance(self.pods, Exception):
            raise self.pods
        return list(self.pods)


GRAPH = (
    "{type: transformer, name: scale, image: server, class: Scale, children: [{type: released}]}"
)
SPECS = {COMMIT: MINIMAL, NEWER: MINIMAL.replace("Digits}", f"Digits, graph: {GRAPH}}}")}


class History:
    layout = None

    def contains(self, commit, *, ancestor):
        return (commit, ancestor) in {(COMMIT, COMMIT), (NEWER, COMMIT)}

    def tree(self, commit):
        return {"workflows/digits/pipeline.yaml": SPECS[commit]}


def deployment(ready=1, generation=2, seen=2, replicas=1):
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": 1},
        "status": {
            "observedGeneration": seen,
            "replicas": replicas,
            "updatedReplicas": ready,
            "readyReplicas": ready,
        },
    }


def missing(api, releases=()):
    return AppliedCommits(api, History(), Names("digits", "ml")).describe_missing(
        COMMIT, releases=releases
    )


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        (Api("gone"), "Kustomization digits-deployments does not exist"),
        (Api(None), "has applied nothing, not yet bbbbbbbbbbbb"),
        (Api(f"main@sha1:{OLD}"), "has applied aaaaaaaaaaaa, not yet bbbbbbbbbbbb"),
        (
            Api(f"main@sha1:{OLD}", "False", "dry-run failed"),
            "not yet bbbbbbbbbbbb: dry-run failed",
        ),
        (Api(f"main@sha1:{COMMIT}", "False", "timeout"), "is not ready: timeout"),
        (Api(f"main@sha1:{COMMIT}", "Unknown"), "is not ready"),
        (Api(f"main@sha1:{COMMIT}"), ""),
        (Api(f"main@sha1:{NEWER}"), ""),
    ],
)
def test_a_commit_is_applied_when_the_kustomization_contains_it(api, expected):
    assert missing(api).endswith(expected)
    assert bool(missing(api)) is bool(expected)


@pytest.mark.parametrize(
    ("deployments", "expected"),
    [
        ({}, "Deployment digits-r1 does not exist"),
        ({"digits-r1": deployment()}, ""),
        ({"digits-r1-0-model": deployment()}, ""),
        ({"digits-r1": deployment(ready=0)}, "Deployment digits-r1 is not ready"),
        ({"digits-r1": deployment(seen=1)}, "Deployment digits-r1 is not ready"),
        ({"digits-r1": deployment(replicas=2)}, "Deployment digits-r1 is not ready"),
    ],
)
def test_its_deployments_are_current(deployments, expected):
    assert missing(Api(f"main@sha1:{COMMIT}", deployments=deployments), ("r1",)) == expected


def test_the_operators_deployment_is_named_by_the_graph_that_runs():
    runs = f"main@sha1:{NEWER}"
    name = Names("digits", "ml").operated(
        "r1", own_names(load_spec(SPECS[NEWER], path="p.yaml").spec.serve.graph)
    )
    assert missing(Api(runs, deployments={name: deployment()}), ("r1",)) == ""
    assert (
        missing(Api(runs, deployments={name: deployment(ready=0)}), ("r1",))
        == f"Deployment {name} is not ready"
    )
    # that of the graph before goes when the new one is ready
    before = {"digits-r1-0-model": deployment()}
    assert missing(Api(runs, deployments=before), ("r1",)) == "Deployment digits-r1 does not exist"


def test_waiting_says_each_reason_once_and_outlives_an_api_that_is_away(monkeypatch):
    monkeypatch.setattr(applied, "POLL", 0.001)
    answers = iter(["a", "a", KubernetesUnreachableError("away"), "b", ""])

    def look():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert list(applied.wait_until_applied(look, seconds=10, what="x")) == ["a", "away", "b"]


def test_waiting_ends(monkeypatch):
    monkeypatch.setattr(applied, "POLL", 0.001)
    with pytest.raises(StepError, match=r"x is not applied after 0 s: never"):
        list(applied.wait_until_applied(lambda: "never", seconds=0.01, what="x"))


def test_a_refusal_is_not_waited_for():
    def look():
        raise KubernetesUnreachableError("answered 403", hint="the Role must allow it")

    with pytest.raises(KubernetesUnreachableError):
        list(applied.wait_until_applied(look, seconds=10, what="x"))


def unplaced(name, status="False"):
    message = "0/1 nodes are available: 1 Insufficient cpu."
    requests = {"cpu": "300m", "memory": "512Mi"}
    return {
        "metadata": {"namespace": "ml", "name": name},
        "spec": {"containers": [{"resources": {"requests": requests}}] * 2},
        "status": {
            "conditions": [{"type": "PodScheduled", "status": status, "message": message}],
        },
    }


def test_a_pod_of_the_release_that_no_node_has_room_for_is_named_with_the_sum():
    pods = (unplaced("digits-r2-abc"), unplaced("digits-r1-abc", "True"), unplaced("digits-r1-def"))
    running = Api(f"main@sha1:{OLD}", "Unknown", pods=pods)
    assert missing(running, releases=("r1",)) == (
        "Kustomization digits-deployments has applied aaaaaaaaaaaa, not yet bbbbbbbbbbbb; "
        "Pod ml/digits-r1-def can't be placed: 0/1 nodes are available: 1 Insufficient cpu. "
        "It requests 600m CPU and 1024Mi"
    )
    assert missing(running).endswith("not yet bbbbbbbbbbbb")
    ready = Api(f"main@sha1:{COMMIT}", deployments={"digits-r1": deployment()}, pods=pods)
    assert missing(ready, releases=("r1",)) == ""


def test_pods_that_may_not_be_read_are_told_and_stop_nothing():
    refused = KubernetesUnreachableError("/api/v1/namespaces/ml/pods answered 403", hint="allow it")
    text = missing(Api(f"main@sha1:{OLD}", pods=refused), releases=("r1",))
    assert text.endswith("its pods can't be read: /api/v1/namespaces/ml/pods answered 403")
