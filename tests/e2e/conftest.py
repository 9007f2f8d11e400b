"""One folder of environments for all tests, kept between runs: each role is built once."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def envs() -> Path:
    """Environments shared by everything here; `make clean` removes them."""
    folder = ROOT / ".driftloop" / "envs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
