"""A monitor that is a function of the user's, on the running platform: fitted beside its step, asked beside its
detector, quiet on clean traffic, naming the column that moved, and told when it fails."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from support import starter
from support.loops import applied, wait_told

from driftloop.clients.s3 import parse_location
from driftloop.contract.verdicts import read_changes, read_failure
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TRAIN = """\
from pathlib import Path

import numpy as np


def train(data: Path, out: Path) -> dict[str, float]:
    (out / "nothing").write_text("")
    return {"rows": float(sum(len(np.load(file)["y"]) for file in data.rglob("*.npz")))}


def evaluate(model: Path, data: Path) -> dict[str, float]:
    return {"accuracy": 1.0}


def learn(rows):
    return rows.mean(axis=0)


def judge(reference, window, most):
    moved = abs(window.mean(axis=0) - reference)
    if moved.max() > 50:
        raise ValueError("never seen")
    names = [f"x[{number}]" for number in range(len(moved))]
    return {"score": moved.max(), "threshold": most,
            "columns": {name: part for name, part in zip(names, moved) if part > most}}
"""
MODEL = """\
class Model:
    def __init__(self, model_uri: str = "/mnt/models") -> None:
        pass

    def predict(self, rows, names=None, meta=None):
        return [[1.0]] * len(rows)
"""
SPEC = """\
  train: {run: "train:train"}
  evaluate: {run: "train:evaluate"}
  serve: {model: Model}
  rehearse: off
  monitors:
    means:
      run: "train:judge"
      fit: "train:learn"
      form: numpy
      parameters: {most: 0.7}
      window: 100
  retrain: {on: []}
"""


async def test_a_function_of_the_users_alarms_by_the_column(tmp_path: Path, envs: Path) -> None:
    spec = starter.project_of(tmp_path, SPEC, train=TRAIN, model=MODEL)
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), starter.NAME, starter.NAME)
    state = ("--state", str(platform.state.root))
    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        x = np.random.default_rng(0).normal(size=(1500, starter.WIDTH))
        np.savez(tmp_path / "a.npz", x=x, y=np.ones(len(x), dtype=int))
        platform.upload_files([tmp_path / "a.npz"], str(parse_location("s3://mine/batches")))
        ended = await platform.run_command(
            *("trigger", starter.NAME, "--wait", "--output", "json", *state)
        )
        assert json.loads(ended)["outcome"] == "released", ended
        release = platform.read_release().production
        assert release is not None
        await platform.wait_until(lambda: applied(platform), "the release", within=600)
        body = {"data": {"ndarray": x[:1].tolist()}}
        await platform.wait_until(
            lambda: is_answered(platform.predictions, body), "a prediction", within=600
        )
        following = asyncio.create_task(platform.follow_verdicts())
        try:
            await watch_windows(platform, release.id)
        finally:
            following.cancel()
        await wait_told(platform, "means: NOT JUDGED, window 3")


async def watch_windows(platform: DemoPlatform, release: str) -> None:
    quiet = await judge_window(platform, release, 1, 0.0)
    assert (quiet["alarm"], read_failure(quiet["details"])) == (False, "")
    alarm = await judge_window(platform, release, 2, 2.0)
    assert alarm["alarm"], alarm
    assert [change.column for change in read_changes(alarm["details"])] == ["x[2]"]
    failed = await judge_window(platform, release, 3, 99.0)
    assert "ValueError: never seen (train.py, line " in read_failure(failed["details"])


async def judge_window(platform: DemoPlatform, release: str, number: int, shift: float) -> Any:
    """Ask a window of rows whose third column is moved; its verdict."""
    rows = np.random.default_rng(number).normal(size=(100, starter.WIDTH))
    rows[:, 2] += shift
    async with aiohttp.ClientSession() as session:
        for part in np.split(rows, 10):
            body = {"data": {"ndarray": part.tolist()}}
            async with session.post(platform.predictions, json=body) as answer:
                text = await answer.text()
                assert answer.status == 200, text
    await platform.wait_until(
        lambda: len(platform.list_verdicts("means", release)) >= number,
        f"window {number}",
        within=300,
    )
    return platform.list_verdicts("means", release)[number - 1]
