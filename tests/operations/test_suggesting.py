"""Proposals of a backtest: within the budget before all, then what sees the changes soonest."""

from collections.abc import Callable
from dataclasses import replace

import yaml

from driftloop.cli.suggestions import describe_suggestion, format_suggestions
from driftloop.contract.handovers import AlarmCount
from driftloop.contract.replays import InjectedChange, ReplayRecord, ReplayReport
from driftloop.contract.verdicts import WindowRecord
from driftloop.operations.backtests.replays import BacktestResult, MonitorReplay
from driftloop.operations.backtests.suggesting import (
    COUNTS,
    WINDOWS,
    change_pipeline,
    list_trials,
    suggest_settings,
)
from driftloop.plan import make_plan
from driftloop.spec import Pipeline, parse_spec
from tests.pipelines import SPEC

ROWS = 2000
CHANGES = (
    InjectedChange(kind="lost", column="a"),
    InjectedChange(kind="shift", column="a", size=1.0),
)
PIPELINE = parse_spec(
    SPEC.replace(
        "drift: {detector: ks, window: 50}",
        "drift: {window: 500, alarmRate: 0.1}\n"
        "    rows: {detector: iforest, window: {rows: 300, atMost: 1h}}",
    ),
    path="pipeline.yaml",
).pipeline

NAMES = ("drift", "rows")

Says = Callable[[int, int], bool]
"""Whether a window alarms, by its rows and its last one."""


def record(window: int, says: Says) -> ReplayRecord:
    lasts = range(window, ROWS + 1, window)
    windows = tuple(
        WindowRecord(
            detector="replay",
            release="replay",
            window=number,
            size=window,
            first=last - window + 1,
            last=last,
            alarm=says(window, last),
            score=1.0,
            threshold=1.0,
            details={},
            requests=(),
        )
        for number, last in enumerate(lasts, 1)
    )
    closed = tuple(map(float, lasts))
    return ReplayRecord(windows=windows, closed=closed, rows=ROWS, waiting=0, rejected=())


def play(pipeline: Pipeline, clean: Says, seen: Says) -> BacktestResult:
    """A replay of 2000 rows, one a second, whose changes begin in the middle: the second one is never seen."""
    plan = make_plan(pipeline)
    replays = []
    for monitor in plan.request_monitors:
        window = monitor.detector.window_rows
        report = ReplayReport(
            plain=record(window, clean),
            changed=(
                record(window, lambda w, last: clean(w, last) or (last > 1000 and seen(w, last))),
                record(window, clean),
            ),
            starts=(1001, 1001),
            times=((1, 1.0), (1001, 1001.0), (ROWS, float(ROWS))),
        )
        replays.append(MonitorReplay(monitor, ("a",), report))
    return BacktestResult(plan.retrain_policy, tuple(replays), CHANGES)


def test_what_is_tried_is_a_spec_that_can_be_planned() -> None:
    for rows in WINDOWS:
        for count in COUNTS:
            plan = make_plan(change_pipeline(PIPELINE, NAMES, rows, count, "40/s"))
            drift, outlier = plan.request_monitors
            assert (drift.detector.window_rows, drift.rate.budget is not None) == (rows, True)
            assert plan.retrain_policy.count_of("drift") == count
            assert (outlier.detector.window_rows, outlier.settings.at_most) == (rows, 3600.0)
            assert outlier.detector.alarms is None, "its alarms are told one by one"
            assert drift.settings.budget is not None
            assert drift.settings.budget.traffic == 40.0


def test_counted_alarms_and_delays_are_those_of_the_monitor_alone() -> None:
    result = play(
        change_pipeline(PIPELINE, NAMES, 100, AlarmCount(2, 3), "1/s"),
        lambda _, last: last in (200, 400, 700),
        lambda _, last: last >= 1200,
    )
    drift, outlier = list_trials(result)
    assert (drift.alarms, drift.delays) == (1, (299.0, None))
    # not counted, each of its alarms is told
    assert (outlier.alarms, outlier.delays) == (3, (199.0, None))


