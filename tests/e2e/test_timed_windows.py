"""Slow traffic on the running platform: a window closes by its time, retries count once, and people see what is open."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from support import starter
from support.loops import applied

from driftloop.clients.s3 import parse_location
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

WINDOW = "{rows: 500, atMost: 20s, least: 20}"


async def send(platform: DemoPlatform, first: int, last: int) -> None:
    """Single rows, each with the request id that its client gives it."""
    rows = np.random.default_rng(1).normal(size=(last, starter.WIDTH)).tolist()
    async with aiohttp.ClientSession() as session:
        for number in range(first, last):
            async with session.post(
                platform.predictions,
                json={"data": {"ndarray": [rows[number]]}},
                headers={"seldon-puid": f"q{number}"},
            ) as answer:
                assert answer.status == 200, await answer.text()


async def test_slow_traffic_has_a_verdict_in_time(tmp_path: Path, envs: Path) -> None:
    spec = starter.project(tmp_path)
    text = spec.read_text()
    assert "window: 200" in text
    spec.write_text(text.replace("window: 200", f"window: {WINDOW}"))
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), starter.NAME, starter.NAME)
    state = ("--state", str(platform.state.root))
    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        batch = starter.batch(tmp_path / "a.npz", rows=2000)
        platform.upload_files([batch], str(parse_location("s3://mine/batches")))
        await platform.run_command("trigger", starter.NAME, "--wait", *state)
        await platform.wait_until(lambda: applied(platform), "the release", within=300)
        body = {"data": {"ndarray": [[1.0] * starter.WIDTH]}}
        await platform.wait_until(
            lambda: is_answered(platform.predictions, body), "a prediction", within=300
        )
        release = platform.read_release().production
        assert release is not None
        following = asyncio.create_task(platform.follow_verdicts())
        try:
            await watch_window(platform, release.id, state)
        finally:
            following.cancel()


async def watch_window(platform: DemoPlatform, release: str, state: tuple[str, ...]) -> None:
    key = f"{starter.NAME}/{starter.NAME}/drift"

    async def read_open() -> Any:
        status = json.loads(await platform.run_command("status", "--output", "json", *state))
        return status["windows"].get(key, {})

    async def has_repeats() -> bool:
        return bool((await read_open()).get("repeated") == 5)

    await send(platform, 0, 10)
    await send(platform, 5, 10)
    await platform.wait_until(has_repeats, "the retries", within=300)
    window = await read_open()
    assert (window["full"], window["least"]) == (500, 20)
    assert window["rows"] >= 10
    assert window["due"] is not None
    name = f"window {window['window']} of {release} is open"
    assert name in await platform.run_command("status", *state)
    assert f"drift: {name}" in await platform.run_command("why", starter.NAME, *state)
    # more than the least, and far less than a full window
    await send(platform, 10, 30)

    def closed() -> Any:
        told = platform.list_verdicts("drift", release)
        return next((one for one in told if one["window"] == window["window"]), None)

    verdict = await platform.wait_until(closed, "a verdict", within=300)
    assert 20 <= verdict["size"] < 500
    assert (verdict["details"]["closedBy"], verdict["details"]["repeated"]) == ("time", 5)
