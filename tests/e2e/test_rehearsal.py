"""Candidates that can't answer, on the running platform: each is refused before any traffic, by its own server's words."""

import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from support import starter
from support.loops import applied

from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROW = {"data": {"ndarray": [[0.0] * starter.WIDTH]}}
TRAINED = '    return {"train_accuracy"'
KEPT = """\
    if flaw == "pickled":
        import pickle
        # as an estimator of scikit-learn keeps one
        (out / "model.pkl").write_bytes(pickle.dumps(np.random.RandomState(0)))
    (out / "flaw").write_text(flaw)
    return {"train_accuracy\""""
LOADED = "        with np.load(Path(model_uri)"
LOADS = """\
        self.flaw = (Path(model_uri) / "flaw").read_text()
        self.asked = 0
        if (Path(model_uri) / "model.pkl").exists():
            import pickle
            pickle.loads((Path(model_uri) / "model.pkl").read_bytes())
        if self.flaw == "never loads":
            import time
            time.sleep(600)
        with np.load(Path(model_uri)"""
PREDICTED = "        try:\n            rows ="
PREDICTS = """\
        if self.flaw == "refuses":
            from seldon_core.flask_utils import SeldonMicroserviceException

            raise SeldonMicroserviceException("where is the column age?", reason="BAD_ROWS")
        if self.flaw == "named" and names:
            from seldon_core.flask_utils import SeldonMicroserviceException

            raise SeldonMicroserviceException("columns have no names here", reason="BAD_ROWS")
        if self.flaw == "slow":
            import time
            time.sleep(0.4)
        if self.flaw == "skewed":
            rows = -np.asarray(rows)
        try:
            rows ="""


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a model, and what must be said of it."""

    name: str
    reason: str


FLAWS = (
    Flaw(
        "pickled",
        r"rehearsal: the server ended with exit code 1: ValueError: .*MT19937'> is not a known BitGenerator module",
    ),
    Flaw("never loads", r"rehearsal: the server has not loaded the model within 15 s"),
    Flaw(
        "refuses",
        r"rehearsal: (\d+) of \1 rows refused, which production answers: 400: .*where is the column age",
    ),
    Flaw(
        "named",
        r"rehearsal: (\d+) of \1 captured requests refused, which production answers: 400: .*columns have no names here",
    ),
    Flaw("slow", r"rehearsal: p99 [45]\d\d ms, allowed 300 ms"),
    Flaw(
        "skewed",
        r"rehearsal: the server answers \d+\.\d% of \d+ rows right, the evaluation measured accuracy \d+\.\d%",
    ),
)


def project(folder: Path) -> Path:
    """The starter's project; the parameter `flaw` says what is wrong with the model."""
    spec = starter.project(folder)
    train, model = spec.parent / "trainer" / "train.py", spec.parent / "server" / "Model.py"
    text = train.read_text().replace("def train(epochs: int,", "def train(flaw: str, epochs: int,")
    assert TRAINED in text
    train.write_text(text.replace(TRAINED, KEPT))
    text = model.read_text()
    assert LOADED in text
    assert PREDICTED in text
    model.write_text(text.replace(LOADED, LOADS).replace(PREDICTED, PREDICTS))
    # another version than the server's: what one pickles the other may not read
    (spec.parent / "trainer" / "requirements.txt").write_text("numpy==2.3.5\n")
    text = spec.read_text().replace("parameters: {", 'parameters: {flaw: "none", ')
    assert "budget: 4/day}" in text
    text = text.replace("budget: 4/day}", "budget: 4/day, haltAfter: 20}")
    spec.write_text(
        text
        + "  rehearse: {start: 15s}\n  rollout: {canary: {p99: 300ms}, shadow: {for: 2s, requests: 1}}\n"
    )
    return spec


@contextlib.asynccontextmanager
async def platform_of(spec: Path, tmp_path: Path, envs: Path) -> AsyncIterator[DemoPlatform]:
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), starter.NAME, starter.NAME)
    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=600)
        platform.upload_files([starter.batch(tmp_path / "a.npz")], "s3://mine/batches")
        yield platform


def read(platform: DemoPlatform, run: str, name: str) -> bytes:
    """A file of a run's rehearsal."""
    values = platform.read_store()
    store = ObjectStore.from_environment(values)
    return store.read_object(StoreLocation("driftloop", f"runs/{run}/rehearsal/{name}"))


