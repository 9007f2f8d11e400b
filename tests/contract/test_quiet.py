"""Quiet hours: what a person writes, and what a clock on the wall of the time zone shows."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from driftloop.contract.quiet import DAY, DAYS, QuietHours, QuietHoursError, QuietSpan, find_zone

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")


@st.composite
def spans(draw: st.DrawFn) -> str:
    day = st.sampled_from(DAYS)
    days = draw(st.one_of(st.just(""), day, st.tuples(day, day).map("-".join)))
    begin, end = draw(st.lists(st.integers(0, DAY - 1), min_size=2, max_size=2, unique=True))
    times = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    return draw(st.sampled_from([f"{days} {times}", days])) if days else times


def shows(span: QuietSpan, local: datetime) -> bool:
    """The clock shows a time of the span, which began today or yesterday; minute by minute."""
    for days_ago in (0, 1):
        midnight = local.replace(hour=0, minute=0) - timedelta(days=days_ago)
        length = span.end - span.begin if span.end > span.begin else span.end - span.begin + DAY
        into = (local - midnight) / timedelta(minutes=1) - span.begin
        if midnight.weekday() in span.days and 0 <= into < length:
            return True
    return False


moments = st.integers(0, 2**31).map(lambda minute: float(minute // 60 * 60))


@settings(deadline=None)
@given(spans(), st.sampled_from(ZONES), moments)
@example("22:00-06:00", "Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp())
def test_it_is_quiet_while_the_clock_shows_so(text: str, zone: str, now: float) -> None:
    local = datetime.fromtimestamp(now, ZoneInfo(zone)).replace(tzinfo=None)
    assert QuietHours((text,), zone).is_quiet(now) == shows(QuietSpan.parse(text), local)


@settings(deadline=None)
@given(st.lists(spans(), min_size=1, max_size=3), st.sampled_from(ZONES), moments)
@example(["sat-sun", "fri 18:00-24:00", "mon 00:00-08:00"], "Europe/Berlin", 1_774_600_000.0)
@example(["02:15-02:45"], "Europe/Berlin", datetime(2026, 10, 25, 0, 20, tzinfo=UTC).timestamp())
def test_they_end_at_the_first_moment_that_is_not_quiet(
    texts: list[str], zone: str, now: float
) -> None:
    hours = QuietHours(tuple(texts), zone)
    end = hours.find_end(now)
    if not hours.is_quiet(now) or not hours.has_end():
        assert end is None
        return
    assert end is not None
    assert not hours.is_quiet(end)
    before = {now + (end - now) * part / 50 for part in range(50)}
    assert all(map(hours.is_quiet, {*before, end - 1}))


def test_a_night_before_a_holiday_ends_in_the_morning() -> None:
    night = QuietHours(("fri-sat 22:00-06:00",), "Europe/Berlin")
    at = datetime(
        2026, 3, 29, 1, 30, tzinfo=ZoneInfo("Europe/Berlin")
    )  # half an hour before clocks are set
    end = night.find_end(at.timestamp())
    assert end == datetime(2026, 3, 29, 6, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert end - at.timestamp() == 3.5 * 3600


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("night", "such as 22:00-06:00, mon-fri 08:00-18:00, sat-sun"),
        ("mo-fr 22:00-06:00", "must be days, times or both"),
        ("mon-fre 22:00-06:00", "`fre` must be one of: mon, tue, wed, thu, fri, sat, sun"),
        ("25:00-06:00", "must be times from 00:00 to 24:00"),
        ("24:00-06:00", "must be times from 00:00 to 24:00"),
        ("22:00-22:60", "must be times from 00:00 to 24:00"),
        ("22:00-22:00", "must end at another time than it begins"),
    ],
)
def test_what_is_no_time_of_the_week_is_refused(text: str, says: str) -> None:
    with pytest.raises(QuietHoursError, match=says):
        QuietSpan.parse(text)


@pytest.mark.parametrize("name", ["Berlin", "Europe", "../../etc/passwd", "", "Europe/berlin x"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(QuietHoursError, match="such as Europe/Berlin or UTC"):
        find_zone(name)
