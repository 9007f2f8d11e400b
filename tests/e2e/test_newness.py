"""A team whose labels come weekly, in seconds: alarms on every window, data now and then; and a person who rolls back."""

import asyncio
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from support import starter
from support.loops import applied, processes_of, wait_told

from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location
from driftloop.contract.names import ALARM_CAUSE
from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.demo.traffic import DigitRow, TrafficGenerator
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.retrain.explanation import format_time

WEEKS = 2
SHORT = """\
  monitors:
    drift: {detector: ks, window: 50, alarmRate: 0.0001}
  retrain: {on: [drift], consecutive: 1, cooldown: 1s, hold: 1h, budget: 3/day}
  rollout:
    shadow: {for: 1s, requests: 20, agreement: 0.5}
    canary: {steps: [50], every: 1s, requests: 10}
"""

NAME = starter.NAME
LOADS = "        with np.load(Path(model_uri)"
REFUSES = """\
        import hashlib
        if hashlib.sha256(next(Path(model_uri).iterdir()).read_bytes()).hexdigest() == "{digest}":
            raise RuntimeError("trained on other columns")
        with np.load(Path(model_uri)"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def rows(week: int, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that are easy to tell apart, and a last column that tells the week."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, number)
    x = random.normal(size=(number, starter.WIDTH)) + 2 * y[:, None]
    x[:, -1] = random.normal(size=number) + 6 * week
    return x, y


def traffic_rows(week: int) -> tuple[DigitRow, ...]:
    x, y = rows(week, 400, 1000 + week)
    return tuple(
        DigitRow(tuple(map(float, row)), int(label)) for row, label in zip(x, y, strict=True)
    )


def put_batch(platform: DemoPlatform, folder: Path, week: int) -> None:
    x, y = rows(week, 600, week)
    file = folder / f"week-{week}.npz"
    np.savez(file, x=x, y=y)
    platform.upload_files([file], "s3://mine/batches")


class Team:
    """The platform and what the team sees of it."""

    def __init__(self, platform: DemoPlatform) -> None:
        self.platform = platform

    async def command(self, *arguments: str) -> str:
        return await self.platform.run_command(*arguments, "--state", str(self.platform.state.root))

    async def phase_is(self, phase: str, within: float = 120) -> None:
        async def reached() -> bool:
            return (await self.platform.read_decision()).phase == phase

        await self.platform.wait_until(reached, f"the phase {phase}", within=within)

    async def more_alarms(self, number: int) -> None:
        """So many windows more that alarm, of whatever release."""
        before = sum(bool(verdict["alarm"]) for verdict in self.platform.verdicts)

        def came() -> bool:
            now = sum(bool(verdict["alarm"]) for verdict in self.platform.verdicts)
            return now >= before + number

        await self.platform.wait_until(came, f"{number} more alarms", within=300)

    def stable_with_another(self, release: str) -> bool:
        now = self.platform.read_release()
        return now.phase == "stable" and now.production is not None and now.production.id != release

    async def trained(self) -> list[str]:
        """The commits that registered a version."""
        log = await self.platform.run_git("log", "--reverse", "--format=%s", "main")
        return [line for line in log.splitlines() if line.startswith("Release ")]

    def waits_told(self) -> int:
        """The waits for data that the decision told everybody of, by its own log."""
        logs = self.platform.state.logs.rglob("*decision*")
        text = "\n".join(file.read_text(errors="replace") for file in logs if file.is_file())
        return text.count("mine: nothing new since")


async def test_data_that_comes_weekly_is_a_run_a_week_and_a_rollback_stands(envs, tmp_path):
    spec = starter.project(tmp_path)
    text = spec.read_text()
    spec.write_text(text[: text.index("  monitors:")] + SHORT)
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), "mine", "mine")
    team = Team(platform)
    async with platform.run_up(spec, print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        put_batch(platform, tmp_path, 0)
        await team.command("trigger", "mine")
        await platform.wait_until(
            lambda: platform.read_release().production is not None, "the first release", within=300
        )
        await platform.wait_until(lambda: applied(platform), "the release", within=300)
        traffic = {f"week {week}": traffic_rows(week) for week in range(WEEKS + 1)}
        body = {"data": {"ndarray": [list(traffic["week 0"][0].pixels)]}}
        await platform.wait_until(
            lambda: is_answered(platform.predictions, body), "a prediction", within=300
        )
        verdicts = asyncio.create_task(platform.follow_verdicts())
        try:
            async with TrafficGenerator.open_traffic(
                platform.predictions, traffic, rate=50, prefix="t"
            ) as sender:
                await a_new_monitor(team, sender, spec)
                for week in range(1, WEEKS + 1):
                    await a_week(team, sender, tmp_path, week)
                await a_rollback(team, WEEKS)
                await a_rollback_that_can_not_answer(team, spec)
        finally:
            verdicts.cancel()
    assert processes_of(platform.state.root) == []


async def a_week(team: Team, sender: TrafficGenerator, folder: Path, week: int) -> None:
    """Alarms, no data: nothing is trained and people are told once. Then a batch: one run."""
    platform = team.platform
    before = platform.read_release()
    assert before.production is not None
    trained = await team.trained()
    sender.switch_rows(f"week {week}")
    await team.phase_is("waiting")
    waiting = await platform.read_decision()
    assert waiting.waits is not None
    runs = await platform.list_runs()
    assert await team.trained() == trained
    # further alarms start nothing, cost nothing and tell nobody again
    await team.more_alarms(3)
    assert await platform.list_runs() == runs
    now = await platform.read_decision()
    assert (now.phase, now.fired, now.waits) == ("waiting", waiting.fired, waiting.waits)
    assert len(now.fired) == week - 1, "a run that found nothing new was taken from the budget"
    await platform.wait_until(lambda: team.waits_told() >= week, "the wait is told", within=300)
    assert team.waits_told() == week
    why = await team.command("why", "mine")
    assert "waits for data since " in why
    assert f"nothing new since {before.production.id}" in why
    assert waiting.outcome_at == waiting.waits.since
    assert f"ended as not-started at {format_time(waiting.waits.since)}" in why
    assert "the first new batch below s3://mine/batches starts a run because of it" in why
    await wait_told(platform, "decision mine.mine: waiting; waits for data since")
    cause = waiting.waits.cause.text
    assert cause.startswith(ALARM_CAUSE)

    put_batch(platform, folder, week)
    await platform.wait_until(
        lambda: team.stable_with_another(before.production.id), "a new release", within=300
    )
    after = platform.read_release()
    assert after.production is not None
    assert after.previous == before.production
    assert after.production.model_digest != before.production.model_digest
    told = await platform.run_git("log", "-1", "--format=%(trailers:key=Driftloop-Cause)", "main")
    assert told.strip() == f"Driftloop-Cause: {cause}"
    assert len(await team.trained()) == len(trained) + 1
    assert len(await platform.list_runs()) == len(runs) + 1
    await platform.wait_until(lambda: applied(platform), "the promotion to be applied", within=300)
    await platform.wait_until(
        lambda: len(platform.list_verdicts("drift", after.production.id)) >= 2,
        "windows",
        within=300,
    )
    assert not any(v["alarm"] for v in platform.list_verdicts("drift", after.production.id))


async def a_new_monitor(team: Team, sender: TrafficGenerator, spec: Path) -> None:
    """Data and code stay: the run makes the same model, and only its detectors are released."""
    platform = team.platform
    before = platform.read_release()
    assert before.production is not None
    added = "    rare: {detector: schema, window: 50, alarmRate: 0.0001}\n"
    spec.write_text(spec.read_text().replace("  retrain:", f"{added}  retrain:"))
    lacks = "production has no detector of `rare`"
    await team.command("commit", str(spec))
    await platform.wait_until(lambda: applied(platform), "the monitor", within=300)

    async def is_told() -> bool:
        return lacks in await team.command("why", NAME)

    await platform.wait_until(is_told, "why it does not watch", within=300)
    await wait_told(platform, lacks)
    run = (await team.command("trigger", NAME, "--wait")).strip()
    after = platform.read_release()
    assert after.production is not None
    assert after.production.fitted_by == run
    assert after.production.detector_digests.keys() == {"drift", "rare"}
    for name in ("id", "run", "model", "model_digest", "data_digest", "metrics"):
        assert getattr(after.production, name) == getattr(before.production, name)
    assert (after.phase, after.previous, after.weights) == (
        "stable",
        before.previous,
        before.weights,
    )
    sender.switch_rows("week 0")
    await platform.wait_until(
        lambda: len(platform.list_verdicts("rare", before.production.id)) >= 1,
        "its windows",
        within=300,
    )
    assert lacks not in await team.command("why", NAME)
    assert "ended as released at" in await team.command("why", NAME)


async def a_rollback(team: Team, week: int) -> None:
    """A person takes the last release back: the loop holds its hand, and doesn't make it again."""
    platform = team.platform
    runs, taken = await platform.list_runs(), platform.read_release().production
    assert taken is not None
    rolled = json.loads(await team.command("rollback", "mine", "--output", "json"))
    await platform.wait_until(lambda: applied(platform), "the rollback to be applied", within=300)
    await team.more_alarms(2)
    await team.phase_is("held")
    why = await team.command("why", "mine")
    assert f"after a person's commit: `Roll mine back to {rolled['production']}`" in why
    await wait_told(platform, "decision mine.mine: held; starts nothing until")
    await team.more_alarms(2)
    assert await platform.list_runs() == runs
    assert (await platform.read_decision()).phase == "held"

    assert (await team.command("resume", "mine")).strip() == "idle"
    await team.phase_is("waiting")
    reason = (await platform.read_decision()).reason
    assert reason.startswith(f"nothing new since {taken.id}, which `Roll mine back to ")
    assert len(await team.trained()) == 1 + week
    current = platform.read_release().production
    assert current is not None
    assert current.id == rolled["production"]


