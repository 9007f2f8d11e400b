"""kill -9 of every part and of `up` itself: all come back, each acknowledged event is judged once, no run starts twice.

Events are compared one by one, by id: what the ingress acknowledged, what is on its stream, on each detector's stream
(sequence by sequence), in which window the stored verdicts put it, and what the judge keeps.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from support.loops import applied, batches
from support.streams import stored

from driftloop.clients import events
from driftloop.clients.nats import open_connection
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.demo.traffic import DigitRow, TrafficGenerator, read_rows
from driftloop.local.ground.state import StateFolder

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SPEC = DIGITS / "plain.yaml"
WINDOW = 200
DETECTORS = ("drift", "outlier")
REQUEST, RESPONSE = "io.seldon.serving.inference.request", "io.seldon.serving.inference.response"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Window:
    """What one stored verdict says it covers: first and last sequence of the detector's stream."""

    number: int
    first: int
    last: int
    events: int


@dataclass(frozen=True)
class Ledger:
    """Where each event of a release is, by its id."""

    requests: tuple[str, ...]
    """Request events on the broker's stream."""
    responses: tuple[str, ...]
    judge: tuple[str, ...]
    """Response events that the judge keeps."""
    delivered: dict[str, tuple[tuple[int, str], ...]]
    """Per detector: sequence and id of each event on its stream."""
    windows: dict[str, tuple[Window, ...]]

    @property
    def settled(self) -> bool:
        """Whether everything that was stored has come to where it belongs, and every full window is judged."""
        return len(self.judge) >= len(self.responses) and all(
            len(self.delivered[name]) >= len(self.requests)
            and len(self.windows[name]) >= len(self.delivered[name]) // WINDOW
            for name in DETECTORS
        )

    def __str__(self) -> str:
        windows = ", ".join(f"{name} {len(found)}" for name, found in self.windows.items())
        return f"{len(self.requests)} requests and {len(self.responses)} responses stored; windows judged: {windows}"

    def check(self, acknowledged: set[str]) -> None:
        """Each acknowledged event is stored once, delivered once to each detector, and in one window of each."""
        assert acknowledged <= set(self.requests)
        assert len(set(self.requests)) == len(self.requests)
        assert Counter(self.judge) == Counter(self.responses)
        for name in DETECTORS:
            delivered, windows = self.delivered[name], self.windows[name]
            assert Counter(id for _, id in delivered) == Counter(self.requests)
            assert [window.number for window in windows] == list(range(1, len(windows) + 1))
            judged: list[str] = []
            for window in windows:
                inside = [
                    id for sequence, id in delivered if window.first <= sequence <= window.last
                ]
                assert len(inside) == window.events == WINDOW
                judged += inside
            waiting = [
                id for sequence, id in delivered if not windows or sequence > windows[-1].last
            ]
            assert len(waiting) < WINDOW
            assert Counter([*judged, *waiting]) == Counter(self.requests), (
                f"{name}: in two windows, or in none"
            )


async def ledger(platform: DemoPlatform, release: str) -> Ledger:
    """Read all streams."""
    name = platform.name
    prefix = f"DRIFTLOOP_{name.upper()}_{name.upper()}"
    async with open_connection(platform.nats_url, name="test") as js:
        found: dict[str, list[str]] = {REQUEST: [], RESPONSE: []}
        for message in await stored(js, f"KN_{name.upper()}__DEFAULT"):
            event = events.unpack_event(message.data)
            if event.type in found and event.get("endpoint") == release:
                assert message.id == event.key
                found[event.type].append(event.id)
        delivered, windows = {}, {}
        for detector in DETECTORS:
            subject = f"driftloop.events.{name}.{name}.{detector}.{release}"
            delivered[detector] = tuple(
                (message.sequence, message.id.rpartition(" ")[2])
                for message in await stored(js, f"{prefix}_{detector.upper()}", subject=subject)
            )
            subject = f"driftloop.verdicts.{name}.{name}.{detector}.{release}"
            verdicts = [
                json.loads(m.data) for m in await stored(js, "DRIFTLOOP_VERDICTS", subject=subject)
            ]
            windows[detector] = tuple(
                Window(v["window"], v["firstSequence"], v["lastSequence"], v["details"]["events"])
                for v in verdicts
            )
        judge = tuple(
            message.id.rpartition(" ")[2] for message in await stored(js, f"{prefix}_JUDGE")
        )
    return Ledger(tuple(found[REQUEST]), tuple(found[RESPONSE]), judge, delivered, windows)


