"""A cluster of an older version, brought to this one; points of one world, in order."""

from pathlib import Path

from cluster.guided import MISSING
from cluster.live import bound
from cluster.points import it, pytest_runtest_makereport, whole

__all__ = ["it", "pytest_runtest_makereport", "whole"]


def pytest_collection_modifyitems(items):
    bound(items, Path(__file__).parent, MISSING, seconds=5400)
