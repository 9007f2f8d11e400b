"""The demo's parts that need no platform: its load generator, its screen, and the folder it takes over."""

import asyncio
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner
from support.processes import PATIENCE, until

from driftloop.cli.demo import command
from driftloop.demo.screen import DemoScreen, format_percent
from driftloop.demo.story_report import draw_chart, measure_line
from driftloop.demo.tour import empty_folder
from driftloop.demo.traffic import DigitRow, TrafficGenerator, TrafficTally, read_rows
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder, free_port
from tests.pages import samples

ROWS = {
    "even": tuple(DigitRow((float(n),), n % 2) for n in range(10)),
    "unlabelled": (DigitRow((1.0,), None),),
}


class Model:
    """Answers class 0, so half of `even` is right; `status` and `body` break it."""

    def __init__(self) -> None:
        self.status = 200
        self.body = {"data": {"ndarray": [[0.9, 0.1]]}}
        self.ids: list[str] = []

    async def predict(self, request: web.Request) -> web.Response:
        assert len((await request.json())["data"]["ndarray"][0]) == 1
        self.ids.append(request.headers["Seldon-Puid"])
        return web.json_response(self.body, status=self.status)


@pytest.fixture
async def model():
    model = Model()
    app = web.Application()
    app.router.add_post("/predict", model.predict)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    model.url = f"http://127.0.0.1:{runner.addresses[0][1]}/predict"
    yield model
    await runner.cleanup()


async def sent(tally: TrafficTally, number: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while tally.answered + tally.failed < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_counts_right_answers_of_each_turn_and_gives_every_request_its_own_id(model):
    async with TrafficGenerator.open_traffic(model.url, ROWS, rate=400, prefix="t") as traffic:
        first = traffic.switch_rows("even")
        await sent(first, 40)
        second = traffic.switch_rows("unlabelled")
        await sent(second, 5)
        traffic.pause_sending()
    assert first.labelled == first.answered == first.sent
    assert abs(first.accuracy - 0.5) < 0.05
    assert second.answered == second.sent
    assert math.isnan(second.accuracy)
    assert sorted(model.ids) == sorted(first.ids + second.ids)
    assert len(set(model.ids)) == len(model.ids)


async def test_keeps_its_rate(model):
    async with TrafficGenerator.open_traffic(model.url, ROWS, rate=100, prefix="t") as traffic:
        rates = []
        # a busy machine may lose a part of a second, and of the next, but not of each
        while not rates or (rates[-1] < 80 and len(rates) < 30):
            tally, began = traffic.switch_rows("even"), time.monotonic()
            await asyncio.sleep(1)
            rates.append(tally.sent / (time.monotonic() - began))
        traffic.pause_sending()
    assert 80 <= rates[-1] <= 110, rates
    assert 0 < tally.quantile(0.5) <= tally.quantile(0.99)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, {}, "HTTP 503"),
        (200, {"data": {}}, "the answer is not a prediction"),
        (200, [], "the answer is not a prediction"),
    ],
)
async def test_a_failed_request_is_counted_by_its_reason(model, status, body, reason):
    model.status, model.body = status, body
    async with TrafficGenerator.open_traffic(model.url, ROWS, rate=200, prefix="t") as traffic:
        tally = traffic.switch_rows("even")
        await sent(tally, 5)
    assert tally.errors == {reason: tally.sent}
    assert tally.answered == 0


async def test_a_model_that_is_gone_is_counted_too(model):
    async with TrafficGenerator.open_traffic(
        f"http://127.0.0.1:{free_port()}/", ROWS, rate=200, prefix="t"
    ) as traffic:
        tally = traffic.switch_rows("even")
        await sent(tally, 3)
    assert tally.failed == tally.sent


def test_reads_rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"x": [1, 2.5], "y": 3}\n{"x": [0, 0]}\n')
    assert read_rows(file) == (DigitRow((1, 2.5), 3), DigitRow((0, 0), None))
    file.write_text("")
    with pytest.raises(LocalError, match="has no rows"):
        read_rows(file)


def test_the_summary_holds_only_if_every_claim_does(capsys):
    screen = DemoScreen()
    assert not screen.print_summary("")
    screen.record_claim("one", held=True, seen="1")
    assert screen.print_summary("abc first commit")
    screen.record_claim("two", held=False, seen="3")
    assert not screen.print_summary("")
    out = capsys.readouterr().out
    assert "held    one: 1" in out
    assert "FAILED  two: 3" in out
    assert "abc first commit" in out


async def test_prints_what_is_added_to_the_timeline(tmp_path, capsys):
    timeline = tmp_path / "timeline.jsonl"
    entry = {"time": "2026-01-31T09:30:00Z", "kind": "commit", "what": "before"}
    timeline.write_text(json.dumps(entry) + "\n")
    heard = []

    def hears(word: str) -> bool:
        heard.append(capsys.readouterr().err)
        return word in "".join(heard)

    follower = asyncio.create_task(DemoScreen().follow_timeline(timeline))
    # it notes where the file ends before it waits for anything
    await asyncio.sleep(0)
    with timeline.open("a") as lines:
        lines.write(
            json.dumps(entry | {"what": "promoted", "why": "judged", "commit": "0123456789abcdef"})
            + "\n"
            + json.dumps(entry | {"what": "half"})[:-6]
        )
    await until(lambda: hears("promoted"))
    assert not hears("half")
    with timeline.open("a") as lines:
        lines.write(json.dumps(entry | {"what": "half"})[-6:] + "\n")
    await until(lambda: hears("half"))
    follower.cancel()
    said = "".join(heard)
    assert "before" not in said
    assert "(judged)" in said
    assert "0123456789" in said


def test_percent():
    assert format_percent(0.9642) == "96.4 %"
    assert format_percent(math.nan) == "-"


def test_takes_over_only_what_a_demo_left(tmp_path):
    empty_folder(StateFolder.open_folder(tmp_path / "new"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(LocalError, match="not a demo's folder"):
        empty_folder(StateFolder.open_folder(home))
    assert (home / "thesis.tex").exists()

    state = StateFolder.open_folder(tmp_path / "state")
    state.create_folders()
    with pytest.raises(LocalError, match="not a demo's folder"):
        empty_folder(state)
    (state.root / "demo").mkdir()
    (state.envs / "kept").mkdir()
    state.timeline.write_text("{}\n")
    with state.hold_lock(), pytest.raises(LocalError, match="in use"):
        empty_folder(state)
    empty_folder(state)
    assert (state.envs / "kept").exists()
    assert not state.timeline.exists()
    assert not state.nats.exists()
    state.create_folders()


def test_a_spec_that_is_not_there_is_a_usage_error(tmp_path: Path):
    result = CliRunner().invoke(command, ["--spec", str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    assert "does not exist" in result.output


def test_the_story_ends_with_its_chart_the_report_and_what_to_do_next(capsys, tmp_path):
    screen = DemoScreen()
    answers = [(time.monotonic() - 60 + n, n < 30 or n > 50) for n in range(60)]
    line = measure_line(answers)
    assert len(line.points) >= 15
    report = replace(samples.report(), lines=(line,), commits=(), splits=())
    chart = draw_chart(report, line, seconds=70.0, width=80)
    screen.print_story(chart, tmp_path / "report.html", "digits", keep=True)
    out = capsys.readouterr().out
    assert "\x1b" not in out, "plain in a pipe"
    assert "100 % │" in out
    assert f"open {tmp_path}/report.html" in out
    assert f"driftloop status --state {tmp_path}, driftloop why digits" in out
    assert draw_chart(report, measure_line([]), seconds=1.0, width=80) == ()
