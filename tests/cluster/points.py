"""A world whose points come one after another; one that passed in it is not shown twice."""

import os
from pathlib import Path

import pytest
from cluster.guided import MISSING, reach_cluster
from cluster.world import world


def take_folder(tmp_path_factory):
    """The folder CLUSTER_TEST_OUT, or a new one; the kit's cluster is found, if there is one."""
    if MISSING is None:
        reach_cluster()
    given = os.environ.get("CLUSTER_TEST_OUT")
    folder = Path(given).resolve() if given else tmp_path_factory.mktemp("cluster")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\nwhat is seen goes to {folder}")
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The world in the folder CLUSTER_TEST_OUT, or in a new one; on the kit's cluster, if there is one."""
    with world(take_folder(tmp_path_factory)) as made:
        yield made
        made.keep()


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
