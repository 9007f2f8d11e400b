"""A child process that leads a session of its own, ends when this process does, and is stopped with
all it started.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from driftloop.local.ground import tether

HOPELESS = 5.0
"""Seconds after the SIGKILL in which even a process that waits for a disk should be gone."""


def spawn_child(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a program with nothing but this environment, its output in the log.

    One that can't be started says so in the log and ends with `tether.NOT_STARTED`; OSError when
    `cwd` is missing.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *argv],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


async def wait_exited(child: subprocess.Popen[bytes]) -> int:
    """Wait, without a thread, until a child ends; its exit code (negative: the signal)."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(child.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return child.wait()


async def end_session(child: subprocess.Popen[bytes], *, grace: float) -> None:
    """Stop a child and all in its session: politely, and after `grace` seconds not."""
    deadline = time.monotonic() + grace
    signalled: set[int] = set()
    while not _is_taken(child) and (living := list_members(child.pid)):
        late = time.monotonic() - deadline
        if late > HOPELESS:
            break
        for pid in living:
            if pid in signalled and late <= 0:
                continue
            signalled.add(pid)
            try:
                os.kill(pid, signal.SIGKILL if late > 0 else signal.SIGTERM)
            except ProcessLookupError:
                continue
        await asyncio.sleep(0.03)
        child.poll()
    child.poll()


def _is_taken(child: subprocess.Popen[bytes]) -> bool:
    """Return True when another process has the number of a child that has ended: the session is that one's, since the
    kernel gives no number away that a living member still has as its session's."""
    return child.returncode is not None and Path(f"/proc/{child.pid}").exists()


def list_members(session: int) -> list[int]:
    """The living processes of a session, by the process that leads it."""
    pids = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                pids.append(int(entry.name))
    return pids


def describe_exit(code: int) -> str:
    """Describe the end of a child from its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"killed by {signal.Signals(-code).name}"
