"""What every service does the same way: help, a missing setting, a port that is taken, a stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from support.processes import PATIENCE, Process, free_port, nats, url

SERVICES = {
    "driftloop-judge": ("analysis", []),
    "driftloop-decision": (
        "decision",
        ["--policy", "{}", "--webhook", "http://127.0.0.1:1/", "--broker", "http://127.0.0.1:1/"],
    ),
}
MODULES = {
    "driftloop-detector": "detector",
    **{name: module for name, (module, _) in SERVICES.items()},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = nats(tmp_path_factory.mktemp("nats")).start()
    yield process
    process.kill()


def command(name: str, port: int) -> list[str]:
    module, options = SERVICES[name]
    argv = [
        sys.executable,
        "-m",
        f"driftloop.services.{module}",
        "--namespace",
        "n",
        "--pipeline",
        "p",
    ]
    return [*argv, "--host", "127.0.0.1", "--port", str(port), *options]


def environment(nats_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "NATS_URL": nats_url,
        "NATS_READER_URL": nats_url,
        "DRIFTLOOP_WEBHOOK_TOKEN": "t",
    }


@pytest.mark.parametrize("name", MODULES)
def test_help_ends_with_an_example(name: str) -> None:
    argv = [sys.executable, "-m", f"driftloop.services.{MODULES[name]}", "--help"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert text.startswith(f"usage: {name}")
    assert f"example:\n  {name} " in text


@pytest.mark.parametrize("name", SERVICES)
def test_a_missing_setting_is_named(name: str) -> None:
    done = subprocess.run(
        command(name, 0), capture_output=True, text=True, env=environment(""), check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: NATS_URL is not set\nhint: ")
    key = name.replace("driftloop-", "nats-")
    assert f"`{key}` of the Secret `driftloop-platform`" in done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_port_that_is_taken_is_named(name: str, server: Process) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = subprocess.run(
            command(name, port),
            capture_output=True,
            text=True,
            env=environment(url(server)),
            check=False,
            timeout=PATIENCE,
        )
    assert done.returncode == 1
    assert (
        f"error: port `{port}` cannot be used: Address already in use\nhint: choose another --port"
        in done.stderr
    )


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(name: str, number: signal.Signals, server: Process) -> None:
    port = free_port()
    process = subprocess.Popen(
        command(name, port), stderr=subprocess.PIPE, text=True, env=environment(url(server))
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not listens(port):
            assert process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.05)
        process.send_signal(number)
        _, text = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, text
        assert "Traceback" not in text
    finally:
        process.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
