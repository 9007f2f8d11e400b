"""False alarms in a person's unit, and what a window may do of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.budgets import (
    LARGEST_RATE,
    BudgetUse,
    count_windows,
    expect_alarms,
    find_rate,
    read_alarms,
    read_traffic,
    write_traffic,
)


@pytest.mark.parametrize(
    ("text", "month"),
    [
        ("1/month", 1),
        ("1/day", 30),
        ("3/week", 90 / 7),
        ("2/year", 60 / 365),
        ("12/year", 360 / 365),
    ],
)
def test_false_alarms_are_read_by_the_month(text: str, month: float) -> None:
    assert read_alarms(text) == pytest.approx(month)


@pytest.mark.parametrize("text", ["", "0/month", "1", "1/hour", "-1/day", "0.5/month", "1 / month"])
def test_other_false_alarms_are_none(text: str) -> None:
    assert read_alarms(text) is None


@given(st.floats(1e-9, 1e6))
def test_traffic_is_written_as_a_spec_reads_it(rate: float) -> None:
    found = read_traffic(write_traffic(rate))
    assert found is not None
    assert found == pytest.approx(rate, rel=0.06, abs=2e-11)


@given(
    month=st.floats(1e-3, 100),
    windows=st.floats(1, 1e7),
    of=st.integers(1, 8),
    data=st.data(),
)
def test_a_rate_keeps_the_budget_and_wastes_none(
    month: float, windows: float, of: int, data: st.DataObject
) -> None:
    least = data.draw(st.integers(1, of))
    rate = find_rate(month, windows, least, of)
    assert 0 < rate <= LARGEST_RATE
    expected = expect_alarms(rate, windows, least, of)
    assert expected <= month * (1 + 1e-9)
    if rate < LARGEST_RATE:
        assert expected >= month * 0.99**least * 0.95


@pytest.mark.parametrize(("least", "of"), [(1, 1), (2, 2), (2, 3), (3, 5)])
def test_so_many_alarms_count_in_windows_that_alarm_at_random(least: int, of: int) -> None:
    rate, windows = 0.05, 200_000
    alarms = np.random.default_rng(0).random(windows) < rate
    sums = np.convolve(alarms, np.ones(of, dtype=int))[: len(alarms)]
    counted = int((alarms & (sums >= least)).sum())
    expected = expect_alarms(rate, windows, least, of)
    assert abs(counted - expected) < 5 * math.sqrt(expected) * of


@pytest.mark.parametrize(
    ("traffic", "at_most", "least", "windows"),
    [
        (1.0, None, 200, 12960),
        (40.0, None, 200, 518400),
        (40.0, 3600.0, 40, 518400),
        (0.01, 3600.0, 40, 648),
        (0.05, 3600.0, 40, 720),
    ],
)
def test_windows_of_a_month_close_by_rows_and_by_time(
    traffic: float, at_most: float | None, least: int, windows: float
) -> None:
    assert count_windows(traffic, 200, at_most, least) == pytest.approx(windows)


def test_what_the_traffic_does_to_a_budget_is_said() -> None:
    use = BudgetUse(month=0.5, traffic=1.0, assumed=True)
    assert use.describe() == (
        "0.5 false alarms a month at 1/s (assumed, the spec has no `traffic`)"
    )
    busy = BudgetUse(month=1, traffic=1.0, assumed=True, measured=40.2, expected=40.0)
    assert busy.describe() == (
        "1 false alarm a month at 1/s (assumed, the spec has no `traffic`); 40/s measured, at which it is 40: "
        "set `traffic: 40/s`"
    )
    slow = BudgetUse(month=1, traffic=1.0, assumed=False, measured=0.01, expected=1e-4)
    assert slow.describe().endswith(
        "36/h measured, at which it is 0.0001: with `traffic: 36/h` smaller changes would be seen"
    )
    fits = BudgetUse(month=1, traffic=1.0, assumed=False, measured=1.2, expected=1.2)
    assert fits.describe().endswith("1/s (`traffic`); 1.2/s measured, at which it is 1.2")
