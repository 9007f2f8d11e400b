import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from driftloop.git.repository import Repository
from driftloop.operations.commits.guard import refuse_harm


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """An empty bare repository whose branch will be `main`."""
    folder = tmp_path / "cluster.git"
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", folder], check=True)
    return folder


@pytest.fixture
def repository(remote: Path, tmp_path: Path) -> Repository:
    return Repository(f"file://{remote}", guard=refuse_harm, workdir=tmp_path / "work")


Git = Callable[..., str]


@pytest.fixture
def git(remote: Path) -> Git:
    """`git(...)` inside the bare repository; stdout, stripped at the end."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", remote, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.rstrip("\n")

    return run
