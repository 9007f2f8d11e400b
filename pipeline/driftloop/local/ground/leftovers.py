"""Processes of an earlier `up` that did not end with it: found by the mark in their environment,
and stopped.
"""

import os
import time
from pathlib import Path

import psutil

from driftloop.local.ground.state import MARK, StateFolder


def find_leftovers(state: StateFolder) -> list[psutil.Process]:
    """Living processes that carry this state folder's mark, except the caller and its ancestors."""
    mark = f"{MARK}={state.root}".encode()
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    marked = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            if mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                marked.append(process)
        except OSError:
            # gone, or another user's
            continue
    return [
        process
        for process in marked
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def stop_leftovers(state: StateFolder, *, grace: float = 10.0) -> int:
    """Stop them, politely first; returns how many there were."""
    stopped: set[int] = set()
    deadline = time.monotonic() + grace
    signalled: set[int] = set()
    while processes := find_leftovers(state):
        stopped.update(process.pid for process in processes)
        for process in processes:
            try:
                if time.monotonic() > deadline:
                    process.kill()
                elif process.pid not in signalled:
                    signalled.add(process.pid)
                    process.terminate()
            except psutil.NoSuchProcess:
                continue
        if time.monotonic() > deadline + 10:
            break
        time.sleep(0.1)
    return len(stopped)
