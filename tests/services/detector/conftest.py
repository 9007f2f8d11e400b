"""A detector process in the monitor image's environment, on a real NATS server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import monitor
from support.detector import start_detector
from support.processes import Process, nats


@pytest.fixture(scope="session")
def monitor_python() -> Path:
    return monitor.python()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = nats(tmp_path_factory.mktemp("nats")).start()
    yield process
    process.kill()


@pytest.fixture
def start(monitor_python: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Fit and start a detector; killed at the end."""
    started: list[Process] = []

    def started_with(server: Process, **settings: Any) -> Process:
        process = start_detector(monitor_python, tmp_path, server, **settings)
        started.append(process)
        return process

    yield started_with
    for process in started:
        process.kill()
