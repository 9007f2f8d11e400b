"""One world for all points; a point that passed in the world of CLUSTER_TEST_OUT is not shown twice."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cluster.world import world

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


def pytest_collection_modifyitems(items):
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    reason = _missing() if ours else None
    for item in ours:
        item.add_marker(pytest.mark.timeout(2400))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    given = os.environ.get("CLUSTER_TEST_OUT")
    folder = Path(given).resolve() if given else tmp_path_factory.mktemp("cluster")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\nwhat is seen goes to {folder}")
    with world(folder) as found:
        yield found
        found.keep()


@pytest.fixture
def it(whole, request):
    """The world, unless this test has passed in it before."""
    name = request.node.name
    if name in whole.known("passed", []):
        pytest.skip("seen before in this world")
    whole.say(f"--- {name.removeprefix('test_').replace('_', ' ')}")
    yield whole
    if not getattr(request.node, "failed", False):
        whole.remember(passed=[*whole.known("passed", []), name])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.failed = getattr(item, "failed", False) or report.failed
    return report
