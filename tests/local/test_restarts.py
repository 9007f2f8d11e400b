"""A program that dies is started again: at once when it had worked, later and later when not."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from support.processes import PATIENCE, free_port

from driftloop.local.kubelet.process import HttpProbe, ProcessSpec, SupervisedProcess


async def pauses_of(folder: Path, *, steady: float) -> list[float]:
    """Pauses before the restarts of a server that is killed four times, each time once it is ready."""
    port = free_port()
    told: list[str] = []
    serve = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port))
    process = SupervisedProcess(
        ProcessSpec("server", serve, folder / "log", folder, probe=HttpProbe(port), steady=steady),
        mark="test",
        on_event=lambda _name, what: told.append(what),
    )
    process.start_process()
    try:
        for deaths in range(4):
            async with asyncio.timeout(PATIENCE):
                while process.phase != "ready" or process.restarts != deaths:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                while sum("restart in" in line for line in told) <= deaths:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
    finally:
        await process.stop_process()
    found = [re.search(r"killed by SIGKILL; restart in ([0-9.]+) s", line) for line in told]
    return [float(match[1]) for match in found if match is not None]


def test_one_that_had_worked_is_started_again_at_once_however_often_it_is_killed(
    tmp_path: Path,
) -> None:
    assert max(asyncio.run(pauses_of(tmp_path, steady=0.0))) <= 0.1


def test_one_that_never_worked_for_long_waits_longer_each_time(tmp_path: Path) -> None:
    pauses = asyncio.run(pauses_of(tmp_path, steady=3600.0))
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.1
    assert pauses[-1] >= 2
