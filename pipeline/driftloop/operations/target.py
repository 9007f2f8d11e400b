"""The cluster repository that a person's command writes to, its author, and the runtime that
follows it."""

import getpass
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftloop.clients.kubernetes import KubernetesClient
from driftloop.contract.names import person_cause
from driftloop.errors import GitError
from driftloop.git.repository import Author, Credentials, Repository
from driftloop.local.ground.state import StateFolder


@dataclass(frozen=True)
class CommitTarget:
    """A cluster repository and the person who commits to it."""

    repository: Repository
    person: str

    @property
    def cause(self) -> str:
        """The cause trailer of what a person does."""
        return person_cause(self.person)


@contextmanager
def open_target(
    url: str | None, *, branch: str, folder: Path, environment: Mapping[str, str]
) -> Iterator[CommitTarget]:
    """Open the repository at `url`, or that of the state folder.

    The credentials are DRIFTLOOP_GIT_USERNAME and DRIFTLOOP_GIT_PASSWORD of `environment`.
    GitError when neither `url` nor the state folder names a repository.
    """
    state = StateFolder.open_folder(folder)
    url = url or (state.repository_url if state.repository.exists() else None)
    if url is None:
        raise GitError(
            f"no cluster repository: --repository is not set and `{state.root}` has none",
            hint="name it with --repository URL, or the state folder of `driftloop up` with --state",
        )
    if "://" not in url and not url.startswith("git@"):
        url = f"file://{Path(url).expanduser().resolve()}"
    password = environment.get("DRIFTLOOP_GIT_PASSWORD", "")
    username = environment.get("DRIFTLOOP_GIT_USERNAME", "")
    author = _read_author()
    with tempfile.TemporaryDirectory(prefix="driftloop-git-") as workdir:
        repository = Repository(
            url,
            branch=branch,
            workdir=Path(workdir),
            credentials=Credentials(username, password) if password else None,
            author=author,
        )
        yield CommitTarget(repository, author.name if author is not None else getpass.getuser())


def find_runtime(folder: Path, environment: Mapping[str, str]) -> KubernetesClient | None:
    """Return the API that shows what is applied: of the running `up`, or
    DRIFTLOOP_KUBERNETES_URL; None without."""
    state = StateFolder.open_folder(folder)
    port = state.known_ports().get("api")
    if port is not None and state.find_holder() is not None:
        return KubernetesClient.from_url(f"http://127.0.0.1:{port}")
    url = environment.get("DRIFTLOOP_KUBERNETES_URL")
    return KubernetesClient.from_url(url) if url else None


def _read_author() -> Author | None:
    name, email = _read_git_setting("user.name"), _read_git_setting("user.email")
    return Author(name, email) if name and email else None


def _read_git_setting(key: str) -> str:
    try:
        done = subprocess.run(
            ["git", "config", "--get", key], capture_output=True, text=True, check=False, timeout=10
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
