"""A recorder in the monitor image's environment, on a real NATS server and a real object store."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import monitor
from support.recorder import RecorderWorld


@pytest.fixture(scope="session")
def monitor_python() -> Path:
    return monitor.python()


@pytest.fixture
def start(monitor_python: Path, tmp_path: Path) -> Iterator[Callable[..., RecorderWorld]]:
    """Start a recorder with settings; killed at the end."""
    worlds: list[RecorderWorld] = []

    def started(*, stream_bytes: int = 64 * 1024 * 1024, **settings: Any) -> RecorderWorld:
        releases = [{"id": "r1", "role": "production"}, {"id": "r2", "role": "shadow"}]
        folder = tmp_path / f"world-{len(worlds)}"
        folder.mkdir()
        chosen = {"every": 1.0, "releases": releases, **settings}
        world = RecorderWorld(folder, monitor_python, chosen, stream_bytes)
        worlds.append(world)
        return world.start()

    yield started
    for world in worlds:
        world.kill()
