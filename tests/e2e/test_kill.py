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
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from support.ledger import DETECTORS, WINDOW, EventPoster, Ledger, read_ledger
from support.loops import applied, batches

from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.demo.traffic import TrafficGenerator, read_rows
from driftloop.local.ground.state import StateFolder

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SPEC = DIGITS / "plain.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


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
        await platform.wait_until(lambda: fired(platform, decision), "the webhook", within=300)
        await platform.wait_until(lambda: training(platform, run), "training to begin", within=180)
        await kill(platform, "up")

    async with contextlib.AsyncExitStack() as posting:
        # it goes on, its cause fired again as by one who never heard the answer; the runner is killed in training too
        platform = DemoPlatform(state, "digits", "digits")
        async with platform.run_up(SPEC, print, envs=envs):
            await platform.wait_until(lambda: applied(platform), "the same commit", within=300)
            await platform.wait_until(lambda: fired(platform, decision), "the webhook", within=300)
            await platform.wait_until(
                lambda: training(platform, run), "training to begin again", within=180
            )
            await kill(platform, "argo")
            await platform.wait_until(lambda: platform.read_outcome(run), f"run {run}", within=600)
            assert platform.read_outcome(run) == "Succeeded"
            production = platform.read_release().production
            assert production is not None
            assert production.run == run
            await platform.wait_until(lambda: applied(platform), "the release", within=300)
            await platform.wait_until(
                lambda: is_answered(platform.predictions, body), "a prediction", within=300
            )

            # every part is killed during traffic, then `up` itself
            logger = EventPoster(platform, production.id, rows["clean"])
            await posting.enter_async_context(logger.running(rate=20))
            async with TrafficGenerator.open_traffic(
                platform.predictions, rows, rate=20, prefix="k"
            ) as traffic:
                tally = traffic.switch_rows("clean")
                await platform.wait_until(lambda: tally.answered > 50, "answers", within=300)
                names = [name for name in await processes(platform) if name != "up"]
                for name in names:
                    # it may be starting again just now, after the kill of what it needs
                    await platform.wait_until(partial(kill, platform, name), name, within=300)
                    await asyncio.sleep(2)
                pods = {
                    f"digits/digits-{name}"
                    for name in (production.id, "judge", "decision", *DETECTORS)
                }
                assert {"nats", "s3", "envoy", "broker", "argo", *pods} <= set(names)
                await platform.wait_until(
                    lambda: restarted(platform, names), "all parts to be back", within=300
                )
                before = tally.answered
                await platform.wait_until(
                    lambda: tally.answered > before + 50, "answers after the kills", within=300
                )
                await kill(platform, "up")

        # the same folder again; the logger posts all the while
        platform = DemoPlatform(state, "digits", "digits")
        async with platform.run_up(SPEC, print, envs=envs):
            await platform.wait_until(lambda: applied(platform), "the same release", within=300)
            assert platform.read_release().production == production
            await platform.wait_until(
                lambda: is_answered(platform.predictions, body), "a prediction", within=300
            )
            async with TrafficGenerator.open_traffic(
                platform.predictions, rows, rate=40, prefix="l"
            ) as traffic:
                tally = traffic.switch_rows("clean")
                await platform.wait_until(lambda: tally.answered > WINDOW, "answers", within=300)
            await posting.aclose()

            async def settled() -> Ledger | None:
                found = await read_ledger(platform, production.id)
                return found if found.settled else None

            await asyncio.sleep(1)  # what Envoy has still to post
            found = await platform.wait_until(
                settled, "every event to be judged", within=300, every=2
            )
            print(found)
            assert len(logger.acknowledged) > 2 * WINDOW
            assert found.responses
            assert found.list_lost(logger.acknowledged) == []
            assert found.list_doubled() == []
            assert found.list_misjudged() == []
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
