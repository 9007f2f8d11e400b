"""Bare repositories that hold a committed spec: each is made once a process, and copied where a test wants its own."""

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

from driftloop.git.repository import Repository
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm


def copy_committed(spec: str, to: Path, cause: str = "") -> None:
    """Make a bare repository, or replace an empty one, whose branch `main` has the spec's first commit."""
    shutil.copytree(_commit_once(spec, cause), to, dirs_exist_ok=True)


@functools.cache
def _commit_once(spec: str, cause: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="driftloop-committed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    bare = folder / "cluster.git"
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", bare], check=True)
    repository = Repository(f"file://{bare}", guard=refuse_harm, workdir=folder / "repository")
    pipelines.commit_spec(repository, spec, cause=cause)
    return bare
