"""Hostile predictions and events at a loop that runs: the model server, the detectors and the judge go on with the good ones."""

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from support.ledger import DETECTORS, REQUEST, RESPONSE, WINDOW, Ledger, read_ledger
from support.loops import batches, release_once

from driftloop.demo.platform import DemoPlatform
from driftloop.demo.traffic import DigitRow, read_rows
from driftloop.local.ground.state import StateFolder
from tests.fuzz import http_messages, world
from tests.fuzz.conftest import HostileInputs

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"
SPEC = DIGITS / "plain.yaml"
GOOD_EVERY = 1
"""Hostile messages for each good one: the good ones alone fill two windows."""
AT_ONCE = 8
LOGGED = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


async def predict(platform: DemoPlatform, row: DigitRow, id: str) -> None:
    """Ask for a good prediction, which must be answered."""
    body, headers = {"data": {"ndarray": [row.pixels]}}, {"Seldon-Puid": id}
    async with (
        aiohttp.ClientSession() as session,
        session.post(platform.predictions, json=body, headers=headers) as answer,
    ):
        text = await answer.text()  # who hangs up before the end has no answer, and none is logged
        assert answer.status == 200, text


async def attack(
    platform: DemoPlatform, rows: tuple[DigitRow, ...], hostile: HostileInputs, release: str
) -> list[str]:
    """Send hostile predictions and events, and good predictions between; returns the ids of these."""
    gateway, broker = platform.read_port("gateway"), platform.read_port("broker")
    path = f"/seldon/{platform.namespace}/{platform.name}/api/v1.0/predictions"
    answers: Counter[int | None] = Counter()
    good: list[str] = []
    numbers = iter(range(max(2 * WINDOW, hostile.count("events") + hostile.count("requests"))))

    async def work() -> None:
        for number in numbers:
            random = hostile.random(number)
            if random.random() < 0.6:
                message = http_messages.hostile_request(random, (path,))
                answer = await http_messages.send_raw(gateway, message)
            else:
                event = http_messages.hostile_event(random, "/digits/default")
                answer = await http_messages.send_raw(broker, event.replace(b": r1", f": {release}".encode()))  # fmt: skip
            answers[answer.status] += 1
            if number % GOOD_EVERY == 0:
                good.append(id := f"good-{number:06}")
                await predict(platform, rows[number % len(rows)], id)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    print(f"{sum(answers.values())} hostile messages, answered {dict(answers)}; {len(good)} good")
    return good


def list_pids(status: str) -> dict[str, tuple[int, int, tuple[int, ...]]]:
    """Process id, restarts and workers, of everything that `driftloop status` lists."""
    return {
        each["name"]: (each["pid"], each["restarts"], tuple(list_workers(each["pid"])))
        for each in json.loads(status)["processes"]
    }


def list_workers(pid: int) -> Iterator[int]:
    """The processes below one, without the git that the decision and Flux's stand-in ask now and then."""
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if not child.name().startswith("git"):
                yield child.pid


@pytest.fixture(scope="session")
def envs() -> Path:
    """Environments kept between runs, as the tests of the whole loop have them."""
    folder = ROOT / ".driftloop" / "envs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def list_lost(ledger: Ledger) -> list[str]:
    """What was lost of the logger's own events, whose ids are UUIDs; a judge may well refuse a hostile answer."""
    return [line for line in ledger.list_lost(()) if LOGGED.match(line)]


async def test_a_loop_goes_on(envs: Path, tmp_path: Path, hostile: HostileInputs) -> None:
    await batches(DIGITS, "labelled", "clean", to=tmp_path / "labelled")
    await batches(DIGITS, "traffic", "clean", to=tmp_path / "traffic")
    rows = read_rows(tmp_path / "traffic" / "clean.jsonl")
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), "digits", "digits")
    status = ("status", "--state", str(platform.state.root), "--output", "json")
    async with platform.run_up(SPEC, print, envs=envs):
        await release_once(platform, (tmp_path / "labelled").iterdir(), "s3://digits/batches")
        production = platform.read_release().production
        assert production is not None
        await predict(platform, rows[0], "first")
        before = list_pids(await platform.run_command(*status))
        # what hostile rows look like to the detectors is not what this is about
        await platform.run_command("halt", "digits", "--state", str(platform.state.root))
        good = await attack(platform, rows, hostile, production.id)

        async def judged() -> Ledger | None:
            ledger = await read_ledger(platform, production.id)
            logged = set(good) <= ledger.logged[REQUEST] & ledger.logged[RESPONSE]
            return ledger if logged and not list_lost(ledger) else None

        print(await platform.wait_until(judged, "good events to be judged", within=180, every=2))
        ledger = await read_ledger(platform, production.id)
        assert all(len(ledger.windows[name]) >= 2 for name in DETECTORS)
        assert ledger.list_doubled() == []
        assert list_pids(await platform.run_command(*status)) == before
        assert world.list_faults(platform.state, "\n".join(platform.talk)) == []
