"""A detector process in the monitor image's environment, on a real NATS server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import monitor
from support.detector import ROOT, Settings, reference, run
from support.processes import Process, free_port, nats, url


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
        chosen = Settings(**settings)
        artifact = tmp_path / f"artifact-{chosen.kind}{chosen.run}"
        if not artifact.exists():
            answers = tmp_path / "answers.jsonl"
            source = ("--answers", str(answers))
            if chosen.on == "request":
                source = ("--reference", str(reference(tmp_path / "reference")), "--features", "x")
            fitted = run(
                monitor_python,
                *("fit", "--detector", chosen.json, *source, "--out", str(artifact)),
                *(("--run", chosen.run) if chosen.run else ()),
                *chosen.function_options,
            )
            assert fitted.returncode == 0, fitted.stderr
        port = free_port()
        argv = [
            str(monitor_python),
            "-m",
            "driftloop.services.detector",
            "serve",
            "--port",
            str(port),
        ]
        argv += [
            "--namespace",
            chosen.namespace,
            "--pipeline",
            chosen.pipeline,
            "--detector",
            chosen.detector,
        ]
        argv += ["--release", chosen.release, "--config", chosen.json, "--artifact", str(artifact)]
        argv += ["--broker", chosen.broker, "--stream-bytes", str(chosen.stream_bytes)]
        argv += chosen.function_options
        environment = {
            "NATS_URL": url(server),
            "PYTHONPATH": str(ROOT / "pipeline"),
            "NO_PROXY": "127.0.0.1",
        }
        process = Process(
            argv, tmp_path / f"detector-{port}.log", port, "/healthz", environment
        ).start(100)
        started.append(process)
        return process

    yield started_with
    for process in started:
        process.kill()
