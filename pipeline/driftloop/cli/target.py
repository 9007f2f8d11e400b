"""The cluster repository of a command, and the printing of a commit."""

import os
from contextlib import AbstractContextManager
from typing import Any

import click

from driftloop.cli.options import print_document, print_progress
from driftloop.git.repository import Commit
from driftloop.operations.commits.target import CommitTarget, open_target
from driftloop.operations.ground.place import StateChoice


def open_repository(
    url: str | None, branch: str, state: StateChoice, cluster: str | None
) -> AbstractContextManager[CommitTarget]:
    """Open the repository that the options name, with the credentials of the environment."""
    return open_target(
        url,
        branch=branch,
        state=state,
        environment=os.environ,
        report=print_progress,
        cluster=cluster,
    )


def print_commit(
    target: CommitTarget, commit: Commit | None, name: str, output: str, **more: Any
) -> None:
    """Print the commit, or that nothing changed, and the repository and branch."""
    repository, branch = target.repository.url, target.repository.writes_to
    if output != "text":
        sha = commit.sha if commit is not None else None
        document = {"pipeline": name, "commit": sha, "repository": repository, "branch": branch}
        print_document({**document, **more}, output)
    elif commit is not None:
        print_progress(commit.subject)
        print_progress(f"committed to branch {branch} of {repository}")
        click.echo(commit.sha)
    else:
        print_progress(f"{name}: nothing to change in branch {branch} of {repository}")
