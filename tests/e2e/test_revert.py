"""`git revert` of a promotion, while requests come in: the old model answers all of them again and none fails."""

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from support.loops import applied, commit_move

from driftloop.clients import s3
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.git.repository import Repository
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
BODY = {"data": {"ndarray": [[1.0]]}}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(params=[SPEC, PLAIN], ids=["seldon", "plain"])
def spec(request, tmp_path):
    """A project whose models answer nothing but their own number; its server's environment is the digits example's."""
    shutil.copytree(SERVER, tmp_path / "project" / "server")
    (tmp_path / "project" / "server" / "Digits.py").write_text(MODEL)
    file = tmp_path / "project" / "pipeline.yaml"
    text = request.param[: request.param.index("  monitors:")]
    file.write_text(
        text.replace('"example.org/server:1"', '"example.org/server:1", context: server')
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


async def test_the_old_model_answers_everybody_again(spec, envs, tmp_path):
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), "digits", "digits")
    repository = Repository(
        platform.state.repository_url, guard=refuse_harm, workdir=tmp_path / "cache"
    )

    async def moved(step) -> None:
        await commit_move(repository, step)
        await platform.wait_until(lambda: applied(platform), "the move to be applied", within=60)

    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        old, new = stored(platform, tmp_path, 1), stored(platform, tmp_path, 2)
        await moved(lambda release: record.release_first(release, old))
        await platform.wait_until(
            lambda: is_answered(platform.predictions, BODY), "a prediction", within=60
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
                lambda: applied(platform), "the promotion to be applied", within=60
            )
            assert served.items() >= (await list_models(platform)).items()
            promoted = len(heard)
            await platform.wait_until(lambda: len(heard) > promoted + 50, "answers", within=30)

            revert(platform.state.repository_url, tmp_path / "clone", promotion)
            await platform.wait_until(
                lambda: applied(platform), "the revert to be applied", within=60
            )
            reverted = len(heard)
            await platform.wait_until(lambda: len(heard) > reverted + 50, "answers", within=30)
        assert set(heard) == {"1", "2"}, Counter(heard)
        assert set(heard[promoted + 3 : promoted + 50]) == {"2"}
        assert set(heard[reverted + 3 :]) == {"1"}
        assert platform.read_release() == before
        assert await platform.run_git("rev-parse", "main^{tree}") == tree
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
