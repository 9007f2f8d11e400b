"""Charts are well formed whatever is in them, show what they were given, and stay small."""

from xml.etree import ElementTree as Xml

import pytest
from markupsafe import Markup

from driftloop.pages.column_charts import draw_distribution, draw_effects
from driftloop.pages.figures import ColumnEffect, MonitorLine, TimeSpan
from driftloop.pages.levels import find_height, measure_level
from driftloop.pages.rollout_charts import draw_gates, draw_stages
from driftloop.pages.time_charts import draw_drift, draw_split, merge_windows
from tests.pages import samples
from tests.pages.samples import HOSTILE, SPAN, at


def read(chart: Markup) -> Xml.Element:
    """Parse a chart: what is not escaped would not be well formed."""
    return Xml.fromstring(chart)


def hostile_charts() -> dict[str, Markup]:
    report = samples.report(HOSTILE)
    monitor = report.monitors[0]
    line = MonitorLine(HOSTILE, HOSTILE, samples.windows(text=HOSTILE))
    return {
        "split": draw_split(report.splits, SPAN, commits=report.commits, lines=report.lines),
        "drift": draw_drift(line, SPAN, commits=report.commits),
        "effects": draw_effects(monitor.effects, SPAN),
        "categories": draw_distribution(samples.distribution(HOSTILE), before=HOSTILE),
        "numbers": draw_distribution(samples.distribution(f"x[{HOSTILE}")),
        "stages": draw_stages(samples.stages(HOSTILE)),
        "gates": draw_gates(samples.gates(HOSTILE)),
    }


@pytest.mark.parametrize("name", hostile_charts())
def test_nothing_of_a_name_becomes_markup(name: str) -> None:
    chart = hostile_charts()[name]
    tags = {element.tag for element in read(chart).iter()}
    assert not tags & {"script", "img", "style"}, tags
    assert chart == hostile_charts()[name], "the same each time"
    assert chart.isprintable() or "\n" in chart
    chart.encode()


def test_a_split_shows_each_weight_from_its_commit_to_the_next() -> None:
    root = read(draw_split(samples.splits(), SPAN, commits=samples.commits()))
    bars = [each for each in root.iter("rect") if each.get("class") in ("r0", "r1")]
    plots = [each for each in bars if each.get("x")]
    places = {(each.get("class"), each.get("x"), each.get("width")) for each in plots}
    assert ("r0", "8.33%", "41.67%") in places, "the first release alone, up to the shadow"
    assert ("r1", "60%", "10%") in places, "10 % for six minutes of sixty"
    assert ("r1", "80%", "20%") in places, "from the promotion to the end"
    ticks = root.iter("circle")
    assert [each.get("class") for each in ticks] == [
        f"tick {commit.kind}" for commit in samples.commits()
    ]
    titles = " ".join(each.text or "" for each in root.iter("title"))
    assert "cccccccccc Send 10 %" in titles


def test_windows_beyond_the_threshold_are_above_its_line() -> None:
    assert find_height(1.0) < find_height(1.01) < find_height(99) < find_height(1e6) == 1.0
    assert measure_level(1e-300, 0.01, alarm=True, p_value=True) == pytest.approx(150)
    assert measure_level(0.5, 0.01, alarm=False, p_value=True) < 1
    assert measure_level(float("nan"), 2.0, alarm=True, p_value=False) > 1
    root = read(draw_drift(MonitorLine("drift", "tabular", samples.windows()), SPAN))
    (line,) = (each for each in root.iter("line") if each.get("class") == "threshold")
    bars = [each for each in root.iter("rect") if each.get("class") in ("alarm", "quiet")]
    for bar in bars:
        if bar.get("x") is not None:
            above = float(bar.get("y", "")) < float(line.get("y1", ""))
            assert above == (bar.get("class") == "alarm")


def test_many_windows_become_as_many_bars_as_there_is_room_and_no_alarm_is_lost() -> None:
    windows = samples.windows(10_000)
    merged = list(merge_windows(windows, 160))
    assert len(merged) <= 160
    assert merged[0].began == windows[0].began
    assert merged[-1].at == windows[-1].at
    assert sum(each.alarm for each in merged) >= 60
    quiet = [
        *windows[:100],
        samples.windows(10_000)[6000],
        *windows[101:200],
    ]
    assert any(each.alarm for each in merge_windows(quiet, 10))
    chart = draw_drift(MonitorLine("drift", "tabular", windows), SPAN)
    assert "10000 windows, 3999 alarms" in chart
    assert len(chart) < 60_000


def test_effects_are_ranked_and_small_ones_are_not_drawn() -> None:
    points = samples.windows()
    effects = [
        ColumnEffect(f"c{number:02}", points[30], number / 30, number > 3, "moved")
        for number in range(30)
    ]
    root = read(draw_effects(effects, SPAN))
    names = [each.get("title") for each in root.iter("b")]
    assert names == [f"c{number:02}" for number in range(29, 13, -1)]
    assert "30 columns moved, the 16 that moved furthest are shown" in "".join(root.itertext())
    (small,) = (
        row
        for row in read(draw_effects(effects[:1], SPAN)).iter("div")
        if row.get("class") == "heat-row" and row.find("span/b") is not None
    )
    assert not [each for each in small.iter("rect") if (each.get("class") or "").startswith("h")]
    assert "no column moved" in draw_effects([], SPAN)


def test_a_distribution_names_its_parts_and_the_share_without_a_value() -> None:
    text = "".join(read(draw_distribution(samples.distribution("x[3]"))).itertext())
    assert "missing" in text
    assert "0 % → 12 %" in text
    text = "".join(read(draw_distribution(samples.distribution("airport"))).itertext())
    assert "not in the training data" in text
    assert "missing" not in text


def test_a_chart_of_nothing_says_so() -> None:
    empty = TimeSpan(at(0), at(0))
    assert "no window in this time" in draw_drift(MonitorLine("drift", "ks", ()), empty)
    read(draw_split((), empty))
    read(draw_stages(()))
    read(draw_gates(()))
