"""A branch of a git repository that several writers share: read its tip, add one commit, push,
never force.

There is no working copy. A change is a set of texts laid over the tip's tree with git's
plumbing, so nothing lies about half-written after a crash, and a lost race costs one more fetch:
the change is built again from the new tip.
"""

import fcntl
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from driftloop.contract.layout import Layout
from driftloop.contract.platform import GIT_PASSWORD, GIT_USERNAME
from driftloop.errors import GitError
from driftloop.git.failures import CREDENTIAL_VARIABLES, explain_failure, is_race
from driftloop.git.message import format_message

ATTEMPTS = 60
"""Pushes tried before giving up; each lost race means that somebody else's commit went in."""
TIMEOUT = 120.0
"""Seconds a single git command may take."""

_OPTIONS_END = "--end-of-options"
"""What follows is a revision, whatever it begins with."""

_LOGGED = 7
"""Texts of one commit in the log."""

_REGULAR = frozenset({"100644", "100755"})


ChangeGuard = Callable[[Mapping[str, str], Mapping[str, str | None]], None]
"""Takes the tip's files and the new texts (None deletes), and raises what refuses the change."""


@dataclass(frozen=True)
class Credentials:
    """User name and password (or token) of an http(s) remote."""

    username: str
    password: str = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Credentials | None":
        """Return those of the platform's variables; None without a password."""
        password = environment.get(GIT_PASSWORD.environment, "")
        if not password:
            return None
        return cls(environment.get(GIT_USERNAME.environment, ""), password)


@dataclass(frozen=True)
class Author:
    """Author and committer of the commits."""

    name: str = "driftloop"
    email: str = "driftloop@users.noreply.localhost"


def refuse_writes(existing: Mapping[str, str], files: Mapping[str, str | None]) -> None:
    """Raise GitError for every change: the guard of a program that only reads."""
    raise GitError(f"this program only reads the repository, it can't write {', '.join(files)}")


@dataclass(frozen=True)
class RepositoryChange:
    """Files of a commit (path -> new text, None deletes) and its message; trailers are one line."""

    files: Mapping[str, str | None]
    subject: str
    body: str = ""
    trailers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """A commit that is on the remote branch."""

    sha: str
    subject: str


@dataclass(frozen=True)
class LoggedCommit:
    """A commit in the history, and its trailers."""

    commit: Commit
    trailers: Mapping[str, str]
    parent: str | None
    author: str
    at: float
    """When it was committed, in seconds since 1970."""
    body: str = ""
    """Its message below the subject, trailers included."""


class Tree(Mapping[str, str]):
    """The regular files of one commit, path -> text, read folder by folder when asked for."""

    def __init__(
        self,
        repository: "Repository",
        entries: Mapping[str, tuple[str, str]],
        layout: Layout | None,
    ) -> None:
        self._repository = repository
        self.layout = layout
        """Places of the files in the repository; None: paths are those of the repository."""
        self._entries = entries
        self._texts: dict[str, str] = {}

    def __getitem__(self, path: str) -> str:
        if path not in self._texts:
            if path not in self._entries or self._entries[path][0] not in _REGULAR:
                raise KeyError(path)
            folder = PurePosixPath(path).parent
            pattern = {
                other: blob
                for other, (mode, blob) in self._entries.items()
                if mode in _REGULAR and PurePosixPath(other).parent == folder
            }
            self._texts.update(self._repository._blobs(pattern))
        return self._texts[path]

    def __iter__(self) -> Iterator[str]:
        return (path for path, (mode, _) in self._entries.items() if mode in _REGULAR)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def under(self, folder: str) -> dict[str, str]:
        """The files below a folder (no trailing slash)."""
        return {path: self[path] for path in self if path.startswith(folder + "/")}

    def irregular(self, path: str) -> bool:
        """Return true if this path or a folder above it is a symbolic link or a submodule."""
        parts = [path, *map(str, PurePosixPath(path).parents)]
        return any(
            part in self._entries and self._entries[part][0] not in _REGULAR for part in parts
        )


