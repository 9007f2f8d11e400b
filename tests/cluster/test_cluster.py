"""The loop on the cluster that KUBECONFIG points at: `make cluster-test`; docs/guides/cluster.md says what it needs."""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from cluster.world import KUSTOMIZATIONS, PIPELINE, N, P, world

CRDS = (
    "kustomizations.kustomize.toolkit.fluxcd.io",
    "sealedsecrets.bitnami.com",
    "workflows.argoproj.io",
    "sensors.argoproj.io",
    "triggers.eventing.knative.dev",
    "natsjetstreamchannels.messaging.knative.dev",
    "virtualservices.networking.istio.io",
)


def _missing():
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG is not set"
    if shutil.which("kubectl") is None:
        return "kubectl is not on this machine"
    found = subprocess.run(["kubectl", "get", "crd", *CRDS, "-o", "name"], capture_output=True, text=True, check=False)
    return None if found.returncode == 0 else f"the cluster is not there or lacks controllers: {found.stderr.strip()}"


REASON = _missing()
pytestmark = [pytest.mark.skipif(REASON is not None, reason=str(REASON)), pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    given = os.environ.get("CLUSTER_TEST_OUT")
    folder = Path(given) if given else tmp_path_factory.mktemp("cluster")
    folder.mkdir(parents=True, exist_ok=True)
    with world(folder) as found:
        yield found


def test_1_flux_applies_everything_from_git_and_takes_back_what_a_hand_changes(it):
    if it.bare.exists():
        pytest.skip("goes on with the world in CLUSTER_TEST_OUT")
    assert it.kube.get("kustomization", "flux-system", "flux-system") is None, "the cluster follows another repository"
    it.lay_out()
    it.bootstrap()
    it.say("the source and the first Kustomization are applied; nothing else will be by hand")
    it.ready(KUSTOMIZATIONS, timeout=240)
    it.driftloop("commit", it.spec(), "--repository", it.url)
    it.say("the pipeline is committed")
    it.ready((*KUSTOMIZATIONS, *PIPELINE), timeout=300)

    name = f"{P}-decision"
    it.kube.run("-n", N, "scale", "deployment", name, "--replicas=0")
    it.say(f"Deployment {name} scaled to 0 by hand")
    it.kube.wait("Flux puts the replica back", lambda: it.kube.get("deployment", name, N)["spec"]["replicas"] == 1)
    it.say("Flux has put it back")


def test_2_a_run_ends_in_a_commit(it):
    it.ready((*KUSTOMIZATIONS, *PIPELINE), timeout=300)
    it.batches("clean")
    before, earlier = it.tip(), set(it.workflows())
    decision = uuid.uuid4().hex[:12]
    body = {"pipeline": P, "decision": decision, "cause": "person cluster-test"}
    assert it.hook(body, token=None) in (400, 401)
    assert it.hook(body, token="wrong") in (400, 401)
    assert it.hook(body, token=it.secret("webhook-token")) == 200
    assert it.hook(body, token=it.secret("webhook-token")) == 200, "a second delivery is accepted, and changes nothing"
    it.say("the webhook refused no token and a wrong one, and took the right one, twice")

    run = f"{P}-{decision}"
    it.kube.wait("the Sensor makes the workflow", lambda: run in it.workflows(), timeout=60)
    assert set(it.workflows()) - earlier == {run}
    ended = ("Succeeded", "Failed", "Error")
    it.kube.wait("the run ends", lambda: it.workflows()[run].get("status", {}).get("phase") in ended, timeout=900)
    status = it.workflows()[run]["status"]
    for node in sorted(status["nodes"].values(), key=lambda n: n.get("finishedAt") or ""):
        if node["type"] == "Pod":
            it.say(f"  {node['displayName']:24} {node['phase']:10} {node.get('message', '')}")
    assert status["phase"] == "Succeeded", status.get("message")

    release = it.release()
    assert release["phase"] == "stable"
    assert release["production"]["run"] == run
    message = it.git("log", "-1", "--format=%B", f"{before}..main", "--", f"deployments/{P}/release.yaml")
    for trailer in (
        "Driftloop-Pipeline",
        "Driftloop-Release",
        "Driftloop-Run",
        "Driftloop-Cause",
        "Driftloop-Model-Digest",
    ):
        assert f"\n{trailer}: " in message
    it.say(f"{release['production']['id']} is in git as production: {release['production']['metrics']}")


def test_3_the_release_answers_and_its_traffic_becomes_events(it):
    it.ready(PIPELINE, timeout=300)
    rows = it.rows("clean")[:100]
    right = 0
    it.kube.wait("the gateway answers", lambda: _answers(it, rows[0][0]), timeout=60)
    for pixels, label in rows:
        answer, _ = it.predict(pixels)
        row = answer["data"]["ndarray"][0]
        right += int(max(range(10), key=row.__getitem__) == label)
    it.say(f"100 predictions through the gateway, {right} right")
    assert right >= 85


def _answers(it, pixels):
    from urllib.error import URLError

    try:
        return it.predict(pixels)
    except (URLError, OSError):
        return None
