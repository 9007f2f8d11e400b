"""The disks below the stores: said when they fill up, and NATS started again once there is room.

A JetStream stream that met a write error refuses everything from then on, room or not, until
nats-server starts again (seen with 2.15); its /healthz tells. What it acknowledged before is kept.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from driftloop.local.ground.state import LEAST_FREE, StateFolder
from driftloop.local.ground.timeline import EventTimeline

PERIOD = 2.0
"""Seconds between two looks."""

ANSWER = 2.0
"""Seconds that NATS may take to answer."""

ROOM = 32 * 1024 * 1024
"""Bytes that must be free before NATS is started again, or at most half of the disk."""

PAUSE = 15.0
"""Seconds between two such starts, should the first not help."""


class StorageWatch:
    """Looks at the folders of the stores.

    `restart` ends NATS, which its supervisor then starts again.
    """

    def __init__(
        self,
        state: StateFolder,
        *,
        monitor: int,
        restart: Callable[[], None],
        timeline: EventTimeline,
    ) -> None:
        self._folders = (state.root, state.s3, state.nats)
        self._nats = state.nats
        self._monitor = f"http://127.0.0.1:{monitor}/healthz"
        self._restart = restart
        self._timeline = timeline
        self._short: dict[Path, int] = {}
        self._broken: str | None = None
        self._restarted = 0.0

    def list_troubles(self) -> list[str]:
        """Return one line for each current problem."""
        troubles = [
            f"only {free // 2**20} MiB free on the disk of {folder}: free some space, stores refuse writes without"
            for folder, free in self._short.items()
        ]
        if self._broken is not None:
            troubles.append(
                f"NATS stores nothing ({self._broken}); it starts again by itself once there is room"
            )
        return troubles

    async def watch_disks(self) -> None:
        """Look again and again, for ever."""
        # aiohttp's own timeout swallows a cancellation that comes in the same moment (3.14): `up` would never end
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as session:
            while True:
                self._measure_free_space()
                await self._check_nats(session)
                await asyncio.sleep(PERIOD)

    def _measure_free_space(self) -> None:
        disks = {folder.stat().st_dev: folder for folder in reversed(self._folders)}
        short: dict[Path, int] = {}
        for folder in disks.values():
            free = shutil.disk_usage(folder).free
            # what was said is taken back when there is clearly more, so that it is not said over and over
            if free < (LEAST_FREE * 1.1 if folder in self._short else LEAST_FREE):
                short[folder] = free
                if folder not in self._short:
                    why = (
                        "stores refuse writes when the disk is full; what they acknowledged is kept"
                    )
                    self._timeline.add_entry(
                        "platform", f"only {free // 2**20} MiB free on the disk of {folder}", why
                    )
        for folder in self._short.keys() - short.keys():
            self._timeline.add_entry("platform", f"there is room again on the disk of {folder}")
        self._short = short

    async def _check_nats(self, session: aiohttp.ClientSession) -> None:
        try:
            async with asyncio.timeout(ANSWER), session.get(self._monitor) as answer:
                health = json.loads(await answer.text())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            # it is away or starts: its process tells
            return
        error = str(health.get("error", ""))
        broken = error if "write error" in error else None
        if broken is not None and self._broken is None:
            self._timeline.add_entry("platform", "NATS stores nothing", broken)
        if broken is None and self._broken is not None:
            self._timeline.add_entry("platform", "NATS stores again")
        self._broken = broken
        if broken is not None and self._has_room() and time.monotonic() > self._restarted + PAUSE:
            self._restarted = time.monotonic()
            self._timeline.add_entry(
                "platform",
                "NATS starts again, now that there is room",
                "its streams refuse writes until then",
            )
            self._restart()

    def _has_room(self) -> bool:
        disk = shutil.disk_usage(self._nats)
        return disk.free > min(ROOM, disk.total // 2)
