"""Events that a recorder acknowledges while its parts are killed at random, compared with what it wrote."""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
from support.processes import until
from support.recorder import RecorderWorld, make_answer, make_request, post_event

from driftloop.clients import events

ATTEMPTS = 400
"""Tries to have an event acknowledged, as the broker has them."""


@dataclass
class FaultResult:
    """What was acknowledged and what was found, by request id."""

    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    """Request id -> the sides that were acknowledged."""
    killed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def events(self) -> int:
        return sum(map(len, self.acknowledged.values()))

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
        wrong = [
            row["request_id"]
            for row in rows
            if row["problem"]
            or (row.get("x") is not None and f"id-{row['x'][0]:.0f}" != row["request_id"])
            or (row.get("answer") is not None and f"id-{row['answer'][0]:.0f}" != row["request_id"])
        ]
        return {
            "lost": sorted([*(wanted["request"] - asked), *(wanted["answer"] - answered)]),
            "doubled": sorted([*(asked - wanted["request"]), *(answered - wanted["answer"])]),
            "wrong": sorted(wrong),
        }


async def run_faults(
    world: RecorderWorld,
    *,
    requests: int,
    rate: float,
    kills: int,
    seed: int,
    settle: float = 240.0,
) -> FaultResult:
    """Post requests and answers at a rate while the recorder, its writer, NATS and the store are killed;
    return when everything is written."""
    random = Random(seed)
    result = FaultResult()
    started = time.monotonic()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session,
        asyncio.TaskGroup() as group,
    ):
        hurting = group.create_task(_injure(world, random, result, kills, requests / rate))
        for number in range(requests):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(_ask(session, world, result, number, random.random()))
        await hurting
    result.seconds = time.monotonic() - started
    await until(lambda: _is_written(world, result), within=settle, every=1.0, what="all is written")
    return result


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
        made.append(("answer", make_answer(id, [[number, 0.5]])))
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
        if await post_event(session, world.address, event) == 202:
            return True
        await asyncio.sleep(min(2.0, 0.1 * (attempt + 1)))
    return False


async def _injure(
    world: RecorderWorld, random: Random, result: FaultResult, kills: int, length: float
) -> None:
    parts = ["recorder", "writer", "nats", "s3"]
    for number in range(kills):
        await asyncio.sleep(length / kills * (0.5 + random.random()))
        part = parts[number % 4] if number < 4 else random.choice(parts)
        if part == "writer":
            with contextlib.suppress(AssertionError):
                await until(world.find_writers, within=20, every=0.05)
            await asyncio.sleep(random.random() * 0.5)
            world.kill_writer()
        else:
            process = {"recorder": world.recorder, "nats": world.nats, "s3": world.s3}[part]
            process.kill()
            await asyncio.sleep(random.random() * 2)
            await asyncio.to_thread(process.start, 120)
        result.killed[part] += 1


async def _is_written(world: RecorderWorld, result: FaultResult) -> bool:
    try:
        state = await world.read_state()
    except aiohttp.ClientError:
        return False
    return bool(
        state["counts"].get("events", 0) >= result.events
        and state["waiting"] == state["open"] == 0
        and state["trouble"] is None
    )
