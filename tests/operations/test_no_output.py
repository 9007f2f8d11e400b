"""Operations return data: printing and exit codes are left to the rooms above them."""

import ast
from pathlib import Path

import pytest

import driftloop.operations

ROOM = Path(driftloop.operations.__file__).parent
MODULES = [file for file in sorted(ROOM.rglob("*.py")) if "starter" not in file.parts]


def calls(module: Path) -> set[str]:
    nodes = [
        node.func for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call)
    ]
    return {ast.unparse(function) for function in nodes}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOM)))
def test_nothing_is_printed_and_no_process_is_ended(module: Path) -> None:
    names = calls(module)
    assert not names & {
        "print",
        "input",
        "exit",
        "sys.exit",
        "sys.stdout.write",
        "sys.stderr.write",
    }
    assert not any(name.startswith(("click.", "rich.")) for name in names)
