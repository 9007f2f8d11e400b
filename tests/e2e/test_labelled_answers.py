"""Labels on the running platform: loaded by the command for what production has answered, they say how good it is; when the
right answers change and the requests do not, their monitor alarms and starts a run. They are judged by regions, too. What is
estimated without labels sees nothing of such a change, and says so beside the labels. Before that a release answers badly,
and its monitor of answers goes back to the one before by a commit, while requests come in and none fails."""

import asyncio
import contextlib
import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from support import starter
from support.loops import applied, wait_told

from driftloop.clients import s3
from driftloop.clients.s3 import ObjectStore, parse_location
from driftloop.contract.names import release_id
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.git.repository import Repository
from driftloop.local.ground.sentences import drop_alarm_ids
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.operations.runs.references import fetch_references
from driftloop.release import record
from driftloop.release.record import Release, Version

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TRAIN = """\
from pathlib import Path


def train(flaw: str, data: Path, out: Path) -> dict[str, float]:
    (out / "flaw").write_text(flaw)
    return {"rows": float(sum(len(file.read_text().splitlines()) - 1 for file in data.rglob("*.csv")))}


def evaluate(model: Path, data: Path) -> dict[str, float]:
    return {"accuracy": 0.9}
"""
MODEL = """\
from pathlib import Path

import numpy as np


class Model:
    def __init__(self, model_uri: str = "/mnt/models") -> None:
        self.always = Path(model_uri, "flaw").read_text() == "always"

    def class_names(self):
        return ["no", "yes"]

    def predict(self, rows, names=None, meta=None):
        one = 1 / (1 + np.exp(-8 * np.asarray(rows, dtype=object)[:, 0].astype(float)))
        one = np.maximum(one, 0.99) if self.always else one
        return np.stack([1 - one, one], axis=1)
"""
SPEC = """\
  train: {run: "train:train", parameters: {flaw: "none"}}
  evaluate: {run: "train:evaluate"}
  serve: {model: Model}
  rehearse: {skew: 1.0}
  monitors:
    drift: {window: 100, alarmRate: 0.0001, then: alert}
    quality: {on: label, window: 100, alarmRate: 0.0001, then: retrain, slices: region}
    estimate: {detector: estimate, window: 100, alarmRate: 0.0001}
    answers: {on: response, window: 100, alarmRate: 0.0001, then: rollback}
  retrain: {consecutive: 1, cooldown: 1s}
"""
WINDOW, TOGETHER = 100, 10
NAMES = (*(f"f{n}" for n in range(starter.WIDTH)), "region")
REGIONS = ("north", "south")


def name_rows(x: np.ndarray) -> list[list[Any]]:
    """Rows as they are asked: numbers, and a region, which does not matter."""
    return [[*row, REGIONS[n % 2]] for n, row in enumerate(x.tolist())]


def write_batch(file: Path, x: np.ndarray, labels: np.ndarray) -> Path:
    """A batch of labelled rows."""
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*NAMES, "y"])
        writer.writerows([*row, label] for row, label in zip(name_rows(x), labels, strict=True))
    return file


def label_rows(x: np.ndarray, seed: int, *, turned: bool = False) -> np.ndarray:
    """The right answers, a tenth of which nobody can know."""
    truth = (x[:, 0] > 0) != turned
    lost = np.random.default_rng(seed).random(len(x)) < 0.1
    return np.where(truth != lost, "yes", "no")


