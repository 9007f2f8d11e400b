"""The README is real: its spec loads, its commands and paths exist, `validate` prints what it shows."""

import re
import subprocess
import sys
from pathlib import Path

import driftloop.check
from driftloop.cli.root import COMMANDS
from driftloop.spec import load_spec
from tests.check.example import variant

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = Path(driftloop.check.__file__).parent / "examples"


def test_the_spec_loads_and_is_about_fifteen_lines():
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert load_spec(text, path="README.md").metadata.name == "digits"
    assert len(text.splitlines()) <= 15


def test_every_command_exists():
    named = set(re.findall(r"driftloop ([a-z]+)\b", "\n".join(re.findall(r"`([^`\n]+)`", README))))
    assert named
    assert named <= COMMANDS.keys()


def test_every_path_exists():
    for path in re.findall(r"`((?:docs|examples|pipeline)/?[\w./-]*)`", README):
        assert (ROOT / path).exists(), path


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) - {"and"} <= targets


def test_validate_prints_what_it_shows(tmp_path, update):
    (tmp_path / "app").mkdir()
    for file, code in (("sensor.yaml", "DL204"), ("serving.yaml", "DL411")):
        text = (EXAMPLES / f"{code}.yaml").read_text()
        (tmp_path / "app" / file).write_text("\n".join(variant(text, "bad").files.values()))
    command = [sys.executable, "-m", "driftloop.cli", "validate", "app"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 1
    shown = f"```\n$ driftloop validate app\n{result.stdout}{result.stderr}```"
    if update:
        block = re.compile(r"```\n\$ driftloop validate app\n.*?```", re.DOTALL)
        (ROOT / "README.md").write_text(block.sub(lambda _: shown, README))
    assert shown in (ROOT / "README.md").read_text(), (
        "run `pytest tests/e2e/test_readme.py --update`"
    )
