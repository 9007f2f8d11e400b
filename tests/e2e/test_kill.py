"""kill -9 of every part while the loop turns: all come back, each stored event is judged once, no run starts twice."""

import asyncio
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.cli.demo_platform import Platform, answers, output
from pipeline.cli.demo_traffic import Traffic, read_rows
from pipeline.clients.nats import connection
from pipeline.runtimes.local.state import State

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
WINDOW = 200

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Counts:
    """Request events on the broker's stream, on the drift detector's, and what was judged of them."""

    stored: int
    delivered: int
    windows: tuple[tuple[int, int, int, int], ...]
    """(number, first, last, rows) of each verdict."""

    @property
    def settled(self) -> bool:
        return self.stored == self.delivered and len(self.windows) == self.delivered // WINDOW


async def counts(platform: Platform, release: str) -> Counts:
    name = platform.name
    async with connection(f"nats://127.0.0.1:{platform.port('nats')}", name="test") as js:
        broker = await js.stream_info(f"KN_{name.upper()}__DEFAULT", subjects_filter=">")
        subjects = broker.state.subjects or {}
        stored = sum(number for subject, number in subjects.items() if subject.endswith("request"))
        stream = f"DRIFTLOOP_{name.upper()}_{name.upper()}_DRIFT"
        subject = f"driftloop.events.{name}.{name}.drift.{release}"
        detector = await js.stream_info(stream, subjects_filter=subject)
        delivered = (detector.state.subjects or {}).get(subject, 0)
    found = sorted(
        (verdict["window"], verdict["firstSequence"], verdict["lastSequence"], verdict["size"])
        for verdict in platform.said("drift", release)
    )
    return Counts(stored, delivered, tuple(found))


async def test_nothing_is_lost_and_nothing_happens_twice(envs, tmp_path):
    platform = Platform(State.at(tmp_path / "state"), "digits", "digits")
    traffic_file, labelled = tmp_path / "traffic", tmp_path / "labelled"
    await batches("traffic", traffic_file)
    await batches("labelled", labelled)
    rows = {"clean": read_rows(traffic_file / "clean.jsonl")}
    body = {"data": {"ndarray": [rows["clean"][0].pixels]}}

    async with platform.running(DIGITS / "plain.yaml", print, envs=envs):
        await platform.until(lambda: current(platform), "the first commit", within=900)
        platform.upload(sorted(labelled.iterdir()), "s3://digits/batches")
        run = await trigger(platform)
        await kill_when_training(platform, run)
        await platform.until(lambda: platform.ended(run), f"run {run}", within=600)
        assert platform.ended(run) == "Succeeded"
        production = platform.release().production
        assert production is not None
        assert production.run == run
        await platform.until(lambda: current(platform), "the release", within=120)
        await platform.until(lambda: answers(platform.predictions, body), "a prediction", within=120)

        verdicts = asyncio.create_task(platform.follow_verdicts())
        async with Traffic.open(platform.predictions, rows, rate=20, prefix="k") as traffic:
            tally = traffic.turn("clean")
            await platform.until(lambda: tally.answered > 50, "answers", within=60)
            killed = []
            for name, pid in (await processes(platform)).items():
                if name == "up":
                    continue
                os.kill(pid, signal.SIGKILL)
                killed.append(name)
                await asyncio.sleep(3)
            await platform.until(lambda: restarted(platform, killed), "all parts to be back", within=120)
            before = tally.answered
            await platform.until(lambda: tally.answered > before + WINDOW, "answers after the kills", within=120)
        assert {"nats", "s3", "envoy", "broker", "argo"} <= set(killed)
        assert len(killed) >= 9

        async def settled() -> bool:
            return (await counts(platform, production.id)).settled

        await platform.until(settled, "every event to be judged", within=120)
        first = await counts(platform, production.id)
        # an answer whose events nobody could take (NATS or the broker was down) is served and not stored
        assert first.stored > tally.answered / 2
        check(first)
        verdicts.cancel()
        # the platform itself, then the same folder again
        up = (await processes(platform))["up"]
        os.kill(up, signal.SIGKILL)
        await asyncio.sleep(3)

    again = Platform(platform.state, "digits", "digits")
    async with again.running(DIGITS / "plain.yaml", print, envs=envs):
        await again.until(lambda: current(again), "the same release", within=120)
        assert again.release().production == production
        await again.until(lambda: answers(again.predictions, body), "a prediction", within=60)
        verdicts = asyncio.create_task(again.follow_verdicts())
        async with Traffic.open(again.predictions, rows, rate=40, prefix="l") as traffic:
            tally = traffic.turn("clean")
            await again.until(lambda: tally.answered > 2 * WINDOW, "answers", within=60)

        async def settled_again() -> bool:
            found = await counts(again, production.id)
            return found.settled and found.delivered > first.delivered

        await again.until(settled_again, "every event to be judged", within=60)
        check(await counts(again, production.id))
        assert await again.runs() == (run,)
        verdicts.cancel()


def check(found: Counts) -> None:
    """Windows number without a gap, each begins after the one before, and together they hold each event once."""
    assert [number for number, *_ in found.windows] == list(range(1, len(found.windows) + 1))
    assert all(size == WINDOW for *_, size in found.windows)
    for (_, _, last, _), (_, first, _, _) in zip(found.windows, found.windows[1:], strict=False):
        assert first > last


async def batches(what: str, to: Path) -> None:
    from uv import find_uv_bin

    await output([find_uv_bin(), "run", "--quiet", "--no-project", str(DIGITS / "batches.py"), what, "--to", str(to)])


def current(platform: Platform) -> str | None:
    from pipeline.errors import LocalError

    try:
        return platform.applied()
    except LocalError:
        return None


async def trigger(platform: Platform) -> str:
    said = await platform.call("trigger", platform.name, "--state", str(platform.state.root), "--output", "json")
    return str(json.loads(said)["run"])


async def kill_when_training(platform: Platform, run: str) -> None:
    """kill -9 of the workflow runner while a training step runs."""

    def training() -> bool:
        nodes = ((platform.workflow(run) or {}).get("status") or {}).get("nodes") or {}
        return any(
            "train" in str(node.get("displayName")) and node.get("type") == "Pod" and node.get("phase") == "Running"
            for node in nodes.values()
        )

    await platform.until(training, "training to begin", within=120)
    await asyncio.sleep(2)
    os.kill((await processes(platform))["argo"], signal.SIGKILL)


async def processes(platform: Platform) -> dict[str, int]:
    """Process ids by name; `up` is the supervisor."""
    status = json.loads(await platform.call("status", "--state", str(platform.state.root), "--output", "json"))
    found = {process["name"]: process["pid"] for process in status["processes"] if process["pid"]}
    return {"up": status["pid"], **found}


async def restarted(platform: Platform, names: list[str]) -> bool:
    status = json.loads(await platform.call("status", "--state", str(platform.state.root), "--output", "json"))
    ready = {process["name"] for process in status["processes"] if process["phase"] == "ready"}
    return set(names) <= ready
