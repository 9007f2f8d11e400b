"""What tests of the running loop share: a commit that is applied, a release, an example's batches, processes that were
left."""

import asyncio
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from uv import find_uv_bin

from driftloop.demo.platform import DemoPlatform, run_program
from driftloop.errors import LocalError
from driftloop.git.repository import Repository
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.release.record import Release


def applied(platform: DemoPlatform) -> str | None:
    """The tip of the repository once all of the pipeline's trees are at it; None until then, or while there is none."""
    try:
        return platform.applied_commit()
    except LocalError:
        return None


async def release_once(platform: DemoPlatform, files: Iterable[Path], uri: str) -> None:
    """Train on these files and wait until the release is applied; LocalError when the run does not succeed."""
    await platform.wait_until(lambda: applied(platform), "the first commit", within=1200)
    await asyncio.to_thread(platform.upload_files, sorted(files), uri)
    state = ("--state", str(platform.state.root), "--output", "json")
    run = json.loads(await platform.run_command("trigger", platform.name, *state))["run"]
    phase = await platform.wait_until(lambda: platform.read_outcome(run), f"run {run}", within=3600)
    if phase != "Succeeded" or platform.read_release().production is None:
        raise LocalError(f"run {run} ended as {phase}")
    await platform.wait_until(lambda: applied(platform), "the release", within=300)


async def wait_told(platform: DemoPlatform, *words: str) -> str:
    """What `status` says once it has all these words: `up` reads what is stored a moment later than a test does."""

    async def read() -> str | None:
        try:
            said = await platform.run_command("status", "--state", str(platform.state.root))
        except LocalError as error:
            # where `up` has ended, the wait says so
            if "does not answer yet" not in error.message:
                raise
            return None
        return said if all(word in said for word in words) else None

    return await platform.wait_until(read, f"{words} in status", within=300)


async def batches(project: Path, what: str, *kinds: str, to: Path) -> None:
    """Run an example's own batches.py."""
    command = [find_uv_bin(), "run", "--quiet", "--no-project", str(project / "batches.py"), what]
    await run_program([*command, "--to", str(to), "--kind", *kinds])


def processes_of(state: Path) -> list[str]:
    """Command lines of the processes that carry the state folder's mark."""
    mark = f"DRIFTLOOP_CHILD_OF={state.resolve()}".encode()
    commands = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                commands.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
    return commands


async def commit_move(repository: Repository, step: Callable[[Release], Release]) -> None:
    """Commit a transition of the release of `digits`, as a person does."""

    def message(before: Release, after: Release) -> TransitionMessage:
        return TransitionMessage("Move", after.candidate or after.production, "person eve")

    await asyncio.to_thread(pipelines.commit_transition, repository, "digits", step, message)
