"""Flights on the running platform: predictions, what their errors are estimated to be, their labels a while later, and when the
right answers change and the requests do not, the monitor of labels starts a run, whose data is the labelled traffic."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest
from support.loops import applied, batches, wait_told

from driftloop.contract.quality import read_estimate, read_figures
from driftloop.demo.platform import DemoPlatform, find_program, is_answered, run_program
from driftloop.local.ground.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NAME = "delays"
WINDOW, TOGETHER = 200, 10
LATER = 60.0
"""Minutes that flights of the second window arrive later than any before."""
CHANGES = (
    (
        "drift: {window: 200}\n",
        "quality: {on: label, window: 200, alarmRate: 0.0001}\n"
        "    estimate: {detector: estimate, by: dle, window: 200, alarmRate: 0.0001}\n",
    ),
    ("capture: {keep: 30d}", "capture: {every: 1s}\n  labels: {batches: {least: 350, every: 1s}}"),
    (
        "retrain: {on: [drift], consecutive: 2, cooldown: 30m",
        "retrain: {on: [quality], consecutive: 1, cooldown: 1s",
    ),
)


class Flights:
    """The platform, requests of flights in their order, and how late each of them was."""

    def __init__(self, platform: DemoPlatform, folder: Path) -> None:
        self.platform = platform
        self.folder = folder
        self.bodies = (folder / "traffic" / "clean.jsonl").read_text().splitlines()
        self.delays = json.loads(
            f"[{','.join((folder / 'answers' / 'clean.jsonl').read_text().split())}]"
        )
        self.labels: dict[str, list[float]] = {}
        """Request id -> its labels, as they were loaded."""
        self.errors: list[float] = []
        self.next = 0

    async def type(self, *arguments: str) -> str:
        """One command, as a person types it."""
        return await self.platform.run_command(*arguments, "--state", str(self.platform.state.root))

    def take_rows(self) -> tuple[dict[str, Any], list[float]]:
        """The next flights that have arrived, as one request, and their delays."""
        rows, delays, names = [], [], []
        while len(rows) < TOGETHER:
            body, delay = json.loads(self.bodies[self.next])["data"], self.delays[self.next]
            self.next += 1
            if delay is not None:
                names = body["names"]
                rows += body["ndarray"]
                delays.append(delay)
        return {"data": {"names": names, "ndarray": rows}}, delays

    async def send_window(self, number: int) -> list[tuple[str, list[float]]]:
        """One window of requests; their labels."""
        given = []
        async with aiohttp.ClientSession() as session:
            for _ in range(WINDOW // TOGETHER):
                body, delays = self.take_rows()
                truth = [delay + LATER * (number == 2) for delay in delays]
                async with session.post(self.platform.predictions, json=body) as answer:
                    text = await answer.text()
                    assert answer.status == 200, text
                    said = [
                        row[0] if isinstance(row, list) else row
                        for row in json.loads(text)["data"]["ndarray"]
                    ]
                    given.append((answer.headers["seldon-puid"], truth))
                self.errors += [abs(a - b) for a, b in zip(said, truth, strict=True)]
        self.labels |= dict(given)
        return given

    async def load_labels(self, number: int, given: list[tuple[str, list[float]]]) -> None:
        """Labels of a window, the last requests' first."""
        file = self.folder / f"labels-{number}.jsonl"
        lines = [{"request": request, "label": each} for request, each in reversed(given)]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        for _ in range(2):
            told = await self.type("labels", "load", str(file), "--to", NAME)
            assert f"{len(lines)} labels accepted, 0 malformed" in told

    async def read_verdict(self, monitor: str, release: str, number: int) -> dict[str, Any]:
        def judged() -> bool:
            return len(self.platform.list_verdicts(monitor, release)) >= number

        await self.platform.wait_until(judged, f"window {number} of {monitor}", within=300)
        return self.platform.list_verdicts(monitor, release)[number - 1]


def shorten(spec: Path) -> None:
    text = spec.read_text()
    for old, new in CHANGES:
        assert old in text, old
        text = text.replace(old, new)
    spec.write_text(text)


