"""What users get wrong, tried on the running platform: each says what and where, and the loop goes on.

One platform and one small model; each mistake is a new version of the project, committed and trained as a user would.
"""

import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from support import starter
from support.loops import applied
from support.streams import stored

from driftloop.clients import events
from driftloop.clients.nats import open_connection
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TRAIN, SPEC, REQUIREMENTS = "trainer/train.py", "pipeline.yaml", "trainer/requirements.txt"
READ = "    x, y = read_all(data)\n    mean"
ROW = {"data": {"ndarray": [[0.0] * starter.WIDTH]}}


@dataclass(frozen=True)
class Mistake:
    """A change of one file of the project, and what must be said."""

    name: str
    file: str
    old: str
    new: str
    said: str


REFUSED = [
    Mistake(
        "key", SPEC, "retrain:", "retrian:", "pipeline.yaml:17:3: spec.retrian is not a known key"
    ),
    Mistake(
        "type",
        SPEC,
        "window: 200",
        "window: many",
        "spec.monitors.drift.window is `many`, must be a whole number",
    ),
    Mistake("function", SPEC, "train:train", "train:trian", "must be a function in"),
    Mistake(
        "Dockerfile",
        "trainer/Dockerfile",
        "FROM",
        "FORM",
        "Dockerfile:1: `FORM` is not an instruction",
    ),
    Mistake(
        "requirement",
        REQUIREMENTS,
        "numpy",
        "nunpy-nowhere",
        "trainer/requirements.txt:3: `nunpy-nowhere==",
    ),
    Mistake(
        "gate",
        SPEC,
        "metric: accuracy",
        "metric: f1",
        "spec.evaluate.gates[0].metric is `f1`, must be a metric that `evaluate`",
    ),
    Mistake(
        "detector",
        SPEC,
        "drift: {window",
        "drift: {detector: chi2, window",
        "a.npz: feature 0 of array `x` has more than 100 different values",
    ),
]
"""Refused before anything is committed, by `validate` or by `up`."""

FAILED = [
    Mistake(
        "raises",
        TRAIN,
        READ,
        "    raise KeyError('label')\n    mean",
        "`train:train` failed: KeyError: 'label'",
    ),
    Mistake(
        "hangs",
        TRAIN,
        READ,
        "    import time; time.sleep(600)\n    mean",
        "`train:train` was stopped after 3 s",
    ),
    Mistake(
        "no metric",
        TRAIN,
        '    return {"train_acc',
        '    return {} and {"train_acc',
        "returned no metric",
    ),
    Mistake(
        "import",
        TRAIN,
        "import numpy",
        "import pandas\nimport numpy",
        "module `pandas` is not installed",
    ),
]
"""Trained, and the run fails."""


class World:
    """The platform and the project as its user has it."""

    def __init__(self, platform: DemoPlatform, project: Path, copies: Path, envs: Path) -> None:
        self.platform = platform
        self.project = project
        self._copies = copies
        self._envs = envs
        self._version = 0

    def version(self, mistake: Mistake | None = None) -> Path:
        """The spec of a copy of the project with a tag of its own, and the mistake made in it."""
        self._version += 1
        copy = self._copies / f"v{self._version}"
        shutil.copytree(self.project, copy)
        spec = copy / SPEC
        trained = 'train: {run: "train:train",'
        text = spec.read_text().replace(":1.0.0", f":1.0.{self._version}")
        spec.write_text(
            text.replace(trained, f"{trained} timeout: 3s,")
            if mistake and mistake.name == "hangs"
            else text
        )
        if mistake is not None:
            file = copy / mistake.file
            assert mistake.old in file.read_text()
            file.write_text(file.read_text().replace(mistake.old, mistake.new, 1))
        return spec

    async def said(self, *command: str) -> str:
        """What a command that fails says; an empty text when it does not fail."""
        try:
            await self.platform.run_command(*command)
        except LocalError as error:
            return error.message
        return ""

    async def up(self, spec: Path) -> str:
        """`driftloop up` of a spec beside the platform that runs, and wait until that is what is applied."""
        platform = self.platform
        said = await self.said(
            "up", str(spec), "--state", str(platform.state.root), "--envs", str(self._envs)
        )
        if not said:
            await platform.wait_until(
                lambda: applied(platform), f"the commit of {spec}", within=300
            )
        return said

    async def train(self) -> str:
        return await self.said(
            *("trigger", self.platform.name, "--state", str(self.platform.state.root)),
            *("--wait", "--until", "rollout"),
        )


