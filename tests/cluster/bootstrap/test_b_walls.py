"""A training image that tries to take the cluster gets nothing, and Flux's account ends at its namespace."""

import json
import shutil
import subprocess

import pytest
import yaml
from cluster.bootstrap.test_b_honesty import pods
from cluster.world import EXAMPLE, PIPELINE, SPEC, STAND_IN, N, P

from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location
from driftloop.contract.trees import run_key

IMAGE = "ghcr.io/driftloop/test-intruder:1"
TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount"


def test_a_training_image_that_tries_takes_nothing(it):
    it.idle_runs()
    it.retraining("resume")
    it.no_run()
    release, tip = it.release(), commit_intruder(it)
    run = it.trigger("an image that takes what it gets")
    pod = it.kube.wait(
        "the intruder's pod is there", lambda: find_pod(it, run, "train"), timeout=600
    )
    check_pod(pod)
    status = it.ended(run)
    assert status["phase"] == "Succeeded", status.get("message")
    assert all(node["phase"] == "Succeeded" for node in pods(status, "train"))
    store = ObjectStore.from_environment(it.s3())
    bucket = parse_location(release["production"]["model"]).bucket
    stored = store.read_object(
        StoreLocation(bucket, run_key(run, "trials", "0", "model", "intruder.json"))
    )
    report = json.loads(stored)
    for name, answer in sorted(report.items()):
        it.say(f"  {name}: {answer}")
    assert report["files"] == [], "no token, no mounted Secret"
    assert report["variables"] == [], "no credential in the environment"
    assert {"make a pod", "make a workflow", "read secrets"} <= report["api"].keys()
    assert set(report["api"].values()) <= {"401", "403"}, "the API server answers, and refuses"
    for door in ("git", "webhook", "store"):
        assert report[door] in ("400", "401", "403") or report[door].startswith("no answer"), door
    assert report["nats"] != "PONG"
    metrics = json.loads(
        store.read_object(StoreLocation(bucket, run_key(run, "evaluation", "metrics.json")))
    )
    it.say(f"  evaluation: {metrics}")
    assert metrics["candidate"]["all"]["taken"] == 0, "the evaluation is a person's code, too"

    state = it.kube.wait(
        "the decision knows how it ended",
        lambda: (found := it.streams.decision()).run is None and found,
    )
    it.say(f"{state.outcome}: {state.reason}")
    assert state.outcome == "refused", "the run itself works, to its gate"
    assert (it.tip(), it.release()) == (tip, release), "nothing is committed"
    for kind in ("pod", "workflow"):
        assert it.kube.get(kind, "intruder", N) is None


def test_no_account_of_a_pod_can_do_what_it_is_not_for(it):
    def may(account, verb, kind, *where):
        done = subprocess.run(
            [
                "kubectl",
                "auth",
                "can-i",
                verb,
                kind,
                *where,
                f"--as=system:serviceaccount:{account}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() == "yes"

    home = ("-n", N)
    for part in ("train", "steps", "executor", "finish", "advance"):
        for verb, kind in (
            ("create", "workflows.argoproj.io"),
            ("create", "pods"),
            ("create", "deployments.apps"),
            ("get", "secrets"),
            ("create", "rolebindings.rbac.authorization.k8s.io"),
        ):
            assert not may(f"{N}:{P}-{part}", verb, kind, *home), (part, verb, kind)
    assert may(f"{N}:{P}-executor", "create", "workflowtaskresults.argoproj.io", *home)
    assert may(f"{N}:{P}-finish", "get", "workflows.argoproj.io", *home)
    assert may(f"{N}:{P}-starter", "create", "workflows.argoproj.io", *home)

    flux = f"flux-system:{P}-flux"
    assert may(flux, "patch", "deployments.apps", *home)
    for verb, kind, where in (
        ("patch", "deployments.apps", "default"),
        ("create", "configmaps", "flux-system"),
        ("get", "secrets", N),
        ("create", "secrets", N),
        ("patch", "namespaces", N),
        ("create", "pods", N),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io", N),
    ):
        assert not may(flux, verb, kind, "-n", where), (verb, kind, where)


@pytest.mark.parametrize("where", ["another namespace", "a Secret", "more rights"])
def test_a_commit_that_reaches_out_is_refused_by_the_api_server(it, where):
    marks = {"name": "reaches-out", "namespace": "default" if where == "another namespace" else N}
    objects = {
        "another namespace": {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}},
        "a Secret": {"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "b"}},
        "more rights": {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
        },
    }
    written = {**objects[where], "metadata": marks}
    folder = f"workflows/{P}"
    listing = yaml.safe_load(it.file(f"{folder}/kustomization.yaml"))
    listing["resources"].append("reaches-out.yaml")
    before = it.tip()
    push(
        it,
        {
            f"{folder}/reaches-out.yaml": json.dumps(written),
            f"{folder}/kustomization.yaml": json.dumps(listing),
        },
    )
    try:
        it.fetched()
        told = it.kube.wait(
            "Flux says who refuses it",
            lambda: [
                line
                for line in it.kube.state("kustomization", f"{P}-workflows")
                if "forbidden" in line
            ],
            timeout=120,
        )
        it.say(told[0])
        assert f"system:serviceaccount:flux-system:{P}-flux" in told[0]
        assert it.kube.get(written["kind"], "reaches-out", marks["namespace"]) is None
    finally:
        push(it, {}, revert=before)
        it.ready(PIPELINE, timeout=300)


def test_whoever_creates_a_workflow_runs_what_is_committed(it):
    own = {
        "entrypoint": "own",
        "templates": [{"name": "own", "container": {"image": "own", "command": ["own"]}}],
    }
    inline = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "own-pod", "namespace": N},
        "spec": own,
    }
    who = ("--as", f"system:serviceaccount:{N}:{P}-starter")
    it.kube.run("create", "-f", "-", *who, stdin=json.dumps(inline))
    try:
        message = it.kube.wait(
            "Argo refuses it",
            lambda: it.workflows()["own-pod"].get("status", {}).get("message"),
        )
        it.say(message)
        assert "workflowTemplateRef" in message
    finally:
        it.kube.run("-n", N, "delete", "workflow", "own-pod")
    referring = {"workflowTemplateRef": {"name": f"{P}-train"}, "entrypoint": "own"}
    smuggled = {**inline, "spec": referring, "status": {"storedWorkflowTemplateSpec": own}}
    with pytest.raises(AssertionError, match="has no status"):
        it.kube.run("create", "-f", "-", *who, stdin=json.dumps(smuggled))


