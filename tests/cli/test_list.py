"""`driftloop list`, `history`, and `--watch`."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support.commands import type_command
from support.committed import copy_committed

from driftloop.cli import watching

EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = ("--repository", "cluster.git")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_committed((EXAMPLES / "digits" / "pipeline.yaml").read_text(), tmp_path / "cluster.git")
    return tmp_path


def change(folder: Path, path: str, text: str) -> None:
    """Commit a file to the repository by git alone."""
    clone = folder / "clone"
    git = ("git", "-C", clone, "-c", "user.name=ann", "-c", "user.email=ann@acme.example")
    subprocess.run(["git", "clone", "-q", folder / "cluster.git", clone], check=True)
    (clone / path).write_text(text)
    subprocess.run([*git, "commit", "-qam", "edit"], check=True)
    subprocess.run([*git, "push", "-q"], check=True, capture_output=True)
    shutil.rmtree(clone)


def test_pipelines_of_a_repository_are_listed(folder: Path) -> None:
    done = type_command("list", *HERE, folder=folder)
    head, row = done.stdout.splitlines()
    assert head.split() == [
        *("PIPELINE", "NAMESPACE", "CLUSTERS", "PHASE", "PRODUCTION", "CANDIDATE", "WEIGHTS")
    ]
    assert row.split() == ["digits", "digits", "dev", "empty", "-", "-", "-"]
    assert "1 pipeline listed" in done.stderr
    (listed,) = json.loads(type_command("list", *HERE, "-o", "json", folder=folder).stdout)
    assert (listed["pipeline"], listed["phase"], listed["clusters"]) == ("digits", "empty", ["dev"])


def test_a_pipeline_that_can_t_be_read_is_listed_with_the_reason(folder: Path) -> None:
    change(folder, "deployments/digits/release.yaml", "phase: nonsense\n")
    (listed,) = yaml.safe_load(type_command("list", *HERE, "-o", "yaml", folder=folder).stdout)
    assert "deployments/digits/release.yaml" in listed["problem"]
    assert "unknown" in type_command("list", *HERE, folder=folder).stdout


def test_history_is_another_name_of_releases(folder: Path) -> None:
    said = [
        type_command(word, "digits", *HERE, folder=folder).stderr
        for word in ("history", "releases")
    ]
    assert said[0] == said[1] == "0 releases of digits listed, in phase empty\n"


def test_a_watched_list_is_printed_again_when_it_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def pause(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            change(folder, "deployments/digits/release.yaml", "phase: nonsense\n")
        if looks == 4:
            (folder / "cluster.git").rename(folder / "away")
        if looks == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=pause))
    done = type_command("list", *HERE, "--watch", folder=folder, code=130)
    first, second, *_ = done.stdout.split("\n\n")
    assert first.count("digits") == 2
    assert "unknown" in second
    assert done.stdout.count("PIPELINE") == 2
    assert done.stderr.count("1 pipeline listed") == 2
    assert "error: " in done.stderr


def test_an_error_at_the_first_look_ends_it(tmp_path: Path) -> None:
    assert "error: " in type_command("list", *HERE, "-w", folder=tmp_path, code=1).stderr
