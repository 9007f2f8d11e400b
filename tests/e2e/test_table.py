"""A table as people have it: text, gaps and booleans, unchanged, through the whole loop; drift in one column is named."""

import asyncio
import csv
import random
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support import starter
from support.loops import applied, processes_of, wait_told

from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent / "table"
COLUMNS = ("dep_delay", "carrier", "night", "tailnum", "distance")
SPEC = """\
apiVersion: driftloop.dev/v1alpha1
kind: Pipeline
metadata: {name: flights}
spec:
  images:
    trainer: {ref: registry.example/flights-trainer:1.0.0, context: trainer}
    server: {ref: registry.example/flights-server:1.0.0, context: server}
  data: {uri: s3://flights/batches, target: late}
  train: {run: "train:train"}
  evaluate: {run: "train:evaluate", gates: [{metric: accuracy, min: 0.8}]}
  serve: {model: Model}
  monitors: {drift: {detector: tabular, window: 100, alarmRate: 0.001}}
  retrain: {on: [drift], consecutive: 1, cooldown: 1s}
"""


MONITORS = """\
  monitors:
    drift: {columns: "dep_delay,night,distance", window: 100, alarmRate: 0.001}
    carriers: {columns: carrier, window: 100, alarmRate: 0.001, then: alert}
    requests: {detector: schema, window: 100, alarmRate: 0.001, then: halt, alarms: {least: 1, of: 2}}
"""
"""Of columns each, and one that halts."""


def flight(chance: random.Random, aa: float, unknown: float = 0.0) -> dict[str, Any]:
    """One flight; a share of `aa` is the carrier's, one of `unknown` of carriers that nobody knows."""
    delay = None if chance.random() < 0.03 else round(chance.gammavariate(1, 12) - 5)
    other = chance.choices(["UA", "B6", "DL", "9E"], [5, 3, 2, 0.2])[0]
    return {
        "dep_delay": delay,
        "carrier": "ZZ" if chance.random() < unknown else "AA" if chance.random() < aa else other,
        "night": chance.random() < 0.2,
        "tailnum": f"N{chance.randrange(10_000, 99_999)}",
        "distance": chance.choice([200, 733, 1400, 2475]),
    }


def put_batch(platform: DemoPlatform, file: Path, seed: int, aa: float) -> None:
    chance = random.Random(seed)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*COLUMNS, "late"])
        for _ in range(900):
            row = flight(chance, aa)
            late = row["dep_delay"] is None or row["dep_delay"] > 10
            cells = ["" if row[name] is None else str(row[name]) for name in COLUMNS]
            writer.writerow([*cells, int(late)])
    platform.upload_files([file], "s3://flights/batches")


def body(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A request whose columns stand in another order than the training data's."""
    names = sorted(COLUMNS)
    return {"data": {"names": names, "ndarray": [[row[name] for name in names] for row in rows]}}


async def send(platform: DemoPlatform, aa: float, seed: int, unknown: float = 0.0) -> None:
    """One window of requests, in parts of ten."""
    chance = random.Random(seed)
    async with aiohttp.ClientSession() as session:
        for _ in range(10):
            rows = [flight(chance, aa, unknown) for _ in range(10)]
            async with session.post(platform.predictions, json=body(rows)) as answer:
                assert answer.status == 200, await answer.text()


def project(folder: Path) -> Path:
    spec = starter.project(folder)
    shutil.copy(HERE / "train.py", spec.parent / "trainer" / "train.py")
    shutil.copy(HERE / "Model.py", spec.parent / "server" / "Model.py")
    spec.write_text(SPEC)
    return spec


async def test_drift_in_one_column_of_a_table_is_named_and_starts_a_run(
    envs: Path, tmp_path: Path
) -> None:
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), "flights", "flights")
    async with platform.run_up(project(tmp_path), print, envs=envs):
        await release_first(platform, tmp_path)
        put_batch(platform, tmp_path / "second.csv", 2, 0.6)
        following = asyncio.create_task(platform.follow_verdicts())
        try:
            await watch_windows(platform)
        finally:
            following.cancel()
    assert processes_of(platform.state.root) == []