def find_pod(it, run, template):
    """A run's pod of a template, as the API server has it."""
    for pod in it.kube.get("pod", namespace=N):
        labels, marks = pod["metadata"]["labels"], pod["metadata"].get("annotations", {})
        name = marks.get("workflows.argoproj.io/node-name", "")
        if labels.get("workflows.argoproj.io/workflow") == run and f".{template}(" in name:
            return pod
    return None


def check_pod(pod):
    """Only Argo's own containers have a token in a person's pod, and only they a Secret."""
    assert pod["spec"]["serviceAccountName"] == f"{P}-train"
    assert pod["spec"]["automountServiceAccountToken"] is False
    mounted = {
        each["name"]: {mount["mountPath"] for mount in each.get("volumeMounts", [])}
        for each in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])
    }
    assert TOKENS in mounted["wait"]
    assert TOKENS not in mounted["main"]
    assert not any(path.startswith("/argo/secret") for path in mounted["main"])


def push(it, files, *, revert=None):
    """A person's commit by hand; with `revert`, of everything since a revision."""
    clone = it.folder / "by-hand"
    shutil.rmtree(clone, ignore_errors=True)
    it.git("clone", "-q", str(it.bare), str(clone), cwd=it.folder)
    if revert is not None:
        it.git("revert", "--no-edit", f"{revert}..HEAD", cwd=clone)
    for path, text in files.items():
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text)
    if files:
        it.git("add", "-A", cwd=clone)
        it.git("commit", "-qm", "Reach out", cwd=clone)
    it.git("push", "-q", "origin", "HEAD:main", cwd=clone)


def commit_intruder(it):
    """Commit the example with the intruder as its trainer; the tip when it is applied."""
    project = it.folder / "intruder"
    if not project.exists():
        shutil.copytree(EXAMPLE / "server", project / "server")
        shutil.copytree(EXAMPLE / "trainer", project / "trainer")
        shutil.copy(STAND_IN / "intruder" / "intruder.py", project / "trainer")
    text = (EXAMPLE / SPEC).read_text()
    given = {"epochs": 4, "learning_rate": 0.002, "namespace": N, "git": it.url}
    for known, wanted in (
        ("ghcr.io/driftloop/digits-trainer:1.0.0", IMAGE),
        ('run: "train:train"', 'run: "intruder:train"'),
        ("{epochs: 12, learning_rate: 0.001}", json.dumps(given)),
        ('run: "evaluate:evaluate"', 'run: "intruder:evaluate"'),
    ):
        assert text.count(known) == 1, known
        text = text.replace(known, wanted)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("search:")]
    (project / "pipeline.yaml").write_text("\n".join(lines) + "\n")
    it.commit(project / "pipeline.yaml")
    it.ready(PIPELINE, timeout=300)
    return it.tip()
