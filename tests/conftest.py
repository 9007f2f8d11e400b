"""Shared by all tests: the `--update` flag of the golden trees, and how many hostile inputs there are."""

import os

import pytest
import yaml
from hypothesis import settings

# a deadline is a timed assertion: it fails where the machine is busy and nothing is wrong
settings.register_profile("driftloop", deadline=None)
settings.load_profile("driftloop")

# programs that tests start keep their bytecode: to compile it anew doubles the time of each start
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# what `yaml.safe_load` reads with: PyYAML's own loader takes ten times as long for the trees that tests read
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update", action="store_true", help="rewrite the golden trees under tests/golden"
    )
    parser.addoption(
        "--hostile", type=int, default=400, help="hostile inputs that tests/fuzz makes in all"
    )
    parser.addoption(
        "--hostile-seed", type=int, help="seed of these inputs (default: the same each time)"
    )


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten; CI never asks for it."""
    return bool(request.config.getoption("--update"))
