"""Hostile events and requests at every door of a running instance: nothing ends, nothing is lost, nobody is starved."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from support.processes import until

from driftloop.local.ground.state import StateFolder
from tests.fuzz import http_messages, world
from tests.fuzz.conftest import HostileInputs
from tests.local.conftest import Git, Up, eventually

GOOD_EVERY = 20
"""Hostile messages between two good ones."""
AT_ONCE = 8

pytestmark = pytest.mark.timeout(1800)


@dataclass
class Doors:
    """Ports and paths of an instance, and what its good clients sent."""

    up: Up
    good: list[str] = field(default_factory=list)

    def port(self, host: str) -> int:
        """Return the loopback port of a Service."""
        table: dict[str, str] = json.loads(self.up.state.addresses.read_text())
        return int(table[f"{host}.digits.svc.cluster.local:80"].rpartition(":")[2])

    async def send_event(self, session: aiohttp.ClientSession, **attributes: str) -> None:
        """Send a good event, which must be taken."""
        id = f"good-{len(self.good)}"
        self.good.append(id)
        headers = {
            "ce-id": id,
            "ce-type": "fuzz.good",
            "ce-source": "fuzz",
            "ce-specversion": "1.0",
        }
        headers |= {"ce-good": "1", **{f"ce-{name}": text for name, text in attributes.items()}}
        url = f"http://127.0.0.1:{self.up.ports['broker']}/digits/default"
        async with session.post(url, data=b"{}", headers=headers) as answer:
            assert answer.status == 202, await answer.text()

    async def request(self, session: aiohttp.ClientSession) -> None:
        """Make a good prediction and call the webhook, which must both be answered."""
        async with session.post(self.up.url("/seldon/digits/model/predict"), data=b"{}") as answer:
            assert answer.status == 200, await answer.text()
        token = json.loads(self.up.state.platform.read_text())["secret"]["webhook-token"]
        url = f"http://127.0.0.1:{self.up.ports['webhook']}/retrain"
        headers = {"Authorization": f"Bearer {token}"}
        async with session.post(url, json={"pipeline": "nobody"}, headers=headers) as answer:
            assert answer.status == 200, await answer.text()

    async def seen(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        """Return what the subscriber has had."""
        async with session.get(f"http://127.0.0.1:{self.port('sub')}/") as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
            return found

    def pids(self) -> dict[str, tuple[int, int]]:
        """Return process id and restarts of everything."""
        return {
            process["name"]: (process["pid"], process["restarts"])
            for process in self.up.status()["processes"]
        }


@pytest.fixture
def doors(
    state: StateFolder, tmp_path: Path, envs: Path, git: Git, start: Callable[..., Up]
) -> Doors:
    world.register_subscriber(state, tmp_path / "subscriber", envs)
    up = start().wait_up()
    tip = git.commit(world.build_files(), "Add every door")
    eventually(lambda: up.status()["applied"] == tip or up.status()["refused"], what="the doors")
    assert up.status()["refused"] is None
    return Doors(up)


async def attack(
    doors: Doors, hostile: HostileInputs, kind: str, make: Callable[[Random], tuple[int, bytes]]
) -> Counter[int | None]:
    """Send the hostile messages of one kind, with good ones between; returns the answers."""
    answers: Counter[int | None] = Counter()
    numbers = iter(range(hostile.count(kind)))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            port, message = make(hostile.random(number))
            answer = await http_messages.send_raw(port, message)
            answers[answer.status] += 1
            if number % GOOD_EVERY == 0:
                await doors.send_event(session)
                await doors.request(session)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(AT_ONCE)))
    print(f"{kind}: {sum(answers.values())} sent, answered {dict(answers)}")
    return answers


async def check_all_well(doors: Doors, before: dict[str, tuple[int, int]]) -> None:
    """Every good event has come, every worker of the dispatcher works, and nothing was restarted."""
    async with aiohttp.ClientSession() as session:
        # all at once: on a slow machine one after the other never needs all workers
        slow = (doors.send_event(session, slow="1.5") for _ in range(2 * world.WORKERS))
        await asyncio.gather(*slow)

        async def all_seen() -> bool:
            return set(doors.good) <= set((await doors.seen(session))["seen"])

        await until(all_seen, every=0.2, what="the delivery of every good event")
        seen = await doors.seen(session)
    assert seen["most"] == world.WORKERS, "a worker of the dispatcher is gone"
    assert Counter(seen["seen"]) == Counter(doors.good)
    assert doors.pids() == before
    assert world.list_faults(doors.up.state, doors.up.log.read_text()) == []


async def test_hostile_events(doors: Doors, hostile: HostileInputs) -> None:
    before = doors.pids()
    targets = [(doors.up.ports["broker"], "/digits/default")] * 4
    targets += [(doors.port("decision"), "/"), (doors.port("decision"), "/deadletter")]
    targets += [(doors.port("judge"), "/")]

    def make(random: Random) -> tuple[int, bytes]:
        port, path = random.choice(targets)
        return port, http_messages.hostile_event(random, path)

    answers = await attack(doors, hostile, "events", make)
    assert answers[202] > 0
    assert answers[400] > 0
    assert not answers[500]
    await check_all_well(doors, before)


async def test_hostile_requests(doors: Doors, hostile: HostileInputs) -> None:
    before = doors.pids()
    ports = doors.up.ports
    targets = (
        (ports["gateway"], ("/seldon/digits/model/predict", "/seldon/digits/other", "/")),
        (ports["webhook"], ("/retrain", "/health", "/")),
        (ports["api"], ("/status", "/healthz", "/apis/argoproj.io/v1alpha1/namespaces/digits/workflows/x")),
        (doors.port("decision"), ("/halt", "/resume", "/labels", "/state", "/why", "/metrics")),
        (doors.port("judge"), ("/judgement?production=r1&candidate=r2&since=0", "/judgement", "/metrics")),
    )  # fmt: skip

    def make(random: Random) -> tuple[int, bytes]:
        port, paths = random.choice(targets)
        return port, http_messages.hostile_request(random, paths)

    answers = await attack(doors, hostile, "requests", make)
    assert answers[404] > 0
    assert not answers[500]
    await check_all_well(doors, before)
