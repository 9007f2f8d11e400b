"""Two clusters of one repository with nothing but the wheel; points of one world, in order."""

import os
from pathlib import Path

import pytest
from cluster.guided import MISSING, reach_cluster
from cluster.points import it, pytest_runtest_makereport
from cluster.registry import serving_registry
from cluster.wheel.fleet import PASSWORD, USER, Fleet
from cluster.world import world

__all__ = ["it", "pytest_runtest_makereport", "whole"]


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The world in the folder CLUSTER_TEST_OUT, or in a new one, with its registry."""
    if MISSING is None:
        reach_cluster()
    given = os.environ.get("CLUSTER_TEST_OUT")
    folder = Path(given).resolve() if given else tmp_path_factory.mktemp("cluster")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\nwhat is seen goes to {folder}")
    with serving_registry(USER, PASSWORD) as refused, world(folder, Fleet) as made:
        made.refused = refused
        yield made
        made.keep()


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600))
            if MISSING is not None:
                item.add_marker(pytest.mark.skip(reason=MISSING))
