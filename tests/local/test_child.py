"""Children: they end with their parent however it ends, and are stopped with all they started."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import is_alive

from driftloop.local.ground import child, logs, tether
from tests.local.argo_world import until


def spawn(log: Path, *argv: str, **env: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as out:
        return child.spawn_child(argv, env=env, cwd=log.parent, log=out)


def test_a_child_has_its_own_session_and_environment_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import json, os; print(json.dumps([dict(os.environ), os.getsid(0), os.getpid(), os.getcwd()]))"
    started = spawn(log, sys.executable, "-c", code, NAME="value", LC_CTYPE="C.UTF-8")
    assert asyncio.run(child.wait_exited(started)) == 0
    environment, session, pid, folder = json.loads(log.read_text())
    assert environment == {"NAME": "value", "LC_CTYPE": "C.UTF-8"}
    assert session == pid == started.pid
    assert folder == str(tmp_path)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    started = spawn(tmp_path / "log", "/no/such/program")
    assert asyncio.run(child.wait_exited(started)) == tether.NOT_STARTED
    assert (
        logs.last_line(tmp_path / "log")
        == "/no/such/program can't be started: No such file or directory"
    )


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from driftloop.local.ground import child;"
        "log = open(sys.argv[1], 'ab'); folder = pathlib.Path('/');"
        "started = child.spawn_child(['/bin/sleep', '600'], env={}, cwd=folder, log=log);"
        "print(started.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until(
        lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n",
        "the tether became the program",
    )
    parent.kill()
    parent.wait()
    until(lambda: not is_alive(pid), "the child ends")


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_child_is_stopped_with_all_it_started(tmp_path: Path, stubborn: bool) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" if stubborn else ""
    inner = f"{ignore}import time; print('here', flush=True); time.sleep(600)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    started = spawn(tmp_path / "log", sys.executable, "-c", outer)
    until(lambda: "here" in (tmp_path / "log").read_text(), "the grandchild runs")
    assert len(child.list_members(started.pid)) == 2
    grace = 0.5 if stubborn else 60.0
    began = time.monotonic()
    asyncio.run(child.end_session(started, grace=grace))
    assert child.list_members(started.pid) == []
    assert (time.monotonic() - began > grace) == stubborn
    assert started.returncode is not None


def test_a_process_that_has_the_number_of_a_child_that_ended_is_left_alone(tmp_path: Path) -> None:
    ended = spawn(tmp_path / "log", "/bin/true")
    assert asyncio.run(child.wait_exited(ended)) == 0
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as other:
        try:
            # the kernel gives numbers again, on many machines after 32,768
            ended.pid = other.pid
            asyncio.run(child.end_session(ended, grace=60.0))
            time.sleep(0.2)
            assert is_alive(other.pid)
        finally:
            other.kill()


def test_the_end_of_a_child_in_words(tmp_path: Path) -> None:
    started = spawn(tmp_path / "log", "/bin/sleep", "600")
    os.kill(started.pid, signal.SIGKILL)
    assert child.describe_exit(asyncio.run(child.wait_exited(started))) == "killed by SIGKILL"
    assert child.describe_exit(3) == "ended with exit code 3"
