"""Formats of output: whatever is printed as JSON is printed as the same YAML."""

import json
from pathlib import Path

import click
import pytest
import yaml
from support.commands import type_command
from support.committed import copy_committed

from tests.cli.test_help import COMMANDS

CLI = Path(__file__).parents[2] / "pipeline" / "driftloop" / "cli"
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "pipeline.yaml"


def list_formats(command: click.Command) -> list[str]:
    for option in command.params:
        if "--output" in option.opts and isinstance(option.type, click.Choice):
            return list(option.type.choices)
    return []


@pytest.mark.parametrize("name", COMMANDS)
def test_whatever_is_printed_as_json_is_printed_as_yaml(name: str) -> None:
    formats = list_formats(COMMANDS[name])
    assert ("json" in formats) == ("yaml" in formats)


@pytest.mark.parametrize("file", sorted(CLI.glob("*.py")), ids=lambda file: file.stem)
def test_formats_are_printed_by_one_function(file: Path) -> None:
    text = file.read_text()
    assert "echo(json.dumps" not in text
    assert 'output == "json"' not in text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("output")
    copy_committed(DIGITS.read_text(), place / "cluster.git")
    return place


@pytest.mark.parametrize(
    "words",
    [
        ("version",),
        ("schema",),
        ("explain", "rollout.canary"),
        ("validate", str(DIGITS)),
        ("plan", str(DIGITS), "--repository", "cluster.git"),
        ("releases", "digits", "--repository", "cluster.git"),
    ],
    ids=" ".join,
)
def test_both_formats_say_the_same(words: tuple[str, ...], folder: Path) -> None:
    said = {
        form: type_command(*words, "-o", form, folder=folder).stdout for form in ("json", "yaml")
    }
    assert yaml.safe_load(said["yaml"]) == json.loads(said["json"])
    assert not said["yaml"].startswith("{")


def test_several_documents_are_one_stream_of_yaml(folder: Path) -> None:
    said = type_command(
        "render", str(DIGITS), str(DIGITS.parents[1] / "tabular" / "pipeline.yaml"), "--into", "tree", "-o", "yaml", folder=folder
    )  # fmt: skip
    documents = list(yaml.safe_load_all(said.stdout))
    assert [one["folder"] for one in documents] == ["tree", "tree"]
    assert len({one["pipeline"] for one in documents}) == 2
