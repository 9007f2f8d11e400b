"""A working copy on disk: where its root is, and what in it is not committed."""

import subprocess
from collections.abc import Collection
from pathlib import Path

from driftloop.errors import GitError
from driftloop.git.failures import explain_failure


def find_root(folder: Path) -> Path | None:
    """Return the root of the working copy that a folder is in; None when it is in none."""
    done = _run_git(folder, "rev-parse", "--show-toplevel")
    return Path(done.stdout.rstrip("\n")) if done.returncode == 0 else None


def list_uncommitted(root: Path, paths: Collection[str]) -> tuple[str, ...]:
    """Return those of the paths that are other than in the last commit, or in none."""
    done = _run_git(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
    if done.returncode != 0:
        raise explain_failure(str(root), "status", done.stderr)
    changed = {entry[3:] for entry in done.stdout.split("\0")}
    return tuple(sorted(changed & set(paths)))


def _run_git(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["git", "-C", folder, *words], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise GitError("`git` is not installed", hint="install git") from error
