"""What the README shows is real: its spec loads, its commands and paths exist."""

import re
from pathlib import Path

from driftloop.cli.root import COMMANDS
from driftloop.spec import load

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_spec_loads_and_is_about_fifteen_lines():
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert load(text, path="README.md").metadata.name == "digits"
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
