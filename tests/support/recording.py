"""Events that are acknowledged while the parts of a recorder's world are killed at random, compared with what was written;
with a monitor of labels, also what it says of answers with what they are."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
from support.labelled_world import CLASSES, LabelledWorld
from support.processes import until
from support.recorder import RecorderWorld, make_answer, make_labels, make_request, post_event

from driftloop.clients import events

ATTEMPTS = 400
"""Tries to have an event acknowledged, as the broker has them."""
LABELLED = 0.1
"""Share of the requests that get labels."""
TOGETHER = 25
"""Labels of one file."""


def answer_of(number: int) -> int:
    """The answer to a request."""
    return number * 7 % CLASSES


@dataclass
class FaultResult:
    """What was acknowledged and what was found, by request id."""

    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    """Request id -> the sides that were acknowledged."""
    labels: dict[str, set[int]] = field(default_factory=dict)
    """Request id -> every label that was given to it."""
    truth: dict[str, int] = field(default_factory=dict)
    """Request id -> the label that was given last."""
    killed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def events(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    @property
    def labelled(self) -> dict[str, int]:
        """The last label of each request that was answered."""
        return {
            id: label
            for id, label in self.truth.items()
            if "answer" in self.acknowledged.get(id, ())
        }

    def measure_offline(self, rows: list[dict[str, Any]]) -> tuple[int, int]:
        """Rows with a label, and those of them whose answer is right, by the files of the recorder."""
        labelled = self.labelled
        told = [
            row for row in rows if row["request_id"] in labelled and row.get("answer") is not None
        ]
        right = sum(row["answer"] == labelled[row["request_id"]] for row in told)
        return len(told), right

    def find_faults(self, rows: list[dict[str, Any]]) -> dict[str, list[str]]:
        """Ids that are lost, doubled, or not as they were sent; empty lists when all is well.

        A request and an answer that waited too long for each other are a row each, so each side is
        counted by itself: a row without an answer has no status, one without a request no column `x`.
        """
        asked = Counter(row["request_id"] for row in rows if row.get("x") is not None)
        answered = Counter(row["request_id"] for row in rows if row["status"] is not None)
        wanted = {
            side: Counter(id for id, sides in self.acknowledged.items() if side in sides)
            for side in ("request", "answer")
        }
        wrong = [row["request_id"] for row in rows if _is_wrong(row)]
        return {
            "lost": sorted([*(wanted["request"] - asked), *(wanted["answer"] - answered)]),
            "doubled": sorted([*(asked - wanted["request"]), *(answered - wanted["answer"])]),
            "wrong": sorted(wrong),
        }

    def find_batch_faults(self, rows: list[dict[str, Any]]) -> dict[str, list[str]]:
        """Ids of labelled requests that are in no batch or in two, or with a label that nobody gave."""
        found = Counter(f"id-{row['x'][0]:.0f}" for row in rows)
        wanted = Counter(id for id in self.labels if "request" in self.acknowledged.get(id, ()))
        wrong = [
            id for row in rows if row["y"] not in self.labels.get(id := f"id-{row['x'][0]:.0f}", ())
        ]
        return {
            "lost": sorted(wanted - found),
            "doubled": sorted(found - wanted),
            "wrong": sorted(wrong),
        }


def _is_wrong(row: Mapping[str, Any]) -> bool:
    number = int(row["request_id"].removeprefix("id-"))
    asked, answered = row.get("x"), row.get("answer")
    return bool(
        row["problem"]
        or (asked is not None and asked[0] != number)
        or (answered is not None and answered != answer_of(number))
    )


async def run_faults(
    world: RecorderWorld,
    *,
    requests: int,
    rate: float,
    kills: int,
    seed: int,
    settle: float = 400.0,
) -> FaultResult:
    """Post requests and answers at a rate, and labels where something reads them, while the parts of a world are
    killed; return when everything is written and counted."""
    random = Random(seed)
    result = FaultResult()
    started = time.monotonic()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session,
        asyncio.TaskGroup() as group,
    ):
        hurting = group.create_task(_injure(world, random, result, kills, requests / rate))
        labelling = Labelling(session, world, result, Random(seed + 1))
        for number in range(requests):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(_ask(session, world, result, number, random.random()))
            if isinstance(world, LabelledWorld) and labelling.choose(number, requests):
                group.create_task(labelling.load_files())
        await hurting
    result.seconds = time.monotonic() - started
    await until(lambda: _is_written(world, result), within=settle, every=1.0, what="all is written")
    return result


@dataclass
class Labelling:
    """Gives labels to some requests: a first file that is wrong in part, then one that says what is true, which is
    loaded twice; the three come in any order."""

    session: aiohttp.ClientSession
    world: RecorderWorld
    result: FaultResult
    random: Random
    chosen: list[int] = field(default_factory=list)
    given: int = field(default_factory=lambda: time.time_ns() // 1000)
    """Microseconds since 1970: a label that is a day old waits no longer for its request."""

    def choose(self, number: int, requests: int) -> bool:
        """Choose a request, or not; whether there are enough for a file."""
        if self.random.random() < LABELLED:
            self.chosen.append(number)
        return len(self.chosen) >= TOGETHER or (number == requests - 1 and bool(self.chosen))

    async def load_files(self) -> None:
        """Give labels to those that were chosen."""
        chosen, self.chosen = self.chosen, []
        true = {f"id-{number}": self._blur(answer_of(number), 0.1) for number in chosen}
        first = {id: self._blur(label, 0.3) for id, label in true.items()}
        self.given += 3
        files = [(self.given, first), (self.given + 1, true), (self.given + 2, true)]
        self.random.shuffle(files)
        self.result.truth.update(true)
        for id, label in true.items():
            self.result.labels[id] = {label, first[id]}
        for given, labels in files:
            if not await _deliver(self.session, self.world, make_labels(given, labels)):
                raise AssertionError("labels were never acknowledged")
            await asyncio.sleep(self.random.random())

    def _blur(self, value: int, share: float) -> int:
        """Another class in so many cases."""
        other = (value + self.random.randrange(1, CLASSES)) % CLASSES
        return other if self.random.random() < share else value


async def _ask(
    session: aiohttp.ClientSession,
    world: RecorderWorld,
    result: FaultResult,
    number: int,
    chance: float,
) -> None:
    """Post a request and its answer, in any order; one in fifty has no answer."""
    id = f"id-{number}"
    made = [("request", make_request(id, [[number, 1.0]]))]
    if chance > 0.02:
        made.append(("answer", make_answer(id, [[answer_of(number)]])))
    if chance > 0.6:
        made.reverse()
    for side, event in made:
        if await _deliver(session, world, event):
            result.acknowledged.setdefault(id, set()).add(side)


async def _deliver(
    session: aiohttp.ClientSession, world: RecorderWorld, event: events.Event
) -> bool:
    """Try until the event is acknowledged, as the broker does."""
    for attempt in range(ATTEMPTS):
        if await post_event(session, world.ingress, event) == 202:
            return True
        await asyncio.sleep(min(2.0, 0.1 * (attempt + 1)))
    return False


async def _injure(
    world: RecorderWorld, random: Random, result: FaultResult, kills: int, length: float
) -> None:
    parts = ["writer", *world.parts]
    if isinstance(world, LabelledWorld):
        parts.insert(1, "batch")
    for number in range(kills):
        await asyncio.sleep(length / kills * (0.5 + random.random()))
        part = parts[number] if number < len(parts) else random.choice(parts)
        match part:
            case "writer":
                with contextlib.suppress(AssertionError):
                    await until(world.find_writers, within=20, every=0.05)
                await asyncio.sleep(random.random() * 0.5)
                world.kill_writer()
            case "batch":
                with contextlib.suppress(AssertionError):
                    await until(lambda: _writes_batch(world), within=20, every=0.02)
                await asyncio.sleep(random.random() * 0.5)
                world.kill_writer()
            case _:
                process = world.parts[part]
                process.kill()
                await asyncio.sleep(random.random() * 2)
                await asyncio.to_thread(process.start, 120)
        result.killed[part] += 1


async def _writes_batch(world: RecorderWorld) -> bool:
    """True while a labelled batch is being written."""
    with contextlib.suppress(aiohttp.ClientError):
        batch = (await world.read_state())["batch"]
        return bool(batch and batch.get("range") and world.find_writers())
    return False


async def _is_written(world: RecorderWorld, result: FaultResult) -> bool:
    try:
        state = await world.read_state()
    except aiohttp.ClientError:
        return False
    if isinstance(world, LabelledWorld) and not await _is_labelled(world, result, state):
        return False
    return bool(
        state["counts"].get("events", 0) >= result.events
        and state["waiting"] == state["open"] == 0
        and state["trouble"] is None
    )


async def _is_labelled(world: LabelledWorld, result: FaultResult, state: Mapping[str, Any]) -> bool:
    """True when the monitor and the batches have every label."""
    counts = await world.read_labels()
    wanted = sum("request" in result.acknowledged.get(id, ()) for id in result.labels)
    return bool(
        counts is not None
        and counts.rows >= len(result.labelled)
        and state["counts"].get("labelled", 0) >= wanted
        and state["batch"].get("range") is None
    )