async def ask(platform: DemoPlatform, x: np.ndarray) -> list[tuple[str, list[bool]]]:
    """Ask rows, ten at once; the id of each request, and whether `yes` was answered to each row."""
    answers = []
    async with aiohttp.ClientSession() as session:
        for rows in np.split(x, len(x) // TOGETHER):
            body = {"data": {"names": list(NAMES), "ndarray": name_rows(rows)}}
            async with session.post(platform.predictions, json=body) as answer:
                text = await answer.text()
                assert answer.status == 200, text
                said = [yes > no for no, yes in json.loads(text)["data"]["ndarray"]]
                answers.append((answer.headers["seldon-puid"], said))
    return answers


async def test_answers_that_get_wrong_start_a_run_by_their_labels(
    tmp_path: Path, envs: Path
) -> None:
    spec = starter.project_of(tmp_path, SPEC, train=TRAIN, model=MODEL)
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), starter.NAME, starter.NAME)
    state = ("--state", str(platform.state.root))
    uri = str(parse_location("s3://mine/batches"))
    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        x = np.random.default_rng(0).normal(size=(3000, starter.WIDTH))
        first = write_batch(tmp_path / "a.csv", x, label_rows(x, 0))
        platform.upload_files([first], uri)
        ended = await platform.run_command(
            *("trigger", starter.NAME, "--wait", "--output", "json", *state)
        )
        assert json.loads(ended)["outcome"] == "released", ended
        release = platform.read_release().production
        assert release is not None
        await platform.wait_until(lambda: applied(platform), "the release", within=300)
        body = {"data": {"names": list(NAMES), "ndarray": name_rows(np.ones((1, starter.WIDTH)))}}
        await platform.wait_until(
            lambda: is_answered(platform.predictions, body), "a prediction", within=300
        )
        runs = await platform.list_runs()
        following = asyncio.create_task(platform.follow_verdicts())
        try:
            right, asked = await load_window(platform, release.id, 1, tmp_path, state)
            accuracy = f"accuracy {right / asked:.4g} of {asked} labelled rows"
            estimated = f"estimate: window 1 of {release.id}: estimated accuracy"
            await wait_told(platform, "ECE", accuracy, "region = north", estimated)
            await go_back_from_a_bad_release(platform, release, tmp_path, state)
            # there is something new to train on
            more = write_batch(tmp_path / "b.csv", x[:300], label_rows(x[:300], 1, turned=True))
            platform.upload_files([more], uri)
            await load_window(platform, release.id, 2, tmp_path, state)
            run = await platform.wait_until(
                lambda: find_new(platform, runs), "a run", within=300, every=0.5
            )
        finally:
            following.cancel()
        workflow = platform.read_workflow(run)
        assert workflow is not None
        parameters = {p["name"]: p["value"] for p in workflow["spec"]["arguments"]["parameters"]}
        assert "accuracy 0." in parameters["cause"], parameters
        assert f"over {WINDOW} labelled rows" in parameters["cause"]


async def go_back_from_a_bad_release(
    platform: DemoPlatform, good: Version, folder: Path, state: tuple[str, ...]
) -> None:
    """A release that answers `yes` to everything is promoted, and left by the loop itself."""
    bad = store_bad_release(platform, good, folder)
    repository = Repository(
        platform.state.repository_url, guard=refuse_harm, workdir=folder / "cache"
    )
    for step in (lambda release: record.start_shadow(release, bad), record.promote_candidate):
        await asyncio.to_thread(commit_step, repository, step)
        await platform.wait_until(lambda: applied(platform), "the move", within=300)
    async with asked(platform) as heard:
        await platform.wait_until(
            lambda: platform.read_release().production == good, "the rollback", within=300
        )
        await platform.wait_until(lambda: applied(platform), "the rollback is applied", within=300)
        count = len(heard)
        await platform.wait_until(lambda: len(heard) > count + 60, "answers", within=300)
    assert {status for status, _ in heard} == {200}
    assert all(yes for _, yes in heard[3:20]), "the bad release answered first"
    assert not all(yes for _, yes in heard[count:]), "the good one answers again"
    subject, cause = await read_tip(platform, "%s"), await read_tip(platform, "%(trailers)")
    assert subject == f"Roll {starter.NAME} back to {good.id}"
    assert "Driftloop-Cause: alarm " in cause
    assert f"Driftloop-Rolled-Back: {bad.id}" in cause
    (left,) = platform.read_release().left
    assert (left.release, left.to) == (bad.id, good.id)
    assert left.cause in cause
    told = drop_alarm_ids(left.cause)
    carried_out = f"rolled back from {bad.id} to {good.id} because of {told}"

    async def is_known() -> bool:
        said = await platform.run_command("why", starter.NAME, *state)
        return "halted itself at" in said and carried_out in said

    # the commit is there before its step has ended
    await platform.wait_until(is_known, "the loop to know of the rollback", within=300)
    await wait_told(platform, "rolled back from")
    await platform.run_command("resume", starter.NAME, *state)