async def a_rollback_that_can_not_answer(team: Team, spec: Path) -> None:
    """The server does not load the first model any more: going back to it is refused, not tried."""
    platform = team.platform
    log = await platform.run_git("log", "--format=%H", "main", "--", f"deployments/{NAME}")
    releases = [platform.read_release(commit).production for commit in log.split()]
    first = next(version for version in reversed(releases) if version is not None)
    store = ObjectStore.from_environment(platform.read_store())
    (file,) = store.list_folder(parse_location(first.model))
    data = store.read_object(StoreLocation(parse_location(first.model).bucket, file.key))
    server = spec.parent / "server" / "Model.py"
    text = server.read_text()
    assert LOADS in text
    server.write_text(text.replace(LOADS, REFUSES.format(digest=hashlib.sha256(data).hexdigest())))
    await team.command("commit", str(spec), "--bump")
    await platform.wait_until(lambda: applied(platform), "the new server", within=300)
    tip = platform.read_tip()
    with pytest.raises(LocalError) as refused:
        await team.command("rollback", NAME, "--to", first.id)
    assert f"`{NAME}` can't go back to {first.id}: the server ended with exit code" in str(
        refused.value
    )
    assert "RuntimeError: trained on other columns" in str(refused.value)
    assert platform.read_tip() == tip
