"""Preparation of `driftloop up SPEC`: register images, create the cluster repository and
buckets."""

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.ground import addresses, binaries
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet import images
from driftloop.plan import images as refs


def prepare_repository(state: StateFolder) -> None:
    """The bare cluster repository exists afterwards."""
    if (state.repository / "HEAD").exists():
        return
    _run_git(
        "init", "--quiet", "--bare", f"--initial-branch={addresses.BRANCH}", str(state.repository)
    )


def create_buckets(state: StateFolder, names: Iterable[str]) -> None:
    """The buckets exist afterwards: the object store serves each sub-folder as one."""
    for name in (addresses.BUCKET, *names):
        (state.s3 / name).mkdir(parents=True, exist_ok=True)


def register_images(
    state: StateFolder,
    contexts: Iterable[tuple[str, Path]],
    *,
    adapted: bool = False,
    envs: Path | None,
    say: Callable[[str], None],
) -> None:
    """Register a spec's images, (ref, folder) each, and our own ones; environments are built where
    they are missing. `adapted` asks for the one with TensorFlow.
    """
    for ref, context in contexts:
        images.register_image(state, ref, context, envs=envs, say=say)
    images.register_driftloop(state)
    images.register_monitor(state, envs=envs, say=say)
    if adapted:
        images.register_alibi(state, envs=envs, say=say)


def register_own(state: StateFolder, *, envs: Path | None, say: Callable[[str], None]) -> None:
    """Register our own images as far as the branch names them or they were registered before."""
    images.register_driftloop(state)
    images.refresh_image(state)
    is_registered = any(image.ref == refs.MONITOR for image in images.list_registered(state))
    if is_registered or _parse_image_option(state, refs.MONITOR):
        images.register_monitor(state, envs=envs, say=say)
    is_adapted = any(image.ref == refs.ALIBI for image in images.list_registered(state))
    if is_adapted or _parse_image_option(state, refs.ALIBI):
        images.register_alibi(state, envs=envs, say=say)


def _parse_image_option(state: StateFolder, ref: str) -> bool:
    """Return True when a file at the branch's tip contains a ref."""
    if not (state.repository / "HEAD").exists():
        return False
    command = [
        binaries.find_git(),
        f"--git-dir={state.repository}",
        "grep",
        "-q",
        "-F",
        "-e",
        ref,
        "--end-of-options",
        addresses.BRANCH,
        "--",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run_git(*arguments: str) -> None:
    result = subprocess.run(
        [binaries.find_git(), *arguments], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise LocalError(
            f"git {arguments[0]}: {result.stderr.strip()}", hint="is the folder writable?"
        )
