"""Hostile specs: `validate`, `render` and `plan` say what is wrong, or do it; soon, and without a traceback."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.commands import run_command
from tests.fuzz.conftest import HostileInputs
from tests.fuzz.specs import hostile_spec

ROOT = Path(__file__).parents[2]
SOURCES = (
    *(ROOT / "examples" / "digits" / name for name in ("pipeline.yaml", "plain.yaml")),
    ROOT / "examples" / "tabular" / "pipeline.yaml",
    *sorted((ROOT / "tests" / "golden").glob("*/pipeline.yaml")),
)

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose functions are there, so that only its spec can be wrong, and an empty repository."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / "digits", folder)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", tmp_path / "r.git"], check=True)
    return folder


def test_hostile_specs(project: Path, hostile: HostileInputs) -> None:
    spec, out = project / "pipeline.yaml", project.parent / "out"
    repository = f"file://{project.parent / 'r.git'}"
    commands = (
        ("validate", str(spec)),
        ("render", str(spec), "--into", str(out)),
        ("plan", str(spec), "--repository", repository),
    )
    faults: list[str] = []
    codes: Counter[int] = Counter()
    for number in range(hostile.count("specs")):
        random = hostile.random(number)
        content = hostile_spec(random, random.choice(SOURCES).read_text())
        spec.write_bytes(content)
        command = commands[number % len(commands)]
        done = run_command(*command)
        codes[done.code] += 1
        if done.fault is not None:
            kept = project.parent / f"spec-{number}.yaml"
            kept.write_bytes(content)
            faults.append(f"{number}: {command[0]} of {kept}: {done.fault}")
        shutil.rmtree(out, ignore_errors=True)
    print(f"specs: {sum(codes.values())} tried, exit codes {dict(codes)}")
    assert not faults, "\n".join(faults)
    assert codes[1] > 0
