"""A monitor of answers, on the running platform: fitted on what the model's own server answered in its rehearsal, quiet
on such traffic, and naming the class when the mix moves though no column of the requests does."""

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
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TRAIN = """\
from pathlib import Path

import numpy as np


def train(flaw: str, data: Path, out: Path) -> dict[str, float]:
    (out / "flaw").write_text(flaw)
    return {"rows": float(sum(len(np.load(file)["y"]) for file in data.rglob("*.npz")))}


def evaluate(model: Path, data: Path) -> dict[str, float]:
    batches = [np.load(file) for file in sorted(data.rglob("*.npz"))]
    x, y = np.concatenate([b["x"] for b in batches]), np.concatenate([b["y"] for b in batches])
    return {"accuracy": float(((x[:, 0] * x[:, 1] > 0) == y).mean())}
"""
MODEL = """\
from pathlib import Path

import numpy as np


class Model:
    def __init__(self, model_uri: str = "/mnt/models") -> None:
        self.flaw = (Path(model_uri) / "flaw").read_text()

    def class_names(self):
        return ["0", "1"]

    def predict(self, rows, names=None, meta=None):
        rows = np.asarray(rows, dtype=float)
        margin = rows[:, 0] * rows[:, 1]
        if self.flaw == "turned":
            margin = -margin
        one = 1 / (1 + np.exp(-8 * margin))
        return np.stack([1 - one, one], axis=1)
"""
SPEC = """\
  train: {run: "train:train", parameters: {flaw: "turned"}}
  evaluate: {run: "train:evaluate", gates: [{metric: accuracy, min: 0.9}]}
  serve: {model: Model}
  monitors:
    inputs: {detector: tabular, window: 150, alarmRate: 0.001}
    answers: {detector: tabular, on: response, window: 150, alarmRate: 0.001}
  retrain: {on: [answers], consecutive: 1, cooldown: 1s}
"""


def ask(seed: int, rows: int, correlation: float = 0.0) -> np.ndarray:
    """Rows whose columns are standard normal, whatever the correlation of the first two."""
    x = np.random.default_rng(seed).normal(size=(rows, starter.WIDTH))
    x[:, 1] = correlation * x[:, 0] + (1 - correlation**2) ** 0.5 * x[:, 1]
    return x


async def send(platform: DemoPlatform, seed: int, correlation: float) -> None:
    """One window of requests, in parts of ten."""
    async with aiohttp.ClientSession() as session:
        for rows in np.split(ask(seed, 150, correlation), 15):
            body = {"data": {"ndarray": rows.tolist()}}
            async with session.post(platform.predictions, json=body) as answer:
                # an answer that its caller does not read to the end may not be logged
                text = await answer.text()
                assert answer.status == 200, text


async def test_a_moved_mix_of_answers_alarms_by_the_class(tmp_path: Path, envs: Path) -> None:
    spec = starter.project_of(tmp_path, SPEC, train=TRAIN, model=MODEL)
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), starter.NAME, starter.NAME)
    state = ("--state", str(platform.state.root))
    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        x = ask(0, 3000)
        np.savez(tmp_path / "a.npz", x=x, y=(x[:, 0] * x[:, 1] > 0).astype(int))
        platform.upload_files([tmp_path / "a.npz"], str(parse_location("s3://mine/batches")))
        # without an answer that counts there is nothing to fit, and nothing is stored
        with pytest.raises(LocalError, match=r"refused: .* rows right"):
            await platform.run_command("trigger", starter.NAME, "--wait", *state)
        spec.write_text(spec.read_text().replace("turned", "none"))
        await platform.run_command("commit", str(spec), *state)
        await platform.wait_until(lambda: applied(platform), "the commit", within=300)
        ended = await platform.run_command(
            *("trigger", starter.NAME, "--wait", "--output", "json", *state)
        )
        assert json.loads(ended)["outcome"] == "released", ended
        release = platform.read_release().production
        assert release is not None
        assert release.detector_digests.keys() == {"inputs", "answers"}
        await platform.wait_until(lambda: applied(platform), "the release", within=300)
        body = {"data": {"ndarray": [[1.0] * starter.WIDTH]}}
        await platform.wait_until(
            lambda: is_answered(platform.predictions, body), "a prediction", within=300
        )

        following = asyncio.create_task(platform.follow_verdicts())
        try:
            await watch_windows(platform, release.id)
        finally:
            following.cancel()


async def watch_windows(platform: DemoPlatform, release: str) -> None:
    async def send_window(number: int, correlation: float) -> tuple[Any, Any]:
        def count_windows() -> bool:
            each = (platform.list_verdicts(name, release) for name in ("inputs", "answers"))
            return min(map(len, each)) >= number

        await send(platform, number, correlation)
        await platform.wait_until(count_windows, f"window {number}", within=300)
        inputs, answers = (
            platform.list_verdicts(name, release)[number - 1] for name in ("inputs", "answers")
        )
        assert (inputs["details"]["rejected"], answers["details"]["rejected"]) == (0, 0)
        return inputs, answers

    inputs, answers = await send_window(1, 0.0)
    assert (inputs["alarm"], answers["alarm"]) == (False, False), (inputs, answers)
    inputs, alarm = await send_window(2, 0.9)
    assert not inputs["alarm"], inputs
    assert alarm["alarm"], alarm
    changes = {change["column"]: change for change in alarm["details"]["columns"]}
    assert {"0", "1", "class"} >= changes.keys()
    assert changes["class"]["before"] == pytest.approx(0.5, abs=0.1)
    await wait_told(platform, "class ", "ALARM")
