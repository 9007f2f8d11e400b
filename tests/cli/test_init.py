"""`driftloop init`: what every template leaves beside its spec."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest
from support.commands import type_command

from driftloop.cli.root import root
from driftloop.operations.project.starters import STARTERS


@pytest.mark.parametrize("template", STARTERS)
def test_a_project_has_a_readme_ignored_files_and_a_schema(template: str, tmp_path: Path) -> None:
    said = type_command("init", "shop", "--template", template, "--name", "shop", folder=tmp_path)
    project = tmp_path / "shop"
    written = {Path(line).relative_to("shop") for line in said.stdout.splitlines()}
    assert {Path(name) for name in ("README.md", ".gitignore", "pipeline.schema.json")} <= written
    head, rest = (project / "pipeline.yaml").read_text().split("\n", 1)
    assert head == "# yaml-language-server: $schema=pipeline.schema.json"
    assert rest.startswith("apiVersion: ")
    assert json.loads((project / "pipeline.schema.json").read_text())["properties"]["spec"]
    assert ".driftloop/" in (project / ".gitignore").read_text().splitlines()
    readme = (project / "README.md").read_text()
    assert readme.startswith("# shop\n")
    assert ("batches.py" in readme) == (project / "batches.py").is_file()
    commands = re.findall(r"^driftloop (.+)$", readme, re.MULTILINE)
    assert len(commands) == 6
    for words in map(shlex.split, commands):
        command = root.get_command(click.Context(root), words[0])
        assert command is not None
        command.make_context(words[0], words[1:], resilient_parsing=True)
    type_command("validate", "pipeline.yaml", folder=project)


def test_a_readme_that_is_there_is_kept_and_told(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("ours\n")
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    said = type_command("init", folder=tmp_path).stderr
    assert "note: README.md was there and is kept" in said
    assert "note: .gitignore lacks: .driftloop/, pipeline.schema.json, .venv/" in said
    assert (tmp_path / "README.md").read_text() == "ours\n"
    refused = type_command("init", folder=tmp_path, code=1).stderr
    assert "pipeline.yaml exists already and is not overwritten" in refused
