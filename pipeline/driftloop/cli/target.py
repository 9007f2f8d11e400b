"""The cluster repository of a command, and the printing of a commit."""

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from driftloop.cli.options import print_progress
from driftloop.git.repository import Commit
from driftloop.operations.target import CommitTarget, open_target


def open_repository(
    url: str | None, branch: str, folder: Path
) -> AbstractContextManager[CommitTarget]:
    """Open the repository that the options name, with the credentials of the environment."""
    return open_target(url, branch=branch, folder=folder, environment=os.environ)


def print_commit(commit: Commit | None, name: str, output: str, **more: Any) -> None:
    """Print the commit, or that nothing changed."""
    if output == "json":
        sha = commit.sha if commit is not None else None
        click.echo(json.dumps({"pipeline": name, "commit": sha, **more}))
    elif commit is not None:
        print_progress(commit.subject)
        click.echo(commit.sha)
    else:
        print_progress(f"{name}: nothing to change")
