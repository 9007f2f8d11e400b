"""Shared by all tests: the `--update` flag of the golden trees."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update", action="store_true", help="rewrite the golden trees under tests/golden"
    )


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten; CI never asks for it."""
    return bool(request.config.getoption("--update"))
