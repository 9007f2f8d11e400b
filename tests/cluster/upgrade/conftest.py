"""A cluster of an older version, brought to this one; points of one world, in order."""

from pathlib import Path

import pytest
from cluster.guided import MISSING
from cluster.points import it, pytest_runtest_makereport, whole

__all__ = ["it", "pytest_runtest_makereport", "whole"]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(5400))
            if MISSING is not None:
                item.add_marker(pytest.mark.skip(reason=MISSING))
