"""Two recorders of one pipeline at once, as while a pod is replaced: every acknowledged event is in one row."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from support.processes import Process, until
from support.recorder import RecorderWorld, make_answer, make_request
from support.recording import FaultResult, answer_of, run_faults

SETTINGS = {"every": 1.0, "releases": [{"id": "r1", "role": "production"}]}


class ReplacedRecorder(RecorderWorld):
    """A recorder and its successor, which take events in turn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.turns = Random(7)
        self.successor = self.recorder.beside(self.folder / "successor.log")

    @property
    def parts(self) -> dict[str, Process]:
        return {**super().parts, "successor": self.successor}

    @property
    def ingress(self) -> str:
        return f"http://127.0.0.1:{self.turns.choice((self.recorder, self.successor)).port}"

    def see_successor(self) -> RecorderWorld:
        """The same world, with the successor as its recorder."""
        seen = RecorderWorld(self.folder / "seen", self.python, self.settings)
        seen.recorder = self.successor
        return seen

    def kill(self) -> None:
        self.successor.kill()
        super().kill()


@pytest.fixture
def world(monitor_python: Path, tmp_path: Path) -> Iterator[ReplacedRecorder]:
    made = ReplacedRecorder(tmp_path, monitor_python, SETTINGS)
    yield made
    made.kill()


async def test_a_writer_that_wakes_when_another_recorder_wrote_its_part_writes_nothing(
    world: ReplacedRecorder,
) -> None:
    world.start()
    result = FaultResult()
    for number in range(40):
        id = f"id-{number}"
        made = {"request": make_request(id, [[number, 1.0]])}
        # this one waits in the stream, with all that came after it, when the others are deleted
        if number != 20:
            made["answer"] = make_answer(id, [[answer_of(number)]])
        assert set(await world.post(made.values())) == {202}
        result.acknowledged[id] = set(made)
    await until(world.find_writers, every=0.005, what="a part is begun")
    writers = world.find_writers()
    for pid in writers:
        os.kill(pid, signal.SIGSTOP)
    world.successor.start()
    seen = world.see_successor()
    await until(
        lambda: count_events(seen, result.events - 1), what="the other has written what is answered"
    )
    for pid in writers:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: not world.find_writers(), what="the first writer has ended")
    assert result.find_faults(world.read_rows())["doubled"] == []

    async def agrees() -> bool:
        return await world.read_state() == await seen.read_state()

    await until(agrees, what="the first goes on after what the other wrote, without trouble")
    assert (await seen.read_state())["trouble"] is None


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_every_acknowledged_event_is_in_one_row_whichever_of_two_recorders_is_killed(
    world: ReplacedRecorder,
) -> None:
    world.start()
    world.successor.start()
    result = await run_faults(world, requests=1200, rate=60.0, kills=8, seed=3)
    assert result.events > 2300
    assert result.killed["successor"]
    assert result.find_faults(world.read_rows()) == {"lost": [], "doubled": [], "wrong": []}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_two_recorders_without_a_store_go_on_when_it_is_back(
    world: ReplacedRecorder,
) -> None:
    world.start()
    world.successor.start()
    world.s3.kill()
    result = FaultResult()
    for number in range(10):
        id = f"id-{number}"
        made = (make_request(id, [[number, 1.0]]), make_answer(id, [[answer_of(number)]]))
        assert set(await world.post(made)) == {202}
        result.acknowledged[id] = {"request", "answer"}
    seen = world.see_successor()
    await until(lambda: is_troubled(world), what="the first says that it can't write")
    await until(lambda: is_troubled(seen), what="so does the other")
    # each has taken the part over from the other at least once
    await asyncio.sleep(12)
    world.s3.start()
    for each in (world, seen):
        await until(lambda each=each: count_events(each, result.events), what="all is written")
        assert (await each.read_state())["trouble"] is None
    assert result.find_faults(world.read_rows()) == {"lost": [], "doubled": [], "wrong": []}


async def is_troubled(world: RecorderWorld) -> bool:
    return (await world.read_state())["trouble"] is not None


async def count_events(world: RecorderWorld, events: int) -> bool:
    """True when so many are written."""
    state = await world.read_state()
    return bool(state["counts"].get("events", 0) >= events)
