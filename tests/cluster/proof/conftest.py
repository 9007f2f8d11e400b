"""One world for all points; a point that passed in the world of CLUSTER_TEST_OUT is not shown twice."""

import os
from pathlib import Path

import pytest
from cluster.live import mark
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


def pytest_collection_modifyitems(items):
    mark(items, Path(__file__).parent, CRDS, seconds=2400)


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
