"""The command of a model server that stands beside the rehearsal's step."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import is_alive

from driftloop.contract.names import REHEARSED_EXIT, REHEARSED_LOG
from driftloop.plan import make_plan
from driftloop.resources.serving.rehearsal import rehearsed_servers
from driftloop.resources.serving.servers import MODEL_URI
from driftloop.spec import load_spec
from tests.spec.specs import changed


def start(folder: Path, program: str) -> "subprocess.Popen[bytes]":
    """The shell of the candidate's container, with another server."""
    plan = make_plan(load_spec(changed(*("  serve:",) * 2), path="p.yaml"))
    candidate = rehearsed_servers(plan)[0]
    shell, option, script, _ = candidate.command or ()
    model = folder / "model"
    command = (shell, option, script.replace(MODEL_URI, str(model)), str(folder))
    return subprocess.Popen([*command, sys.executable, "-c", program])


def add_model(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "weights").touch()


def test_a_server_that_argo_ends_has_not_failed(tmp_path: Path) -> None:
    add_model(tmp_path)
    program = "import time; print('ready', flush=True); time.sleep(600)"
    container = start(tmp_path, f"import os; print(os.getpid(), flush=True); {program}")
    log = tmp_path / REHEARSED_LOG
    deadline = time.monotonic() + 60
    while not log.exists() or "ready" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    server = int(log.read_text().split()[0])
    container.send_signal(signal.SIGTERM)
    assert container.wait(60) == 0
    assert not (tmp_path / REHEARSED_EXIT).exists()
    while is_alive(server):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("code", [0, 3])
def test_a_server_that_ends_by_itself_leaves_its_exit_code(tmp_path: Path, code: int) -> None:
    add_model(tmp_path)
    assert start(tmp_path, f"raise SystemExit({code})").wait(60) == 0
    assert (tmp_path / REHEARSED_EXIT).read_text() == f"{code}\n"


def test_without_a_model_there_is_nothing_to_serve(tmp_path: Path) -> None:
    assert start(tmp_path, "raise SystemExit(3)").wait(60) == 0
    assert list(tmp_path.iterdir()) == []
