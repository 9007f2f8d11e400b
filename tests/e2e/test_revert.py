"""`git revert` of a promotion, while requests come in: the old model answers all of them again and none fails."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import nats
import pytest
from support.loops import applied, commit_move

from driftloop.clients import s3
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.git.repository import Repository
from driftloop.local.argo.store import Workflows
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits.guard import refuse_harm
from driftloop.release import record
from driftloop.release.record import Version
from tests.pipelines import PLAIN, SPEC, version

SERVER = Path(__file__).parents[2] / "examples" / "digits" / "server"
MODEL = """\
from pathlib import Path

import numpy as np


class Digits:
    def __init__(self, model_uri):
        self.name = float(Path(model_uri, "name").read_text())

    def predict(self, X, names=None, meta=None):
        return np.array([[self.name]])
"""
ROLLOUT = """\
  rollout:
    shadow: {for: 1s, requests: 20, agreement: null}
    canary: {steps: [50], every: 1s, requests: 20, errorRate: 0.5}
    promote: manual
"""
BODY = {"data": {"ndarray": [[1.0]]}}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(params=[SPEC, PLAIN], ids=["seldon", "plain"])
def spec(request, tmp_path):
    """A project whose models answer nothing but their own number; its server's environment is the digits example's."""
    shutil.copytree(SERVER, tmp_path / "project" / "server")
    (tmp_path / "project" / "server" / "Digits.py").write_text(MODEL)
    file = tmp_path / "project" / "pipeline.yaml"
    text = request.param[: request.param.index("  monitors:")]
    file.write_text(
        text.replace('"example.org/server:1"', '"example.org/server:1", context: server') + ROLLOUT
    )
    return file


def stored(platform: DemoPlatform, folder: Path, number: int) -> Version:
    """A model in the store, as a run leaves it."""
    run = f"digits-{number}"
    files = folder / run
    files.mkdir()
    (files / "name").write_text(str(number))
    platform.upload_files([files / "name"], f"s3://driftloop/runs/{run}/release/model")
    return version(run, model_digest=s3.folder_digest(files), detectors=None)


async def list_models(platform: DemoPlatform) -> dict[str, int]:
    """Process id of each model server; what fetched its model has ended, and has none."""
    said = await platform.run_command(
        "status", "--output", "json", "--state", str(platform.state.root)
    )
    return {
        process["name"]: process["pid"]
        for process in json.loads(said)["processes"]
        if process["name"].startswith("digits/digits-r") and process["pid"] is not None
    }


@contextlib.asynccontextmanager
async def asked(url: str) -> AsyncIterator[list[str]]:
    """What three callers hear, who never stop asking: the number of a model, or what went wrong."""
    heard: list[str] = []

    async def ask(session: aiohttp.ClientSession) -> None:
        while True:
            try:
                async with session.post(url, json=BODY) as answer:
                    text = await answer.text()
                    ok = answer.status == 200
                    heard.append(
                        f"{json.loads(text)['data']['ndarray'][0][0]:g}"
                        if ok
                        else f"{answer.status} {text}"
                    )
            except aiohttp.ClientError as error:
                heard.append(repr(error))
            await asyncio.sleep(0.02)

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        callers = [asyncio.create_task(ask(session)) for _ in range(3)]
        yield heard
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


async def start_rollout(platform: DemoPlatform, version: Version) -> str:
    """Start the rollout of a candidate in shadow, as the step before does."""
    name = f"digits-release-{version.id}"
    manifest = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": {
            "workflowTemplateRef": {"name": "digits-release"},
            "arguments": {
                "parameters": [
                    {"name": "release", "value": version.id},
                    {"name": "run", "value": version.run},
                ]
            },
        },
    }
    client = await nats.connect(platform.nats_url)
    try:
        workflows = await Workflows.open(client.jetstream())
        await workflows.create(manifest, namespace="digits")
    finally:
        await client.close()
    return name


async def find_hold(platform: DemoPlatform) -> dict[str, str] | None:
    """What the last rollout waits for, as `status` tells it; None when it does not wait."""
    said = await platform.run_command(
        "status", "--output", "json", "--state", str(platform.state.root)
    )
    return json.loads(said)["runs"].get("digits/digits-release", {}).get("hold")


async def test_the_old_model_answers_everybody_again(spec, envs, tmp_path):
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), "digits", "digits")
    repository = Repository(
        platform.state.repository_url, guard=refuse_harm, workdir=tmp_path / "cache"
    )

    async def moved(step) -> None:
        await commit_move(repository, step)
        await platform.wait_until(lambda: applied(platform), "the move to be applied", within=300)

    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        old, new = stored(platform, tmp_path, 1), stored(platform, tmp_path, 2)
        await moved(lambda release: record.release_first(release, old))
        await platform.wait_until(
            lambda: is_answered(platform.predictions, BODY), "a prediction", within=300
        )
        before, tree = platform.read_release(), (await platform.run_git("rev-parse", "main^{tree}"))
        async with asked(platform.predictions) as heard:
            await moved(lambda release: record.start_shadow(release, new))
            served = await list_models(platform)
            await moved(lambda release: record.set_canary(release, 50))
            assert await list_models(platform) == served, "from shadow to canary nothing restarts"
            said = await platform.run_command(
                "promote", "digits", "--state", str(platform.state.root)
            )
            promotion = said.strip()
            await platform.wait_until(
                lambda: applied(platform), "the promotion to be applied", within=300
            )
            assert served.items() >= (await list_models(platform)).items()
            promoted = len(heard)
            await platform.wait_until(lambda: len(heard) > promoted + 50, "answers", within=300)

            revert(platform.state.repository_url, tmp_path / "clone", promotion)
            await platform.wait_until(
                lambda: applied(platform), "the revert to be applied", within=300
            )
            reverted = len(heard)
            await platform.wait_until(lambda: len(heard) > reverted + 50, "answers", within=300)
        assert set(heard) == {"1", "2"}, Counter(heard)
        assert set(heard[promoted + 3 : promoted + 50]) == {"2"}
        assert set(heard[reverted + 3 :]) == {"1"}
        assert platform.read_release() == before
        assert await platform.run_git("rev-parse", "main^{tree}") == tree

        # another candidate waits for a person, and `up` is killed meanwhile
        third = stored(platform, tmp_path, 3)
        async with asked(platform.predictions):
            await moved(lambda release: record.start_shadow(release, third))
            workflow = await start_rollout(platform, third)
            hold = await platform.wait_until(
                lambda: find_hold(platform), "the rollout to wait for a person", within=300
            )
        assert (hold["run"], hold["asks"]) == (third.run, f"{third.id} becomes production")
        os.kill(platform.state.find_holder(), signal.SIGKILL)
        await asyncio.sleep(1)

    platform = DemoPlatform(platform.state, "digits", "digits")
    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the same commit", within=300)
        found = await platform.wait_until(
            lambda: find_hold(platform), "the wait to be known again", within=300
        )
        assert found == hold
        assert platform.read_release().weights == {old.id: 50, third.id: 50}
        await platform.run_command(
            *("approve", "digits", third.run, "--reason", "looks right"),
            *("--state", str(platform.state.root)),
        )
        await platform.wait_until(
            lambda: platform.read_outcome(workflow), "the promotion", within=300
        )
        assert platform.read_outcome(workflow) == "Succeeded"
        assert platform.read_release().production.id == third.id
        message = await platform.run_git("log", "-1", "--format=%B", "main")
        assert re.search(r"Approved by .+: looks right\.", message)
        assert re.search(r"^Approved-by: .+$", message, re.MULTILINE)
    told = [json.loads(line)["what"] for line in platform.state.timeline.open()]
    assert told.count(f"run {third.run} waits for a person: {third.id} becomes production") == 1
    commits = [
        entry
        for line in platform.state.timeline.open()
        if (entry := json.loads(line))["kind"] == "commit"
    ]
    ended = next(
        entry
        for entry in commits
        if entry["what"] == f"End the rollout of {new.id} of digits: accepted"
    )
    assert ended["why"].endswith(f"passed over for {promotion[:10]}")


def revert(remote: str, clone: Path, commit: str) -> None:
    """A person takes a commit back."""
    git = ["git", "-C", str(clone), "-c", "user.name=eve", "-c", "user.email=eve@example.org"]
    subprocess.run(["git", "clone", "-q", remote, clone], check=True, capture_output=True)
    subprocess.run([*git, "revert", "--no-edit", commit], check=True, capture_output=True)
    subprocess.run([*git, "push", "-q"], check=True, capture_output=True)
