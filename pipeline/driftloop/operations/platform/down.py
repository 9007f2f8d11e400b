"""Stop everything that `up` started in a state folder."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from driftloop.local.ground import leftovers
from driftloop.local.ground.state import StateFolder

GRACE = 90.0
"""Seconds that `up` gets to stop its parts in order."""


@dataclass(frozen=True)
class StoppedPlatform:
    """The process of `up` that was stopped (None when it did not run), and the number of
    left-over processes."""

    pid: int | None
    leftovers: int


def stop_platform(state: StateFolder, report: Callable[[str], None]) -> StoppedPlatform:
    """Stop the processes of a state folder, and keep what they stored."""
    pid = state.find_holder()
    if pid is not None:
        report(f"stopping process {pid} and its children")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while _is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        if _is_running(pid):
            report(f"process {pid} did not stop within {GRACE:.0f} s; killing it")
            os.kill(pid, signal.SIGKILL)
    return StoppedPlatform(pid, leftovers.stop_leftovers(state))


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