class Repository:
    """One branch of a repository (file://, a path, http(s) or ssh); `workdir` is a cache and may
    be deleted, and `guard` sees every change before it is committed.

    Without credentials git's own settings (agents, helpers) are used; with them, nothing else
    is. With a layout all paths are those of its cluster, wherever its files stand, and the files of other
    clusters are not seen; a function finds the layout in the first tip that is seen.
    """

    def __init__(
        self,
        url: str,
        *,
        branch: str = "main",
        workdir: Path,
        guard: ChangeGuard,
        credentials: Credentials | None = None,
        author: Author | None = None,
        layout: Layout | Callable[[Tree], Layout] | None = None,
    ) -> None:
        if url.startswith("-"):
            raise GitError(
                f"`{url}` is not an address of a repository: it begins with `-`",
                hint="must be one of: https://…, ssh://…, user@host:path, file://…, a path",
            )
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.password is not None:
            raise GitError(
                f"the URL of the repository at `{parts.hostname}` contains a password",
                hint=f"pass user name and password separately ({', '.join(CREDENTIAL_VARIABLES)})",
            )
        self.url = url
        self.branch = branch
        self._workdir = workdir
        self._guard = guard
        self._credentials = credentials
        self._author = author or Author()
        self._layout = layout
        self._held = False
        self._ref = f"refs/driftloop/{branch}"
        self._check_branch(branch)
        self.writes_to = branch
        """Branch that changes are pushed to."""

    def _check_branch(self, name: str) -> None:
        if self._run("check-ref-format", "--branch", name, bare=False).returncode != 0:
            raise GitError(
                f"`{name}` is not a branch name",
                hint="name the branch that is followed, for example `main`",
            )

    def tip(self) -> str | None:
        """The remote branch's commit; None while the repository has no commit at all."""
        with self._locked():
            return self._fetch()

    @property
    def layout(self) -> Layout | None:
        """Places of one cluster's files, once the tip was seen; None: paths are those of the repository."""
        return None if callable(self._layout) else self._layout

    def copy(
        self, layout: "Layout | Callable[[Tree], Layout] | None", *, to_branch: str | None = None
    ) -> "Repository":
        """Return the same repository as another layout has it. With `to_branch` changes of the branch go to a new one;
        GitError when there is one of that name."""
        copy = Repository(
            self.url,
            branch=self.branch,
            workdir=self._workdir,
            guard=self._guard,
            credentials=self._credentials,
            author=self._author,
            layout=layout,
        )
        if to_branch is not None:
            copy._check_branch(to_branch)
            heads = self._remote("ls-remote", "--heads").splitlines()
            if any(line.endswith(f"\trefs/heads/{to_branch}") for line in heads):
                raise GitError(
                    f"{self.url} has a branch `{to_branch}` already", hint="name another one"
                )
            copy.writes_to = to_branch
        return copy

    def tree(self, commit: str | None) -> Tree:
        """The files of a commit that `tip` or `change` has seen; none for None."""
        if commit is None:
            return Tree(self, {}, self.layout)
        listed = self._git("ls-tree", "-r", "-z", "--full-tree", _OPTIONS_END, commit)
        entries: dict[str, tuple[str, str]] = {}
        for line in filter(None, listed.split("\0")):
            mode, _, rest = line.partition(" ")
            blob, _, path = rest.partition(" ")[2].partition("\t")
            known = path if self.layout is None else self.layout.find(path)
            if known is not None:
                entries[known] = (mode, blob)
        return Tree(self, entries, self.layout)

    def _place(self, path: str) -> str:
        return path if self.layout is None else self.layout.place(path)

    def contains(self, commit: str, *, ancestor: str) -> bool:
        """Return true if `ancestor` is `commit` or in its history; false for an unknown commit."""
        done = self._run("merge-base", "--is-ancestor", _OPTIONS_END, ancestor, commit)
        return done.returncode == 0

    def last_touching(self, commit: str, path: str) -> Commit | None:
        """The newest commit in the history of `commit` that changed a path."""
        line = self._git(
            "log", "-1", "--format=%H %s", _OPTIONS_END, commit, "--", self._place(path)
        ).strip()
        sha, _, subject = line.partition(" ")
        return Commit(sha, subject) if sha else None

    def find(self, commit: str, trailer: str, value: str) -> LoggedCommit | None:
        """The newest commit in the history of `commit` that carries a trailer, with all its
        trailers."""
        pattern = f"{trailer}: {value}"
        # runs of two clusters may have the same name, made of the same second of the same schedule
        folders = () if self.layout is None else self.layout.folders
        commits = self._log(
            "-20", "--fixed-strings", f"--grep={pattern}", _OPTIONS_END, commit, "--", *folders
        )
        return next((entry for entry in commits if entry.trailers.get(trailer) == value), None)

    def history(self, commit: str, path: str, most: int) -> tuple[LoggedCommit, ...]:
        """The newest commits in the history of `commit` that changed a path, newest first."""
        return self._log(f"-{most}", _OPTIONS_END, commit, "--", self._place(path))

    def _log(self, *arguments: str) -> tuple[LoggedCommit, ...]:
        form = "%x00".join(("%H", "%s", "%P", "%ct", "%an", "%(trailers:only,unfold)", "%b"))
        # no message has a NUL: each commit is as many texts as the form has, each ended by one
        texts = self._git("log", "-z", f"--format={form}", *arguments).split("\0")
        commits = []
        for start in range(0, len(texts) - _LOGGED + 1, _LOGGED):
            sha, subject, parents, at, author, lines, body = texts[start : start + _LOGGED]
            trailers = dict(line.split(": ", 1) for line in lines.splitlines() if ": " in line)
            parent = parents.partition(" ")[0] or None
            commit = Commit(sha, subject)
            commits.append(LoggedCommit(commit, trailers, parent, author, float(at), body.strip()))
        return tuple(commits)

    def change(
        self, build: Callable[[Tree], RepositoryChange | Sequence[RepositoryChange] | None]
    ) -> Commit | None:
        """Lay a change over the branch's tip and push it; None when there is nothing to change.

        Several changes become one commit each, one on top of the other, in one push: all of them
        or none. The last is returned. `build` gets the tip's files and is called again whenever
        another writer was faster, so it must derive everything from what it is given. What it
        raises passes through; nothing is pushed then.
        """
        with self._locked():
            tip = self._fetch()
            for attempt in range(ATTEMPTS):
                built = build(self.tree(tip))
                commit: Commit | None = None
                for change in [built] if isinstance(built, RepositoryChange) else built or ():
                    parent = commit.sha if commit is not None else tip
                    commit = self._commit(parent, self.tree(parent), change) or commit
                if commit is None:
                    return None
                refusal = self._push(commit)
                if refusal is None:
                    return commit
                before, tip = tip, self._fetch()
                if tip is not None and self.contains(tip, ancestor=commit.sha):
                    return commit  # the answer was lost, the push was not
                if tip == before and not is_race(refusal):
                    raise explain_failure(self.url, "push", refusal)
                time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))  # noqa: S311 - spreads writers, guards nothing
        raise GitError(
            f"`{self.branch}` of {self.url} changed during each of {ATTEMPTS} pushes",
            hint="another program pushes to the branch all the time; try again later",
        )

    def _commit(self, tip: str | None, tree: Tree, change: RepositoryChange) -> Commit | None:
        files = {path: text for path, text in change.files.items() if tree.get(path) != text}
        if not files:
            return None
        for path in files:
            if path.startswith("/") or any(
                part in ("", ".", "..", ".git") for part in path.split("/")
            ):
                raise GitError(f"`{path}` is not a path inside a repository")
            if tree.irregular(path) or tree.irregular(self._place(path)):
                raise GitError(
                    f"{path} is a symbolic link or a submodule, which is not overwritten",
                    hint="remove it from the repository, or choose another `metadata.name`",
                )
        self._guard(tree, files)
        blobs = self._stored({path: text for path, text in files.items() if text is not None})
        lines = [
            f"100644 {blobs[path]}\t{self._place(path)}"
            if path in blobs
            else f"0 {'0' * 40}\t{self._place(path)}"
            for path in files
        ]
        index = self._workdir / f"index.{os.getpid()}"
        env = {"GIT_INDEX_FILE": str(index)}
        try:
            self._git("read-tree", tip if tip is not None else "--empty", env=env)
            self._git("update-index", "-z", "--index-info", input="\0".join(lines) + "\0", env=env)
            written = self._git("write-tree", env=env).strip()
        finally:
            index.unlink(missing_ok=True)
        parents = [] if tip is None else ["-p", tip]
        message = format_message(change.subject, change.body, change.trailers)
        sha = self._git(
            "commit-tree", written, *parents, "-F", "-", input=message, env=self._identity()
        ).strip()
        return Commit(sha, message.partition("\n")[0])

    def _stored(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Write texts as blobs, all by one process; path -> blob."""
        with tempfile.TemporaryDirectory(dir=self._workdir) as folder:
            for number, text in enumerate(texts.values()):
                (Path(folder) / str(number)).write_bytes(text.encode("utf-8", "surrogateescape"))
            names = "".join(
                f"{Path(folder).resolve() / str(number)}\n" for number in range(len(texts))
            )
            hashed = self._git("hash-object", "-w", "--no-filters", "--stdin-paths", input=names)
        return dict(zip(texts, hashed.split(), strict=True))

    def _push(self, commit: Commit) -> str | None:
        """Push without force; None when it went in, else what git said."""
        done = self._run(
            "push",
            "--porcelain",
            "--quiet",
            "--",
            self.url,
            f"{commit.sha}:refs/heads/{self.writes_to}",
        )
        return None if done.returncode == 0 else done.stdout + done.stderr

    def _fetch(self) -> str | None:
        done = self._run(
            "fetch",
            "--quiet",
            "--no-tags",
            "--",
            self.url,
            f"+refs/heads/{self.branch}:{self._ref}",
        )
        if done.returncode == 0:
            return self._find_layout(self._git("rev-parse", "--verify", self._ref).strip())
        if "couldn't find remote ref" not in done.stderr:
            raise explain_failure(self.url, "fetch", done.stderr)
        others = [
            line.rpartition("refs/heads/")[2]
            for line in self._remote("ls-remote", "--heads").splitlines()
        ]
        if self.branch in others:
            # another writer has made it since
            return self._fetch()
        if others:
            raise GitError(
                f"{self.url} has no branch `{self.branch}`, it has: {', '.join(others[:10])}",
                hint="create the branch, or name the one that is followed (git-branch in `driftloop-platform`)",
            )
        return self._find_layout(None)

    def _find_layout(self, tip: str | None) -> str | None:
        if callable(self._layout):
            self._layout = self._layout(self.tree(tip))
        return tip

    def _remote(self, command: str, *arguments: str) -> str:
        done = self._run(command, *arguments, "--", self.url)
        if done.returncode != 0:
            raise explain_failure(self.url, command, done.stderr)
        return done.stdout

    def _blobs(self, wanted: Mapping[str, str]) -> dict[str, str]:
        request = "".join(f"{blob}\n" for blob in wanted.values())
        answer = self._run_bytes("cat-file", "--batch", input=request.encode())
        texts, at = {}, 0
        for path in wanted:
            end = answer.index(b"\n", at)
            size = int(answer[at:end].split()[2])
            texts[path] = answer[end + 1 : end + 1 + size].decode(errors="surrogateescape")
            at = end + 1 + size + 1
        return texts

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time in `workdir`; again inside itself, so that a `build` may look at
        the repository."""
        if self._held:
            yield
            return
        try:
            self._workdir.mkdir(parents=True, exist_ok=True)
            lock: IO[str] = (self._workdir / "lock").open("w")
        except OSError as error:
            raise GitError(
                f"can't write in {self._workdir}: {error.strerror}",
                hint="choose a folder that this user may write to",
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (
                not (self._workdir / "objects" / "HEAD").exists()
                and not (self._workdir / "objects" / "config").exists()
            ):
                self._checked(
                    self._run(
                        "init", "--quiet", "--bare", "--template=", str(self._gitdir), bare=False
                    )
                )
            self._held = True
            try:
                yield
            finally:
                self._held = False

    @property
    def _gitdir(self) -> Path:
        return self._workdir / "objects"

    def _git(
        self, *arguments: str, input: str | None = None, env: Mapping[str, str] | None = None
    ) -> str:
        return self._checked(self._run(*arguments, input=input, env=env)).stdout

    def _checked(
        self, done: "subprocess.CompletedProcess[str]"
    ) -> "subprocess.CompletedProcess[str]":
        if done.returncode != 0:
            command = next((part for part in done.args[1:] if not part.startswith("-")), "git")
            raise explain_failure(self.url, command, done.stderr)
        return done

    def _run(
        self,
        *arguments: str,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        bare: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        where = [f"--git-dir={self._gitdir}"] if bare else []
        try:
            return subprocess.run(
                ["git", *where, *arguments],
                input=input,
                env=self._environment() | dict(env or {}),
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=TIMEOUT,
                check=False,
            )
        except FileNotFoundError as error:
            raise GitError(
                "the program `git` is not installed",
                hint="install it, for example `apt install git`",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise GitError(
                f"`git {arguments[0]}` on {self.url} took longer than {TIMEOUT:.0f} s",
                hint="check that the git server answers",
            ) from error

    def _run_bytes(self, *arguments: str, input: bytes) -> bytes:
        done = subprocess.run(
            ["git", f"--git-dir={self._gitdir}", *arguments],
            input=input,
            env=self._environment(),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode != 0:
            raise explain_failure(self.url, arguments[0], done.stderr.decode(errors="replace"))
        return done.stdout

    def _environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        env |= {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0"}
        settings = [
            ("core.hooksPath", "/dev/null"),
            ("gc.auto", "0"),
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "30"),
        ]
        if self._credentials is not None:
            # git asks this shell function; the values pass through the environment only, never argv or a file.
            settings += [("credential.helper", ""), ("credential.helper", _HELPER)]
            env |= {
                GIT_USERNAME.environment: self._credentials.username,
                GIT_PASSWORD.environment: self._credentials.password,
            }
        env["GIT_CONFIG_COUNT"] = str(len(settings))
        for n, (key, value) in enumerate(settings):
            env[f"GIT_CONFIG_KEY_{n}"], env[f"GIT_CONFIG_VALUE_{n}"] = key, value
        return env

    def _identity(self) -> dict[str, str]:
        name, email = self._author.name, self._author.email
        return {
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
        }


_HELPER = '!f() {{ echo "username=${}"; echo "password=${}"; }}; f'.format(*CREDENTIAL_VARIABLES)

_FOREIGN = frozenset(
    {
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
        "GIT_COMMON_DIR",
        "GIT_PREFIX",
        "GIT_CONFIG_PARAMETERS",
        "GIT_TRACE",
        "GIT_TRACE_CURL",
    }
)
"""Set by a surrounding git (a hook) or by a person who debugs; they would point elsewhere, or
print credentials."""