@contextlib.asynccontextmanager
async def world(tmp_path: Path, envs: Path) -> AsyncIterator[World]:
    spec = starter.project(tmp_path)
    monitors = "  monitors:\n"
    text = spec.read_text()
    assert monitors in text
    spec.write_text(text.replace(monitors, f"{monitors}    outlier: {{detector: iforest}}\n"))
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), starter.NAME, starter.NAME)
    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=600)
        here = World(platform, spec.parent, tmp_path, envs)
        platform.upload_files([starter.batch(tmp_path / "0.npz", rows=40)], "s3://mine/batches")
        said = await here.train()
        assert re.search(r"iforest has \d\d reference rows, must be at least 50", said)
        assert re.search("^fit-outlier failed", said, re.MULTILINE)
        assert re.search("^train", said, re.MULTILINE) is None
        platform.upload_files([starter.batch(tmp_path / "a.npz")], "s3://mine/batches")
        assert await here.train() == ""
        await platform.wait_until(lambda: applied(platform), "the release", within=300)
        await platform.wait_until(
            lambda: is_answered(platform.predictions, ROW), "a prediction", within=300
        )
        yield here


async def test_every_mistake_is_named_and_the_loop_goes_on(tmp_path: Path, envs: Path) -> None:
    async with world(tmp_path, envs) as here:
        platform = here.platform
        head, release = platform.read_tip(), platform.read_release()
        for mistake in REFUSED:
            said = await here.up(here.version(mistake))
            assert mistake.said in said, mistake.name
            assert "Traceback" not in said
        assert platform.read_tip() == head

        for mistake in FAILED:
            assert await here.up(here.version(mistake)) == "", mistake.name
            said = await here.train()
            assert " failed: " in said, mistake.name
            assert "retryStrategy" not in said
            assert mistake.said in said
            assert "Traceback" not in said
            assert platform.read_release() == release

        await requests(platform)
        await webhook(platform)

        # and a good version is trained, nothing but the wrong ones having been refused
        platform.upload_files([starter.batch(tmp_path / "b.npz", seed=1)], "s3://mine/batches")
        assert await here.up(here.version()) == ""
        assert await here.train() == ""
        status = json.loads(
            await platform.run_command(
                "status", "--state", str(platform.state.root), "--output", "json"
            )
        )
        assert {process["restarts"] for process in status["processes"]} == {0}


async def requests(platform: DemoPlatform) -> None:
    """Requests and events of every wrong shape between good ones: each has an answer, and the good ones are kept."""
    broker = f"http://127.0.0.1:{platform.read_port('broker')}/{platform.namespace}/default"
    big, noise = b"[" + b"0," * 1_000_000 + b"0]", bytes(range(256)) * 4
    async with aiohttp.ClientSession() as session:

        async def post(url: str, body: bytes, **headers: str) -> int:
            async with session.post(url, data=body, headers=headers) as answer:
                await answer.read()
                return answer.status

        good = json.dumps(ROW).encode()
        words, short = (b'{"data": {"ndarray": [%s]}}' % row for row in (b'["a", "b"]', b"[1, 2]"))
        for body in (b'{"data":', b"", noise, words, short):
            assert (
                await post(platform.predictions, good, **{"Content-Type": "application/json"})
                == 200
            )
            assert (
                await post(platform.predictions, body, **{"Content-Type": "application/json"})
                == 400
            ), body
        assert await post(platform.predictions, big, **{"Content-Type": "application/json"}) >= 400
        ce = {"ce-id": "1", "ce-type": "t", "ce-source": "s", "ce-specversion": "1.0"}
        structured = {"Content-Type": "application/cloudevents+json"}
        assert await post(broker, noise) == 400
        assert await post(broker, noise, **structured) == 400
        assert await post(broker, b"[1", **structured) == 400
        assert await post(broker, big, **ce) == 413
        assert await post(broker, noise, **ce) == 202

    async def kept() -> bool:
        """Five good requests with their answers, the wrong ones (a detector counts them), the binary event as sent."""
        async with open_connection(platform.nats_url, name="test") as js:
            found = [
                events.unpack_event(message.data)
                for message in await stored(js, "KN_MINE__DEFAULT")
            ]
        asked = [event for event in found if event.type.endswith("inference.request")]
        right = {event.get("requestid") for event in asked if event.body == good}
        answered = [
            event.get("requestid") for event in found if event.type.endswith("inference.response")
        ]
        binary = [event.body for event in found if event.type == "t"]
        return (
            len(asked) == 10 and len(answered) == 5 and set(answered) == right and binary == [noise]
        )

    await platform.wait_until(kept, "everything to be stored once", within=300)


async def webhook(platform: DemoPlatform) -> None:
    """Without the token nobody starts a run."""
    before = await platform.list_runs()
    url = f"http://127.0.0.1:{platform.read_port('webhook')}/retrain"
    body = {"pipeline": platform.name, "decision": "aaaaaaaaaaaa", "cause": "nobody"}
    async with aiohttp.ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with session.post(url, json=body, headers=headers) as answer:
                assert answer.status == 401
                assert "the bearer token is missing or wrong" in await answer.text()
    assert await platform.list_runs() == before
