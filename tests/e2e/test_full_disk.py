"""Stores whose disk really is full: nothing acknowledged is lost, the message says so, and it goes on with room.

The stores' folders are small file systems of their own, mounted in a namespace that the platform runs in.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support import starter
from support.loops import applied
from support.streams import stored

from driftloop.clients.nats import open_connection
from driftloop.demo.platform import DemoPlatform
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MOUNT = 'mount -t tmpfs -o size=32m tmpfs "$0/s3" && mount -t tmpfs -o size=32m tmpfs "$0/nats" && exec "${@}"'
BODY = b"x" * 2000


def refused() -> str:
    """Why small file systems can't be had here; empty when they can."""
    try:
        done = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "there is no `unshare`"
    return (
        "" if done.returncode == 0 else f"no mount namespaces for this user: {done.stderr.strip()}"
    )


@dataclass
class Disk:
    """One store's small file system, reached through the namespace of the process that sees it."""

    folder: Path

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> None:
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1024))

    def free(self) -> None:
        self._filler.unlink()


@dataclass
class World:
    """The platform, and the disks below its stores."""

    platform: DemoPlatform
    s3: Disk
    nats: Disk

    async def status(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.platform.read_port('api')}/status"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def wait_said(self, text: str, *, said: bool = True) -> None:
        """Wait until `status` tells it of a disk, or does no more."""

        async def is_so() -> bool:
            return any(text in line for line in (await self.status())["disk"]) is said

        await self.platform.wait_until(is_so, f"`{text}` in status to be {said}", within=300)

    def timeline(self) -> str:
        return self.platform.state.timeline.read_text()

    async def train(self) -> tuple[str, str]:
        """Ask for a run and wait for its end: phase and message."""
        platform = self.platform
        said = await platform.run_command(
            "trigger", platform.name, "--state", str(platform.state.root), "--output", "json"
        )
        run = str(json.loads(said)["run"])
        await platform.wait_until(lambda: platform.read_outcome(run), f"run {run}", within=300)
        status = (platform.read_workflow(run) or {})["status"]
        return str(status["phase"]), str(status.get("message", ""))


@pytest.fixture
def platform(tmp_path: Path, envs: Path) -> Iterator[DemoPlatform]:
    """`driftloop up` of the starter's project, its stores on 32 MiB each."""
    if why := refused():
        pytest.skip(f"a full disk can't be made here: {why}")
    state = StateFolder.open_folder(tmp_path / "state")
    state.create_folders()
    spec = starter.project(tmp_path)
    up = [
        sys.executable,
        "-m",
        "driftloop.cli",
        "up",
        str(spec),
        "--state",
        str(state.root),
        "--envs",
        str(envs),
    ]
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(state.root), *up],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield DemoPlatform(state, starter.NAME, starter.NAME)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
            process.wait(90)


@contextlib.asynccontextmanager
async def world(platform: DemoPlatform, tmp_path: Path) -> AsyncIterator[World]:
    await platform.wait_until(
        lambda: applied(platform), f"the first commit; {tmp_path}/up.log", within=600
    )
    seen = Path(f"/proc/{platform.state.find_holder()}/root{platform.state.root}")
    platform.upload_files([starter.batch(tmp_path / "a.npz")], "s3://mine/batches")
    yield World(platform, Disk(seen / "s3"), Disk(seen / "nats"))


async def test_a_full_disk_loses_nothing_and_is_said(
    platform: DemoPlatform, tmp_path: Path
) -> None:
    async with world(platform, tmp_path) as here:
        assert await here.train() == ("Succeeded", "")
        production, head = platform.read_release(), platform.read_tip()

        # the object store
        here.s3.fill()
        message = await failure(platform)
        # the claim counts, and what it hands to the rehearsal can't be stored
        assert "claim error: " in message
        assert "s3://driftloop/runs/" in message
        assert "the disk of the store may be full" in message
        await here.wait_said(f"only 0 MiB free on the disk of {platform.state.s3}")
        assert (platform.read_release(), platform.read_tip()) == (production, head)
        here.s3.free()
        platform.upload_files([starter.batch(tmp_path / "b.npz", seed=1)], "s3://mine/batches")
        assert (await here.train())[0] == "Succeeded"

        # the streams
        acknowledged = [await until_taken(platform) for _ in range(20)]
        here.nats.fill()
        more, answer = await post_until_refused(platform)
        acknowledged += more
        assert answer == "NATS did not acknowledge in time; it may be busy, or its disk full"
        await here.wait_said("NATS stores nothing")
        await here.wait_said("no space left on device")
        assert (await post(platform, str(uuid.uuid4())))[0] == 503
        here.nats.free()
        acknowledged += [await until_taken(platform) for _ in range(20)]
        await here.wait_said("NATS", said=False)
        assert "NATS starts again" in here.timeline()
        async with open_connection(platform.nats_url, name="test") as js:
            found = [
                message.id.rpartition(" ")[2]
                for message in await stored(js, "KN_MINE__DEFAULT", subject="*.*.*.test")
            ]
        assert set(acknowledged) <= set(found)
        assert len(found) == len(set(found))
        platform.upload_files([starter.batch(tmp_path / "c.npz", seed=2)], "s3://mine/batches")
        assert (await here.train())[0] == "Succeeded"


async def failure(platform: DemoPlatform) -> str:
    """What `driftloop trigger --wait` says of a run that fails."""
    try:
        return await platform.run_command(
            "trigger", platform.name, "--state", str(platform.state.root), "--wait"
        )
    except LocalError as error:
        return error.message


async def post(platform: DemoPlatform, id: str) -> tuple[int, str]:
    """One event to the ingress: status and text of its answer."""
    url = f"http://127.0.0.1:{platform.read_port('broker')}/{platform.namespace}/default"
    headers = {"ce-id": id, "ce-specversion": "1.0", "ce-source": "test", "ce-type": "test"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=BODY, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def until_taken(platform: DemoPlatform) -> str:
    """Post one event, with the same id again and again, until it is acknowledged."""
    id = str(uuid.uuid4())
    for _ in range(360):
        if (await post(platform, id))[0] == 202:
            return id
        await asyncio.sleep(0.5)
    raise AssertionError(f"event {id} was never taken")


async def post_until_refused(platform: DemoPlatform) -> tuple[list[str], str]:
    """Ids that were acknowledged, and what the first refusal said."""
    ids: list[str] = []
    for _ in range(2000):
        id = str(uuid.uuid4())
        status, text = await post(platform, id)
        if status != 202:
            assert status == 503
            return ids, text
        ids.append(id)
    raise AssertionError("a full disk took 2000 events")