async def train(platform: DemoPlatform) -> str:
    """Start a run and wait for its end; its name."""
    state = str(platform.state.root)
    printed = await platform.run_command(
        "trigger", platform.name, "--state", state, "--output", "json"
    )
    run = str(json.loads(printed)["run"])
    await platform.wait_until(lambda: platform.read_outcome(run), f"{run} to end", within=300)
    return run


async def send_named(platform: DemoPlatform, number: int) -> None:
    """Requests as a caller sends them: with names, though the held-out rows have none."""
    names = [f"f{column}" for column in range(starter.WIDTH)]
    body = {"data": {"names": names, "ndarray": [[1.0] * starter.WIDTH]}}
    async with aiohttp.ClientSession() as session:
        for _ in range(number):
            async with session.post(platform.predictions, json=body) as answer:
                assert answer.status == 200


async def test_a_candidate_that_can_not_answer_never_meets_traffic(
    tmp_path: Path, envs: Path
) -> None:
    spec = project(tmp_path)
    clean = spec.read_text()
    async with platform_of(spec, tmp_path, envs) as platform:
        run = await train(platform)
        release = platform.read_release()
        production = release.production
        assert production is not None, await platform.read_decision()
        assert production.rehearsed is not None
        assert 0 < production.rehearsed.start < 60
        assert production.rehearsed.rows > 50
        record = json.loads(read(platform, run, "rehearsal.json"))
        assert record["passed"], record
        assert record["accuracy"] > 0.9
        answers = [json.loads(line) for line in read(platform, run, "answers.jsonl").splitlines()]
        assert len(answers) == record["rows"] == record["answered"]
        assert len(answers[0]["candidate"]["response"]["data"]["ndarray"][0]) == 3
        await platform.wait_until(lambda: applied(platform), "the release", within=300)
        await platform.wait_until(
            lambda: is_answered(platform.predictions, ROW), "a prediction", within=300
        )
        await send_named(platform, 30)
        for flaw in FLAWS:
            spec.write_text(clean.replace('flaw: "none"', f'flaw: "{flaw.name}"'))
            await platform.run_command(
                *("up", str(spec), "--state", str(platform.state.root), "--envs", str(envs))
            )
            await platform.wait_until(lambda: applied(platform), "the commit", within=300)
            run = await train(platform)
            decision = await platform.read_decision()
            assert decision.outcome == "refused", (flaw, decision)
            assert re.search(flaw.reason, decision.reason or ""), (flaw, decision.reason)
            assert platform.read_release() == release
            record = json.loads(read(platform, run, "rehearsal.json"))
            assert not record["passed"]
            if flaw.name == "named":
                assert record["answered"] == record["rows"] > 20
                assert record["captured"] == 30
            assert await is_answered(platform.predictions, ROW)
        log = json.loads(read(platform, run, "rehearsal.json"))
        assert log["compared"] == log["answered"] > 20


async def test_turned_off_it_costs_nothing_and_the_shadow_refuses_instead(
    tmp_path: Path, envs: Path
) -> None:
    spec = project(tmp_path)
    text = spec.read_text().replace("rehearse: {start: 15s}", "rehearse: off")
    spec.write_text(text)
    async with platform_of(spec, tmp_path, envs) as platform:
        run = await train(platform)
        version = platform.read_release().production
        assert version is not None
        assert version.rehearsed is None
        workflow = platform.read_workflow(run)
        assert workflow is not None
        steps = {node["displayName"] for node in workflow["status"]["nodes"].values()}
        assert "gate" in steps
        assert "rehearse" not in steps
        assert "It was not rehearsed." in await platform.run_git("log", "-1", "--format=%b", "main")
        await platform.wait_until(lambda: applied(platform), "the release", within=300)
        await platform.wait_until(
            lambda: is_answered(platform.predictions, ROW), "a prediction", within=300
        )
        spec.write_text(text.replace('flaw: "none"', 'flaw: "refuses"'))
        await platform.run_command(
            *("up", str(spec), "--state", str(platform.state.root), "--envs", str(envs))
        )
        await platform.wait_until(lambda: applied(platform), "the commit", within=300)
        await train(platform)

        async def is_over() -> str | None:
            # not `is_answered`, whose requests are kept out of the events
            async with aiohttp.ClientSession() as session:
                for _ in range(10):
                    async with session.post(platform.predictions, json=ROW) as answer:
                        assert answer.status == 200
            decision = await platform.read_decision()
            return decision.reason if decision.outcome == "rejected" else None

        reason = await platform.wait_until(is_over, "the candidate to be rejected", within=300)
        assert re.search(r"\d+ of \d+ refused: 400, though production answers them", reason), reason
        assert platform.read_release().production == version