def store_bad_release(platform: DemoPlatform, good: Version, folder: Path) -> Version:
    """A version in the store, as a run leaves it: with the detectors of the good one, fitted for itself."""
    run, id = f"{starter.NAME}-bad", release_id(f"{starter.NAME}-bad")
    store = ObjectStore.from_environment(platform.read_store())
    bucket = parse_location(f"s3://driftloop/runs/{run}/release")
    (folder / "bad").mkdir()
    (folder / "bad" / "flaw").write_text("always")
    store.put_folder(folder / "bad", bucket / "model")
    assert good.detectors is not None
    detectors = folder / "detectors"
    store.get_folder(parse_location(good.detectors), detectors)
    for file in detectors.glob("*/detector.json"):
        file.write_text(file.read_text().replace(good.id, id))
    store.put_folder(detectors, bucket / "detectors")
    for name in good.detector_digests:
        # digests are of what pods fetch
        fetch_references(store, bucket.bucket, detectors / name)
    made = {
        "id": id,
        "run": run,
        "model": str(bucket / "model"),
        "model_digest": s3.folder_digest(folder / "bad"),
        "detectors": str(bucket / "detectors"),
        "detector_digests": {
            name: s3.folder_digest(detectors / name) for name in good.detector_digests
        },
        "record_digests": {},
        "recent": None,
    }
    return good.model_copy(update=made)


def commit_step(repository: Repository, step: Any) -> None:
    def message(before: Release, after: Release) -> TransitionMessage:
        made = after.candidate or after.production
        assert made is not None
        return TransitionMessage("Move", made, "schedule")

    pipelines.commit_transition(repository, starter.NAME, step, message)


async def read_tip(platform: DemoPlatform, format: str) -> str:
    return (await platform.run_git("log", "-1", f"--format={format}", "main")).strip()


@contextlib.asynccontextmanager
async def asked(platform: DemoPlatform) -> AsyncIterator[list[tuple[int, bool]]]:
    """What a caller hears who never stops asking: the status, and whether `yes` was the answer."""
    heard: list[tuple[int, bool]] = []
    rows = np.random.default_rng(9)

    async def ask_on(session: aiohttp.ClientSession) -> None:
        while True:
            x = rows.normal(size=(2, starter.WIDTH))
            body = {"data": {"names": list(NAMES), "ndarray": name_rows(x)}}
            async with session.post(platform.predictions, json=body) as answer:
                said = json.loads(await answer.text())
                yes = answer.status == 200 and all(row[1] > 0.5 for row in said["data"]["ndarray"])
                heard.append((answer.status, yes))
            await asyncio.sleep(0.02)

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        caller = asyncio.create_task(ask_on(session))
        yield heard
        assert not caller.done(), caller.exception()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)


async def find_new(platform: DemoPlatform, before: tuple[str, ...]) -> str | None:
    return next((run for run in await platform.list_runs() if run not in before), None)


async def load_window(
    platform: DemoPlatform, release: str, number: int, folder: Path, state: tuple[str, ...]
) -> tuple[int, int]:
    """One window of requests and their labels, whose meaning is turned in the second; rows that were answered
    right, and all."""
    x = np.random.default_rng(number).normal(size=(WINDOW, starter.WIDTH))
    answers = await ask(platform, x)
    labels = label_rows(x, 100 + number, turned=number == 2).reshape(-1, TOGETHER).tolist()
    file = folder / f"labels-{number}.jsonl"
    lines: list[dict[str, Any]] = [
        {"request": request, "label": each}
        for (request, _), each in zip(answers, labels, strict=True)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines[::-1]))
    told = await platform.run_command("labels", "load", str(file), "--to", starter.NAME, *state)
    assert "10 labels accepted, 0 malformed" in told

    def judged() -> bool:
        return len(platform.list_verdicts("quality", release)) >= number

    await platform.wait_until(judged, f"window {number}", within=300)
    verdict = platform.list_verdicts("quality", release)[number - 1]
    right = sum(
        (label == "yes") == yes
        for (_, said), each in zip(answers, labels, strict=True)
        for label, yes in zip(each, said, strict=True)
    )
    assert verdict["alarm"] == (number == 2), verdict
    assert verdict["details"]["quality"]["accuracy"][1] == right / WINDOW
    # the answers are as sure of themselves as they were
    estimated = verdict["details"]["estimate"]["figures"]["accuracy"]
    assert abs(estimated[1] - estimated[0]) < 0.1
    assert abs(estimated[1] - right / WINDOW) < 0.1 if number == 1 else right / WINDOW < 0.3
    slices = {each["value"]: each["rows"] for each in verdict["details"]["slices"]["slices"]}
    assert slices == dict.fromkeys(REGIONS, WINDOW // 2)
    return right, WINDOW