async def test_labelled_traffic_is_the_data_of_the_run_that_its_monitor_starts(
    tmp_path: Path, envs: Path
) -> None:
    project = tmp_path / NAME
    await run_program(
        [find_program(), "init", str(project), "--template", "flights", "--name", NAME]
    )
    shorten(project / "pipeline.yaml")
    for what in ("labelled", "traffic", "answers"):
        await batches(project, what, "clean", to=tmp_path / what)
    platform = DemoPlatform(StateFolder.open_folder(tmp_path / "state"), NAME, NAME)
    flights = Flights(platform, tmp_path)
    async with platform.run_up(project / "pipeline.yaml", print, envs=envs):
        await platform.wait_until(lambda: applied(platform), "the first commit", within=900)
        await flights.type("data", "put", str(tmp_path / "labelled" / "clean.csv"), "--to", NAME)
        ended = await flights.type("trigger", NAME, "--wait", "--output", "json")
        assert json.loads(ended)["outcome"] == "released", ended
        release = platform.read_release().production
        assert release is not None
        await platform.wait_until(lambda: applied(platform), "the release", within=300)
        body = json.loads(flights.bodies[0])
        await platform.wait_until(
            lambda: is_answered(platform.predictions, body), "a prediction", within=300
        )
        runs = await platform.list_runs()
        following = asyncio.create_task(platform.follow_verdicts())
        try:
            given = await flights.send_window(1)
            estimated = await flights.read_verdict("estimate", release.id, 1)
            told = f"estimate: window 1 of {release.id}: estimated absolute error mean"
            await wait_told(platform, told)
            await flights.load_labels(1, given)
            judged = await flights.read_verdict("quality", release.id, 1)
            assert not judged["alarm"]
            check_estimate(estimated, judged)
            mae = sum(flights.errors) / len(flights.errors)
            told = f"of {WINDOW} labelled rows"
            await wait_told(platform, f"mean absolute error {mae:.4g}", told)
            await flights.load_labels(2, await flights.send_window(2))
            verdict = await flights.read_verdict("quality", release.id, 2)
            assert verdict["alarm"], verdict
            # what the labels say is not in the requests
            assert not (await flights.read_verdict("estimate", release.id, 2))["alarm"]
            run = await platform.wait_until(
                lambda: find_trained(platform, runs),
                "a run over labelled traffic",
                within=300,
                every=1,
            )
        finally:
            following.cancel()
        shown = json.loads(await flights.type("runs", "show", run, "--output", "json"))
        assert "labelled rows" in shown["cause"], shown
        check_batch(platform, flights)


def check_estimate(estimated: dict[str, Any], judged: dict[str, Any]) -> None:
    """What was estimated of the window before its labels came is what the monitor of labels shows beside these, and
    near them."""
    alone, beside = (read_estimate(verdict["details"]) for verdict in (estimated, judged))
    assert alone is not None
    assert beside is not None
    assert (alone.by, alone.rows, beside.rows) == ("dle", WINDOW, WINDOW)
    expected = alone.figures["absolute error mean"][1]
    assert beside.figures["absolute error mean"][1] == pytest.approx(expected, rel=1e-9)
    _, real = read_figures(judged["details"])["absolute error mean"]
    assert abs(expected - real) < 4 * alone.error, (expected, real, alone.error)
    assert not estimated["alarm"], estimated


async def find_trained(platform: DemoPlatform, before: tuple[str, ...]) -> str | None:
    """A run that has trained on a labelled batch that no run had read."""
    for run in await platform.list_runs():
        folder = platform.state.s3 / "driftloop" / "runs" / run
        snapshot = folder / "snapshot" / "snapshot.json"
        if run in before or not snapshot.exists() or not list(folder.glob("trials/*/model/*")):
            continue
        recent = [
            each["key"] for each in json.loads(snapshot.read_text())["objects"] if each["recent"]
        ]
        assert [key.split("/")[0] for key in recent] == ["labelled"], recent
        return run
    return None


def check_batch(platform: DemoPlatform, flights: Flights) -> None:
    """Each labelled request is in one batch, with its columns and its label."""
    files = list((platform.state.s3 / NAME / "batches" / "labelled").glob("*.parquet"))
    assert len(files) == 1, files
    rows = pq.ParquetFile(io.BytesIO(files[0].read_bytes())).read().to_pylist()
    wanted = [delay for delays in flights.labels.values() for delay in delays]
    assert sorted(row["arr_delay"] for row in rows) == sorted(wanted)
    assert {"carrier", "dep_delay", "wind_gust"} <= rows[0].keys()
    assert not {"answer", "request_id", "role"} & rows[0].keys()
