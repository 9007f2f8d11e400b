"""The cluster repository that a person's command writes to, its author, and the runtime that
follows it."""

import getpass
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from driftloop.contract.layout import CLUSTER
from driftloop.contract.names import person_cause
from driftloop.errors import GitError
from driftloop.git.repository import Author, Credentials, Repository, Tree, refuse_writes
from driftloop.operations.commits.clusters import choose_layout, read_platform
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.ground.place import StateChoice, choose_repository
from driftloop.platform import PlatformFile, find_platforms


@dataclass(frozen=True)
class CommitTarget:
    """A cluster repository and the person who commits to it."""

    repository: Repository
    person: str
    cluster: str | None = None
    """Cluster that was asked for; None: the only one that the repository has."""

    def read_platform(self, tree: Tree) -> PlatformFile:
        """Return the platform of the cluster, from the tree of a tip."""
        layout = tree.layout
        name = layout.cluster if layout is not None else self.cluster or CLUSTER
        return read_platform(tree, layout, name)

    @property
    def cause(self) -> str:
        """The cause trailer of what a person does."""
        return person_cause(self.person)


@contextmanager
def open_target(
    url: str | None,
    *,
    branch: str,
    state: StateChoice,
    environment: Mapping[str, str],
    report: Callable[[str], None],
    cluster: str | None = None,
    is_applied: bool = True,
) -> Iterator[CommitTarget]:
    """Open the repository at `url`, or the one that `choose_repository` chooses.

    The credentials are DRIFTLOOP_GIT_USERNAME and DRIFTLOOP_GIT_PASSWORD of `environment`.
    GitError when nothing names a repository, or it has no such cluster; without `cluster` it is that of
    a repository that has one. A branch that is not to be applied may be any.
    """
    url, note = choose_repository(url, state, environment)
    if note is not None:
        report(note)
    if "://" not in url and not url.startswith("git@"):
        url = f"file://{Path(url).expanduser().resolve()}"
    author = _read_author()
    with tempfile.TemporaryDirectory(prefix="driftloop-git-") as workdir:
        repository = Repository(
            url,
            branch=branch,
            workdir=Path(workdir),
            guard=refuse_harm,
            credentials=Credentials.from_environment(environment),
            author=author,
            layout=choose_layout(cluster, branch if is_applied else None),
        )
        yield CommitTarget(repository, read_person(), cluster)


def choose_clusters(target: CommitTarget, source: str | None, to: str) -> CommitTarget:
    """Return the same repository as the cluster to promote from has it: the one that is named, or the only other one
    than `to`. GitError when it is none of the repository's."""
    # the tree of one cluster does not hold the others: all of them are read at once
    whole = target.repository.copy(None)
    names = [each.cluster for each in find_platforms(whole.tree(whole.tip()))]
    if to not in names:
        raise GitError(
            f"cluster `{to}` has no platform file, only these have: {', '.join(names) or 'none'}",
            hint="clusters that are promoted between have releases, and so platform files, of their own",
        )
    others = [name for name in names if name != to]
    chosen = others[0] if source is None and len(others) == 1 else source
    if chosen not in others:
        said = "--from is not given" if source is None else f"--from is `{source}`"
        raise GitError(f"{said}, must be one of: {', '.join(others) or 'none'}")
    layout = choose_layout(chosen, target.repository.branch)
    return replace(target, repository=target.repository.copy(layout), cluster=chosen)


def choose_branch(target: CommitTarget, name: str) -> CommitTarget:
    """Return the repository as one whose changes go to a new branch; GitError when there is one of this name."""
    layout = choose_layout(target.cluster, target.repository.branch)
    return replace(target, repository=target.repository.copy(layout, to_branch=name))


def open_reading(
    url: str,
    *,
    branch: str,
    workdir: Path,
    environment: Mapping[str, str],
    cluster: str | None = None,
) -> Repository:
    """Open the repository at `url` with the same credentials, to read it again and again."""
    credentials = Credentials.from_environment(environment)
    return Repository(
        url,
        branch=branch,
        workdir=workdir,
        guard=refuse_writes,
        credentials=credentials,
        layout=choose_layout(cluster, branch),
    )


def read_person() -> str:
    """Return who types a command here: by git's settings, else the user of the machine. Nothing proves it."""
    author = _read_author()
    return author.name if author is not None else getpass.getuser()


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
