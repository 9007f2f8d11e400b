"""Blocking work in a thread that may be let go of."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest
from support.processes import PATIENCE

from driftloop.local.ground import background


async def test_the_result_or_the_error_comes_back() -> None:
    assert await background.run_in_thread(lambda stop: stop.is_set()) is False
    with pytest.raises(KeyError, match="no"):
        await background.run_in_thread(lambda stop: {}["no"])


async def test_work_is_asked_to_stop_and_waited_for() -> None:
    ended = threading.Event()

    def work(stop: threading.Event) -> None:
        stop.wait(PATIENCE)
        ended.set()

    running = asyncio.create_task(background.run_in_thread(work))
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_work_that_does_not_listen_is_let_go_of() -> None:
    release = threading.Event()
    running = asyncio.create_task(
        background.run_in_thread(lambda stop: release.wait(PATIENCE), patience=0.2)
    )
    await asyncio.sleep(0.1)
    began = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - began < PATIENCE / 3
    release.set()


def test_it_keeps_no_process_from_ending() -> None:
    code = (
        "import asyncio, time; from driftloop.local.ground import background\n"
        "async def main():\n"
        "    asyncio.create_task(background.run_in_thread(lambda stop: time.sleep(600), patience=0.1))\n"
        "    await asyncio.sleep(0.1)\n"
        "asyncio.run(main())"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE).returncode == 0
    )
