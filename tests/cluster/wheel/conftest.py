"""Two clusters of one repository with nothing but the wheel; points of one world, in order."""

from pathlib import Path

import pytest
from cluster.guided import MISSING
from cluster.live import bound
from cluster.points import it, pytest_runtest_makereport, take_folder
from cluster.registry import serving_registry
from cluster.wheel.fleet import PASSWORD, USER, Fleet
from cluster.world import world

__all__ = ["it", "pytest_runtest_makereport", "whole"]


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The world in the folder CLUSTER_TEST_OUT, or in a new one, with its registry."""
    folder = take_folder(tmp_path_factory)
    with serving_registry(USER, PASSWORD) as refused, world(folder, Fleet) as made:
        made.refused = refused
        yield made
        made.keep()


def pytest_collection_modifyitems(items):
    bound(items, Path(__file__).parent, MISSING, seconds=3600)
