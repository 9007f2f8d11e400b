"""How many rows a second come, kept in verdicts, and what that does to the budget of false alarms."""

from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from driftloop.contract.budgets import AlarmBudget, find_rate
from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.times import SECOND
from driftloop.contract.windows import OpenWindow
from driftloop.services.detector.stream.pace import LONG, PACE, TrafficPace
from driftloop.services.detector.stream.telemetry import OpenWindowMetrics

BEGIN = 1_800_000_000 * SECOND
SETTINGS = DetectorSettings(
    "tabular",
    alarm_rate=find_rate(1.0, 12_960, 2, 2),
    budget=AlarmBudget(1.0, 1.0, assumed=True, least=2, of=2),
)


def follow(
    rate: float, windows: int, begin: int = BEGIN, pace: TrafficPace | None = None
) -> TrafficPace:
    """Windows of 200 rows at a rate, each read back as after a restart."""
    pace = TrafficPace() if pace is None else pace
    for number in range(windows):
        since = begin + round(number * 200 / rate * SECOND)
        until = begin + round((number + 1) * 200 / rate * SECOND)
        pace = TrafficPace.read({PACE: pace.add_window(200, since, until).to_json()})
    return pace


@pytest.mark.parametrize("rate", [0.01, 1.0, 40.0])
def test_the_rate_is_that_of_the_rows_with_the_gaps_between_them(rate: float) -> None:
    assert follow(rate, 1000).rate == pytest.approx(rate)


def test_a_gap_counts() -> None:
    before = follow(1.0, 1000)
    begin = before.until + 199_800 * SECOND
    after = before.add_window(200, begin, begin + 200 * SECOND)
    assert after.rate == pytest.approx(0.5, rel=0.01)


def test_nothing_is_said_of_less_than_an_hour() -> None:
    assert follow(1.0, 17).rate is None
    assert follow(1.0, 18).rate == pytest.approx(1.0)


def test_traffic_that_changes_is_followed_within_weeks() -> None:
    before = follow(1.0, 9000)
    after = follow(10.0, 60_000, before.until, before)
    assert before.seconds > LONG / 2
    assert after.rate == pytest.approx(10.0, rel=0.15)


def test_verdicts_of_an_earlier_version_have_none() -> None:
    assert TrafficPace.read({}) == TrafficPace.read({PACE: "x"}) == TrafficPace()
    # and events without times say nothing
    assert TrafficPace().add_window(200, 0, 0) == TrafficPace()


def test_status_says_what_the_traffic_makes_of_the_budget() -> None:
    registry = CollectorRegistry()
    metrics = OpenWindowMetrics(registry, SETTINGS, "r1", lambda _: None)
    metrics.order = "thresholds allow for the order of 1 column, up to 12 times the variance"
    before = metrics.build_record()
    assert before.budget is not None
    assert (before.budget.measured, before.budget.expected) == (None, None)
    metrics.show_pace(40.0)
    record = OpenWindow.read(to_json(metrics.build_record()))
    assert record.budget is not None
    assert record.budget.expected == pytest.approx(40, rel=0.01)
    assert record.describe(datetime.now(UTC)) == (
        "window 1 of r1 is open, 0 of 200 rows; 1 false alarm a month at 1/s (assumed, the spec has no `traffic`); "
        "40/s measured, at which it is 40: set `traffic: 40/s`; thresholds allow for the order of 1 column, up to "
        "12 times the variance"
    )
    assert registry.get_sample_value("driftloop_detector_traffic_rows_per_second") == 40
    expected = registry.get_sample_value("driftloop_detector_expected_false_alarms")
    assert expected == pytest.approx(40, rel=0.01)