@dataclass
class Logger:
    """Posts request events of its own to the ingress, each until it is acknowledged, whatever dies meanwhile."""

    platform: DemoPlatform
    release: str
    rows: tuple[DigitRow, ...]
    acknowledged: set[str] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self, *, rate: float) -> AsyncIterator["Logger"]:
        """Posting while the `with` lasts; the event under way is still acknowledged."""
        ended = asyncio.Event()

        async def post() -> None:
            number = 0
            async with aiohttp.ClientSession() as session:
                while not ended.is_set():
                    await self._post(session, self.rows[number % len(self.rows)])
                    number += 1
                    await asyncio.sleep(1 / rate)

        task = asyncio.create_task(post())
        try:
            yield self
        finally:
            ended.set()
            await asyncio.wait_for(task, 60)

    async def _post(self, session: aiohttp.ClientSession, row: DigitRow) -> None:
        platform = self.platform
        attributes = {
            "inferenceservicename": platform.name,
            "namespace": platform.namespace,
            "endpoint": self.release,
        }
        body = {"data": {"ndarray": [row.pixels]}}
        event = events.make_event(REQUEST, "test", body, **attributes, requestid=str(uuid.uuid4()))
        while True:
            url = f"http://127.0.0.1:{platform.read_port('broker')}/{platform.namespace}/default"
            try:
                await events.post_event(session, url, event, timeout=8)
            except events.EventRefusedError:
                await asyncio.sleep(0.2)
                continue
            self.acknowledged.add(event.id)
            return