async def release_first(platform: DemoPlatform, folder: Path) -> tuple[str, ...]:
    """Train on a first batch until requests are answered; the option with the state folder."""
    await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
    put_batch(platform, folder / "first.csv", 1, 0.1)
    state = ("--state", str(platform.state.root))
    await platform.run_command("trigger", "flights", *state)
    await platform.wait_until(
        lambda: platform.read_release().production is not None, "the first release", within=600
    )
    await platform.wait_until(lambda: applied(platform), "the release", within=300)
    asked = body([flight(random.Random(0), 0.1)])
    await platform.wait_until(
        lambda: is_answered(platform.predictions, asked), "a prediction", within=300
    )
    return state


async def test_a_monitor_among_three_halts_the_loop_and_says_why(
    envs: Path, tmp_path: Path
) -> None:
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), "flights", "flights")
    spec = project(tmp_path)
    one = next(line for line in SPEC.splitlines(keepends=True) if line.startswith("  monitors:"))
    spec.write_text(SPEC.replace(one, MONITORS).replace("on: [drift], ", ""))
    async with platform.run_up(spec, print, envs=envs):
        state = await release_first(platform, tmp_path)
        following = asyncio.create_task(platform.follow_verdicts())
        try:
            await watch_three(platform, state)
        finally:
            following.cancel()
    assert processes_of(platform.state.root) == []


async def watch_three(platform: DemoPlatform, state: tuple[str, ...]) -> None:
    release = platform.read_release().production
    assert release is not None
    names = ("drift", "carriers", "requests")

    def windows(name: str) -> list[Any]:
        return platform.list_verdicts(name, release.id)

    await send(platform, 0.1, 3)
    await platform.wait_until(
        lambda: all(windows(name) for name in names), "a window of each", within=300
    )
    assert not any(windows(name)[0]["alarm"] for name in names)
    await send(platform, 0.1, 4, unknown=0.3)
    await platform.wait_until(
        lambda: all(len(windows(name)) == 2 for name in names), "the next of each", within=300
    )
    told = {name: windows(name)[1] for name in names}
    assert not told["drift"]["alarm"], "the carrier is none of its columns"
    for name in ("carriers", "requests"):
        (change,) = [c for c in told[name]["details"]["columns"] if c["alarm"]]
        assert (change["column"], change["kind"]) == ("carrier", "unseen")

    async def halted() -> bool:
        return (await platform.read_decision()).phase == "halted"

    await platform.wait_until(halted, "the halt", within=300)
    why = await platform.run_command("why", "flights", *state)
    assert "halted itself" in why
    assert "carrier new category 0 % ->" in why
    assert "(monitor requests)" in why
    status = await wait_told(platform, *(f"flights/flights/{name}: ALARM" for name in names[1:]))
    assert status.count("flights/flights/") >= len(names)
    assert status.count("ALARM") == 2
    await platform.run_command("resume", "flights", *state)
    assert (await platform.read_decision()).phase in ("cooling", "idle")


async def watch_windows(platform: DemoPlatform) -> None:
    release = platform.read_release().production
    assert release is not None

    def windows() -> list[Any]:
        return platform.list_verdicts("drift", release.id)

    await send(platform, 0.1, 3)
    await platform.wait_until(lambda: len(windows()) >= 1, "a window", within=300)
    quiet = windows()[0]
    assert not quiet["alarm"], quiet
    assert quiet["details"]["rejected"] == 0
    assert "unreadable" not in quiet["details"]
    await send(platform, 0.6, 4)
    await send(platform, 0.6, 5)
    await platform.wait_until(lambda: any(v["alarm"] for v in windows()), "an alarm", within=300)
    alarm = next(v for v in windows() if v["alarm"])
    (change,) = alarm["details"]["columns"]
    assert (change["column"], change["of"], change["type"]) == ("carrier", "AA", "category")
    assert change["before"] < 0.2 < 0.4 < change["after"]

    async def caused() -> bool:
        # alarms are dropped while the first run cools down
        await send(platform, 0.6, len(windows()))
        decision = await platform.read_decision()
        return "carrier AA" in (decision.cause or "") and decision.run is not None

    await platform.wait_until(caused, "a run because of the column", within=300)
    await wait_told(platform, "ALARM", ": carrier AA ")

    async def registered() -> bool:
        told = await platform.run_git(
            "log", "-3", "--format=%(trailers:key=Driftloop-Cause)", "main"
        )
        return "carrier AA" in told

    await platform.wait_until(registered, "a release with its cause", within=600)