def test_the_change_of_the_rows_is_one_to_see() -> None:
    result = play(PIPELINE, lambda _, last: last > 1400, lambda *_: False)
    drift, _ = list_trials(replace(result, changed_at=1001))
    assert drift.changes == ("the rows' own change", *(change.text for change in CHANGES))
    assert (drift.alarms, drift.delays) == (0, (999.0, None, None))


def test_the_soonest_within_the_budget_is_proposed_as_yaml() -> None:
    def clean(window: int, last: int) -> bool:
        return window == 100

    def try_pipeline(pipeline: Pipeline) -> BacktestResult | None:
        return play(pipeline, clean, lambda *_: True)

    own = play(PIPELINE, clean, lambda *_: True)
    drift, outlier = suggest_settings(PIPELINE, own, try_pipeline)
    assert drift.tried == 4
    assert (drift.best.monitor.detector.window_rows, drift.best.count) == (200, AlarmCount(1, 1))
    lines = list(format_suggestions((drift, outlier)))
    spec = yaml.safe_load("\n".join(lines))["spec"]
    assert spec["traffic"] == "1/s"
    assert spec["monitors"]["drift"] == {"window": 200, "alarms": {"least": 1, "of": 1}}
    assert "rows" not in spec["monitors"], "as soon, with fewer windows"
    assert any(
        "# drift now, window 500, 2 alarms in a row: 0 false alarms" in line for line in lines
    )
    assert any(
        "sees 1 of 2 changes, the last after 3.32 min; not a shifted" in line for line in lines
    )
    told = describe_suggestion(drift)
    assert (told["now"]["window"], told["proposed"]["window"]) == (500, 200)
    assert told["proposed"]["delays"] == [199.0, None]


def test_what_the_spec_says_of_a_monitor_stays() -> None:
    spec = 'drift: {window: 500, columns: "a,b", atLeast: {number: 0.1}}'
    pipeline = parse_spec(
        SPEC.replace("drift: {detector: ks, window: 50}", spec), path="pipeline.yaml"
    ).pipeline
    own = play(pipeline, lambda *_: False, lambda *_: True)
    suggestions = suggest_settings(
        pipeline, own, lambda other: play(other, lambda *_: False, lambda *_: True)
    )
    monitors = yaml.safe_load("\n".join(format_suggestions(suggestions)))["spec"]["monitors"]
    assert monitors["drift"] == {
        "columns": "a,b", "atLeast": {"number": 0.1}, "window": 100, "alarms": {"least": 1, "of": 1},
    }  # fmt: skip


def test_what_is_as_good_already_stays() -> None:
    def try_pipeline(pipeline: Pipeline) -> BacktestResult | None:
        return play(pipeline, lambda *_: False, lambda *_: False)

    own = play(PIPELINE, lambda *_: False, lambda *_: True)
    drift, _ = suggest_settings(PIPELINE, own, try_pipeline)
    assert drift.best is drift.own
    assert "    # drift stays as it is: nothing that was tried is better" in format_suggestions(
        (drift,)
    )


def test_rows_that_no_window_suits_are_said_to_be_so() -> None:
    def clean(window: int, last: int) -> bool:
        return last % 200 == 0

    def try_pipeline(pipeline: Pipeline) -> BacktestResult | None:
        return play(pipeline, clean, lambda *_: True)

    own = play(PIPELINE, lambda *_: True, lambda *_: True)
    drift, _ = suggest_settings(PIPELINE, own, try_pipeline)
    assert not drift.best.keeps(drift.wanted)
    text = "\n".join(format_suggestions((drift,)))
    assert "it has the fewest, and still more than its 0.5 a month" in text


def test_nothing_is_proposed_where_nothing_could_be_tried() -> None:
    own = play(PIPELINE, lambda *_: False, lambda *_: True)
    suggestions = suggest_settings(PIPELINE, own, lambda _: None)
    assert list(format_suggestions(suggestions)) == [
        "no other window could be tried: the rows must fill ten of them, and the training data must do for its fit"
    ]
