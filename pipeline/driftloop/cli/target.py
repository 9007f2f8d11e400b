"""Which cluster repository a person's command writes to, under whose name, and the runtime that follows it."""

import getpass
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from driftloop.clients.kubernetes import Kubernetes
from driftloop.contract import platform as contract
from driftloop.errors import GitError
from driftloop.git.repository import Author, Commit, Credentials, Repository
from driftloop.local.ground.state import State

F = TypeVar("F", bound=Callable[..., Any])

STATE = Path(".driftloop")


state = click.option(
    "--state", default=STATE, type=click.Path(path_type=Path), show_default=True, help="State folder of `up`."
)
output = click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


def options(command: F) -> F:
    """`--repository`, `--branch`, `--state`: where the cluster repository is."""
    branch = click.option("--branch", default="main", show_default=True, help="Branch that Flux follows.")
    repository = click.option(
        "--repository",
        envvar=contract.GIT_URL.environment,
        help="Cluster repository; that of the state folder by default.",
    )
    return repository(branch(state(command)))


@dataclass(frozen=True)
class Target:
    """The repository, and whose name stands on the commits."""

    repository: Repository
    person: str

    @property
    def cause(self) -> str:
        """The cause trailer of what a person does."""
        return f"person {self.person}"


@contextmanager
def opened(repository: str | None, branch: str, folder: Path) -> Iterator[Target]:
    """The repository named on the command line, or the state folder's. Credentials come from the environment."""
    local = State.at(folder)
    url = repository or (local.repository_url if local.repository.exists() else None)
    if url is None:
        raise GitError(
            f"no cluster repository: {local.root} has none and none is named",
            hint="name it with --repository URL, or the state folder of `driftloop up` with --state",
        )
    if "://" not in url and not url.startswith("git@"):
        url = f"file://{Path(url).expanduser().resolve()}"
    password = os.environ.get(contract.GIT_PASSWORD.environment, "")
    credentials = Credentials(os.environ.get(contract.GIT_USERNAME.environment, ""), password) if password else None
    author = _author()
    with tempfile.TemporaryDirectory(prefix="driftloop-git-") as workdir:
        yield Target(
            Repository(url, branch=branch, workdir=Path(workdir), credentials=credentials, author=author),
            author.name if author is not None else getpass.getuser(),
        )


def runtime(folder: Path) -> Kubernetes | None:
    """The API that shows what is applied: the local stand-in while `up` runs, or DRIFTLOOP_KUBERNETES_URL."""
    local = State.at(folder)
    port = local.known_ports().get("api")
    if port is not None and local.holder() is not None:
        return Kubernetes.at(f"http://127.0.0.1:{port}")
    url = os.environ.get(contract.KUBERNETES_URL.environment)
    return Kubernetes.at(url) if url else None


def say(text: str) -> None:
    """Talk goes to stderr."""
    click.echo(text, err=True)


def print_commit(commit: Commit | None, name: str, output: str, **more: Any) -> None:
    """Data goes to stdout: the commit, or that there was nothing to change."""
    if output == "json":
        sha = commit.sha if commit is not None else None
        click.echo(json.dumps({"pipeline": name, "commit": sha, **more}))
    elif commit is not None:
        say(commit.subject)
        click.echo(commit.sha)
    else:
        say(f"{name}: nothing to change")


def _author() -> Author | None:
    name, email = _setting("user.name"), _setting("user.email")
    return Author(name, email) if name and email else None


def _setting(key: str) -> str:
    try:
        done = subprocess.run(["git", "config", "--get", key], capture_output=True, text=True, check=False, timeout=10)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
