"""What is said of a store that refuses writes, and when NATS is started again. tests/e2e has the really full disk."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from support.processes import until

from driftloop.local.ground.state import StateFolder
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.up import storage
from driftloop.local.up.storage import StorageWatch

BROKEN = {
    "status": "unavailable",
    "error": "JetStream stream '$G > X' write error: no space left on device",
}
WELL = {"status": "ok"}


@dataclass
class Nats:
    """Stands for nats-server's /healthz; a start makes it well."""

    answer: dict[str, str] = field(default_factory=lambda: WELL)
    starts: int = 0
    heals: bool = True

    def restart(self) -> None:
        self.starts += 1
        if self.heals:
            self.answer = WELL

    async def handle(self, request: web.BaseRequest) -> web.Response:
        return web.json_response(self.answer, status=200 if self.answer is WELL else 503)


@dataclass
class Watched:
    nats: Nats
    storage: StorageWatch
    timeline: Path

    def told(self) -> list[str]:
        lines = self.timeline.read_text().splitlines() if self.timeline.exists() else []
        return [json.loads(line)["what"] for line in lines]


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(storage, "PERIOD", 0.05)
    monkeypatch.setattr(storage, "LEAST_FREE", 0)
    state = StateFolder.open_folder(tmp_path / "state")
    state.create_folders()
    nats = Nats()
    runner = web.ServerRunner(web.Server(nats.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it = StorageWatch(
        state,
        monitor=runner.addresses[0][1],
        restart=nats.restart,
        timeline=EventTimeline(state.timeline),
    )
    task = asyncio.create_task(it.watch_disks())
    yield Watched(nats, it, state.timeline)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await runner.cleanup()


async def test_nats_starts_again_once_there_is_room(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StorageWatch, "_has_room", lambda self: False)
    watched.nats.answer = BROKEN
    await until(lambda: watched.told() == ["NATS stores nothing"])
    (said,) = watched.storage.list_troubles()
    assert "no space left on device" in said
    await asyncio.sleep(0.3)
    assert watched.nats.starts == 0
    monkeypatch.setattr(StorageWatch, "_has_room", lambda self: True)
    await until(lambda: "NATS stores again" in watched.told())
    assert (watched.nats.starts, watched.storage.list_troubles()) == (1, [])


async def test_a_start_that_does_not_help_is_not_repeated_at_once(watched: Watched) -> None:
    watched.nats.heals = False
    watched.nats.answer = BROKEN
    await until(lambda: watched.nats.starts == 1)
    await asyncio.sleep(0.5)
    assert watched.nats.starts == 1


async def test_another_complaint_of_nats_starts_nothing(watched: Watched) -> None:
    watched.nats.answer = {
        "status": "unavailable",
        "error": "JetStream stream '$G > X' is not current",
    }
    await asyncio.sleep(0.5)
    assert (watched.nats.starts, watched.told(), watched.storage.list_troubles()) == (0, [], [])


async def test_a_disk_that_fills_up_is_said_once(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LEAST_FREE", 1 << 60)
    await until(lambda: watched.storage.list_troubles() != [])
    await asyncio.sleep(0.3)
    (told,) = watched.told()
    assert "MiB free on the disk of" in told
    monkeypatch.setattr(storage, "LEAST_FREE", 0)
    await until(lambda: watched.storage.list_troubles() == [])
    assert "there is room again on the disk of" in watched.told()[1]