async def test_nothing_is_lost_and_nothing_happens_twice(envs, tmp_path):
    state = StateFolder.open_folder(tmp_path / "state")
    platform = DemoPlatform(state, "digits", "digits")
    traffic_file, labelled = tmp_path / "traffic", tmp_path / "labelled"
    await batches(DIGITS, "traffic", "clean", to=traffic_file)
    await batches(DIGITS, "labelled", "clean", to=labelled)
    rows = {"clean": read_rows(traffic_file / "clean.jsonl")}
    body = {"data": {"ndarray": [rows["clean"][0].pixels]}}
    decision = secrets.token_hex(6)
    run = f"digits-{decision}"

    # `up` is killed in training
    async with platform.run_up(SPEC, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        platform.upload_files(sorted(labelled.iterdir()), "s3://digits/batches")
        await platform.wait_until(lambda: fired(platform, decision), "the webhook", within=60)
        await platform.wait_until(lambda: training(platform, run), "training to begin", within=180)
        await kill(platform, "up")

    async with contextlib.AsyncExitStack() as posting:
        # it goes on, its cause fired again as by one who never heard the answer; the runner is killed in training too
        platform = DemoPlatform(state, "digits", "digits")
        async with platform.run_up(SPEC, print, envs=envs):
            await platform.wait_until(lambda: applied(platform), "the same commit", within=120)
            await platform.wait_until(lambda: fired(platform, decision), "the webhook", within=60)
            await platform.wait_until(
                lambda: training(platform, run), "training to begin again", within=180
            )
            await kill(platform, "argo")
            await platform.wait_until(lambda: platform.read_outcome(run), f"run {run}", within=600)
            assert platform.read_outcome(run) == "Succeeded"
            production = platform.read_release().production
            assert production is not None
            assert production.run == run
            await platform.wait_until(lambda: applied(platform), "the release", within=120)
            await platform.wait_until(
                lambda: is_answered(platform.predictions, body), "a prediction", within=120
            )

            # every part is killed during traffic, then `up` itself
            logger = Logger(platform, production.id, rows["clean"])
            await posting.enter_async_context(logger.running(rate=20))
            async with TrafficGenerator.open_traffic(
                platform.predictions, rows, rate=20, prefix="k"
            ) as traffic:
                tally = traffic.switch_rows("clean")
                await platform.wait_until(lambda: tally.answered > 50, "answers", within=60)
                names = [name for name in await processes(platform) if name != "up"]
                killed = []
                for name in names:
                    if await kill(platform, name):
                        killed.append(name)
                    await asyncio.sleep(2)
                pods = {
                    f"digits/digits-{name}"
                    for name in (production.id, "judge", "decision", *DETECTORS)
                }
                assert {"nats", "s3", "envoy", "broker", "argo", *pods} <= set(killed)
                await platform.wait_until(
                    lambda: restarted(platform, killed), "all parts to be back", within=120
                )
                before = tally.answered
                await platform.wait_until(
                    lambda: tally.answered > before + 50, "answers after the kills", within=120
                )
                await kill(platform, "up")

        # the same folder again; the logger posts all the while
        platform = DemoPlatform(state, "digits", "digits")
        async with platform.run_up(SPEC, print, envs=envs):
            await platform.wait_until(lambda: applied(platform), "the same release", within=120)
            assert platform.read_release().production == production
            await platform.wait_until(
                lambda: is_answered(platform.predictions, body), "a prediction", within=60
            )
            async with TrafficGenerator.open_traffic(
                platform.predictions, rows, rate=40, prefix="l"
            ) as traffic:
                tally = traffic.switch_rows("clean")
                await platform.wait_until(lambda: tally.answered > WINDOW, "answers", within=60)
            await posting.aclose()

            async def settled() -> Ledger | None:
                found = await ledger(platform, production.id)
                return found if found.settled else None

            await asyncio.sleep(1)  # what Envoy has still to post
            found = await platform.wait_until(
                settled, "every event to be judged", within=120, every=2
            )
            print(found)
            assert len(logger.acknowledged) > 2 * WINDOW
            assert found.responses
            found.check(logger.acknowledged)
            # one cause, one run, one release
            assert await platform.list_runs() == (run,)
            runs = await platform.run_git(
                "log", "main", "--format=%(trailers:key=Driftloop-Run,valueonly)"
            )
            assert runs.split().count(run) == 1


async def fire(platform: DemoPlatform, decision: str) -> int:
    """POST to the webhook what the decision service would; the status of its answer, 0 when nobody answers."""
    token = json.loads(platform.state.platform.read_text())["secret"]["webhook-token"]
    body = {"pipeline": platform.name, "decision": decision, "cause": "person test"}
    url = f"http://127.0.0.1:{platform.read_port('webhook')}/retrain"
    try:
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
            session.post(url, json=body) as answer,
        ):
            return answer.status
    except aiohttp.ClientError:
        return 0


async def fired(platform: DemoPlatform, decision: str) -> bool:
    return await fire(platform, decision) == 200


def training(platform: DemoPlatform, run: str) -> bool:
    """Whether a training step of the run is at work."""
    nodes = ((platform.read_workflow(run) or {}).get("status") or {}).get("nodes") or {}
    return any(
        "train" in str(node.get("displayName"))
        and node.get("type") == "Pod"
        and node.get("phase") == "Running"
        for node in nodes.values()
    )


async def kill(platform: DemoPlatform, name: str) -> bool:
    """kill -9 of one process; False when it was not running just now."""
    pid = (await processes(platform)).get(name)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    if name == "up":
        await asyncio.sleep(1)  # all of it is gone then
    return True


async def processes(platform: DemoPlatform) -> dict[str, int]:
    """Process ids by name; `up` is the supervisor."""
    status = json.loads(
        await platform.run_command(
            "status", "--state", str(platform.state.root), "--output", "json"
        )
    )
    found = {process["name"]: process["pid"] for process in status["processes"] if process["pid"]}
    return {"up": status["pid"], **found}


async def restarted(platform: DemoPlatform, names: list[str]) -> bool:
    status = json.loads(
        await platform.run_command(
            "status", "--state", str(platform.state.root), "--output", "json"
        )
    )
    ready = {process["name"] for process in status["processes"] if process["phase"] == "ready"}
    return set(names) <= ready
