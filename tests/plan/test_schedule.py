"""The longest silence of a schedule, against a library that knows cron."""

from datetime import datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from driftloop.plan.schedule import longest_gap


@pytest.mark.parametrize(
    ("cron", "gap"),
    [
        ("* * * * *", timedelta(minutes=1)),
        ("*/15 * * * *", timedelta(minutes=15)),
        ("0 3 * * *", timedelta(days=1)),
        ("0 3,9 * * *", timedelta(hours=18)),
        ("0 3 * * 1", timedelta(days=7)),
        ("0 3 * * mon-fri", timedelta(days=3)),
        ("0 3 1 * *", timedelta(days=31)),
        ("0 3 1 JAN *", timedelta(days=366)),
        ("0 3 1 * 1", timedelta(days=7)),
        ("@hourly", timedelta(hours=1)),
        ("@weekly", timedelta(days=7)),
        ("0 0 */2 * mon", timedelta(days=2)),
        ("0 0 */1 * mon", timedelta(days=7)),
        ("0 0 29 2 *", timedelta(days=1461)),
        ("50-59/5 0-3/3 * * *", timedelta(hours=20, minutes=55)),
    ],
)
def test_gaps(cron: str, gap: timedelta | None) -> None:
    assert longest_gap(cron) == gap


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> str:
    kind = draw(st.sampled_from(["all", "step", "one", "range", "list"]))
    # croniter takes 3-3 for a whole turn
    first = draw(st.integers(low, high - 1))
    second = draw(st.integers(first + 1, high))
    return {
        "all": "*",
        "step": f"*/{draw(st.integers(2, 9))}",
        "one": str(first),
        "range": f"{first}-{second}",
        "list": f"{first},{second}",
    }[kind]


@settings(max_examples=20, deadline=None, phases=[Phase.generate])
@given(fields(0, 59), fields(0, 23), fields(0, 6))
def test_no_gap_is_longer_and_one_is_as_long(minutes: str, hours: str, weekdays: str) -> None:
    cron = f"{minutes} {hours} * * {weekdays}"
    times = croniter(cron, datetime(2025, 1, 1))
    found, last = timedelta(), times.get_next(datetime)
    while last < datetime(2025, 1, 22):
        following = times.get_next(datetime)
        found, last = max(found, following - last), following
    assert longest_gap(cron) == found
