"""The golden trees, as validation takes them."""

from pathlib import Path

from driftloop.check import Finding, check_files
from tests.golden.trees import NAMES, tree

__all__ = ["NAMES", "ROOT", "place", "places", "tree"]

ROOT = Path(__file__).parents[2]


def places(files: dict[str, str | bytes]) -> set[tuple[str, str, int]]:
    """(code, path, line) of everything that is found."""
    return {place(one) for one in check_files(files)}


def place(one: Finding) -> tuple[str, str, int]:
    return one.code, one.path, one.line
