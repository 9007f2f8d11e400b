"""A model that answers numbers, on the running platform: a server that answers others than were evaluated is refused, and
the agreement with production is judged by what both err."""

import asyncio
import json
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from support import starter
from support.loops import applied

from driftloop.clients.s3 import parse_location
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NOISE = 20.0
TRAIN = """\
from pathlib import Path

import numpy as np


def train(shift: float, data: Path, out: Path) -> dict[str, float]:
    (out / "shift").write_text(str(shift))
    x, y = read_all(data)
    weights, *_ = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)
    np.savez(out / "model.npz", weights=weights)
    return {"train_rmse": rmse(weights, x, y)}


def evaluate(model: Path, data: Path) -> dict[str, float]:
    with np.load(model / "model.npz") as arrays:
        return {"rmse": rmse(arrays["weights"], *read_all(data))}


def rmse(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.c_[x, np.ones(len(x))] @ weights - y) ** 2)))


def read_all(data: Path) -> tuple[np.ndarray, np.ndarray]:
    batches = [np.load(file) for file in sorted(data.rglob("*.npz"))]
    return np.concatenate([b["x"] for b in batches]), np.concatenate([b["y"] for b in batches])
"""
MODEL = """\
from pathlib import Path

import numpy as np


class Model:
    def __init__(self, model_uri: str = "/mnt/models") -> None:
        with np.load(Path(model_uri) / "model.npz") as arrays:
            self.weights = arrays["weights"]
        # the evaluation knows nothing of it
        self.shift = float((Path(model_uri) / "shift").read_text())

    def predict(self, rows, names=None, meta=None):
        rows = np.asarray(rows, dtype=float)
        return np.c_[rows, np.ones(len(rows))] @ self.weights + self.shift
"""
MEASURE = (
    "import json, pathlib, sys, train; model, data, metrics = map(pathlib.Path, sys.argv[1:]); "
    "metrics.write_text(json.dumps(train.evaluate(model, data)))"
)
SPEC = f"""\
  train: {{run: "train:train", parameters: {{shift: 30.0}}}}
  evaluate:
    command: [python, -c, "{MEASURE}", "{{model}}", "{{data}}", "{{metrics}}"]
    gates: [{{metric: rmse, max: 200}}]
  serve: {{model: Model}}
  rollout: {{shadow: {{for: 2s, requests: 40}}, canary: {{steps: [50], every: 2s, requests: 20}}}}
"""


def prices(seed: int, rows: int, *, moved: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of features, and a price each; `moved` moves all prices."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, starter.WIDTH))
    y = 1000.5 + moved + x @ np.arange(1, starter.WIDTH + 1) * 10 + NOISE * random.normal(size=rows)
    return x, y


async def send(platform: DemoPlatform) -> None:
    """Requests for ever, one row each."""
    x, _ = prices(99, 1000)
    async with aiohttp.ClientSession() as session:
        for row in np.tile(x, (100, 1)).tolist():
            async with session.post(platform.predictions, json={"data": {"ndarray": [row]}}):
                await asyncio.sleep(0.02)


async def test_numbers_are_alike_within_what_both_models_err(tmp_path: Path, envs: Path) -> None:
    spec = starter.project_of(tmp_path, SPEC, train=TRAIN, model=MODEL)
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), starter.NAME, starter.NAME)
    state = ("--state", str(platform.state.root))

    def upload(number: int, moved: float = 0.0) -> None:
        x, y = prices(number, 600, moved=moved)
        file = tmp_path / f"{number}.npz"
        np.savez(file, x=x, y=y)
        platform.upload_files([file], str(parse_location("s3://mine/batches")))

    async def release() -> None:
        ended = await platform.run_command(
            *("trigger", starter.NAME, "--wait", "--output", "json", *state)
        )
        assert json.loads(ended)["outcome"] == "released", ended

    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        upload(0)
        with pytest.raises(LocalError, match=r"refused: .* answers to \d+ rows have rmse 3\d"):
            await platform.run_command("trigger", starter.NAME, "--wait", *state)
        assert platform.read_release().production is None
        spec.write_text(spec.read_text().replace("shift: 30.0", "shift: 0.0"))
        await platform.run_command("commit", str(spec), *state)
        await platform.wait_until(lambda: applied(platform), "the commit", within=300)
        await release()
        body = {"data": {"ndarray": [[0.0] * starter.WIDTH]}}
        await platform.wait_until(
            lambda: is_answered(platform.predictions, body), "a prediction", within=300
        )
        traffic = asyncio.create_task(send(platform))
        try:
            # the same prices, then all of them higher: production errs more, and that explains more
            for number, moved, least, most in ((1, 0.0, 15.0, 45.0), (2, 150.0, 120.0, 230.0)):
                before = platform.read_release().production
                upload(number, moved)
                await release()
                version = platform.read_release().production
                assert version is not None
                assert before is not None
                assert version.rehearsed is not None
                numbers = version.rehearsed.numbers
                assert numbers is not None
                assert (numbers.against, numbers.rows > 50) == (before.id, True)
                assert least < numbers.tolerance < most, numbers
                log = await platform.run_command(
                    "logs", f"{starter.NAME}-release-{version.id}", *state
                )
                assert f"within {numbers.tolerance:.4g}, {numbers.agreement:.1%} on" in log
        finally:
            traffic.cancel()
