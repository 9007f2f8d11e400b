"""The golden trees, as the check takes them."""

from functools import cache
from pathlib import Path

from driftloop.check import Finding, check

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
NAMES = tuple(sorted(file.parent.name for file in GOLDEN.glob("*/pipeline.yaml")))


@cache
def tree(name: str) -> dict[str, str]:
    """Path -> text of a golden tree."""
    root = GOLDEN / name / "expected"
    return {file.relative_to(root).as_posix(): file.read_text() for file in sorted(root.rglob("*.yaml"))}


def places(files: dict[str, str | bytes]) -> set[tuple[str, str, int]]:
    """(code, path, line) of everything that is found."""
    return {place(one) for one in check(files)}


def place(one: Finding) -> tuple[str, str, int]:
    return one.code, one.path, one.line
