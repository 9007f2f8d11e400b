"""The picture of a backtest: every window, alarm and run is in it, and nothing of the rows can break it."""

from xml.etree import ElementTree as Xml

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.replays import InjectedChange, ReplayRecord, ReplayReport
from driftloop.contract.verdicts import ColumnChange, WindowRecord
from driftloop.operations.backtests.charts import ALARM, QUIET, RUN, draw_result
from driftloop.operations.backtests.replays import BacktestResult, MonitorReplay
from driftloop.plan import Monitor
from driftloop.plan.budget import WindowRate
from driftloop.spec.detector import KolmogorovSmirnov, Tabular

SVG = "{http://www.w3.org/2000/svg}"
POLICY = RetrainPolicy(consecutive=2, on=("drift",))


def record(scores: list[float], threshold: float, *, below: bool = False) -> ReplayRecord:
    change = ColumnChange(
        column="<b>&\x00",
        type="number",
        kind="missing",
        before=0.0,
        after=1.0,
        effect=1.0,
        score=9.0,
        alarm=True,
    )
    windows = tuple(
        WindowRecord(
            detector="replay",
            release="replay",
            window=number,
            size=100,
            first=100 * number - 99,
            last=100 * number,
            alarm=score < threshold if below else score > threshold,
            score=score,
            threshold=threshold,
            details={"columns": [to_json(change)]},
            requests=(),
        )
        for number, score in enumerate(scores, 1)
    )
    closed = tuple(100.0 * window.window for window in windows)
    return ReplayRecord(windows=windows, closed=closed, rows=500, waiting=0, rejected=())


def result() -> BacktestResult:
    plain, changed = record([0, 0.5, 1, 1, 0], 2.0), record([0, 0.5, 1, 90, 5000], 2.0)
    p_values = record([0.5, 0.001, 0.0, float("nan"), 1.0], 0.01, below=True)
    change = InjectedChange(kind="lost", column="a")
    return BacktestResult(
        POLICY,
        (
            MonitorReplay(
                Monitor("drift", Tabular(), "retrain", WindowRate(0.01)),
                ("a",),
                report(plain, changed),
            ),
            MonitorReplay(
                Monitor("ks", KolmogorovSmirnov(), None, WindowRate(0.01)),
                ("a",),
                report(p_values, p_values),
            ),
        ),
        (change,),
    )


def report(plain: ReplayRecord, changed: ReplayRecord) -> ReplayReport:
    return ReplayReport(
        plain=plain, changed=(changed,), starts=(301,), times=((1, 1.0), (301, 301.0), (500, 500.0))
    )


def test_all_windows_alarms_and_runs_are_drawn() -> None:
    text = draw_result(result())
    assert text == draw_result(result()), "the same each time"
    root = Xml.fromstring(text)
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.find(f"{SVG}title") is not None]
    assert len(bars) == 4 * 5
    colors = [bar.get("fill") for bar in bars]
    assert colors.count(ALARM) == 0 + 2 + 2 + 2
    assert colors.count(QUIET) == 20 - 6
    assert sum(mark.get("fill") == RUN for mark in root.iter(f"{SVG}polygon")) == 1
    titles = [bar.findtext(f"{SVG}title") or "" for bar in bars]
    assert "window 4, rows 301-400: score 90, threshold 2: <b>&\\x00 missing 0 % -> 100 %" in titles
    words = " ".join(each.text or "" for each in root.iter(f"{SVG}text"))
    assert "a lost from row 301 on" in words
    assert "drift (tabular): 5 windows, 0 alarms" in words
    for bar in bars:
        assert 0 <= float(bar.get("height") or "nan") <= 90


def test_a_monitor_without_a_window_is_an_empty_panel() -> None:
    empty = record([], 2.0)
    replay = MonitorReplay(
        Monitor("drift", Tabular(), "retrain", WindowRate(0.01)), ("a",), report(empty, empty)
    )
    root = Xml.fromstring(draw_result(BacktestResult(POLICY, (replay,), ())))
    words = [each.text for each in root.iter(f"{SVG}text")]
    assert "drift (tabular): 0 windows, 0 alarms" in words
