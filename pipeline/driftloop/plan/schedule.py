"""When a schedule is due: how long it is silent at most."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise

from driftloop.spec import cron
from driftloop.spec.cron import Times

_FIRST, _DAYS = date(2024, 1, 1), 5 * 366
"""Days that hold every meeting of a date with a weekday but those of 29 February, one leap year among them."""


def longest_gap(schedule: str) -> timedelta | None:
    """The longest time between two moments of a cron expression (UTC); None when there are hardly any."""
    times = cron.parsed(schedule)
    at = sorted(timedelta(hours=hour, minutes=minute) for hour in times.hours for minute in times.minutes)
    due = list(_due(times))
    if len(due) < 2:
        return None
    within = max((later - earlier for earlier, later in pairwise(at)), default=timedelta())
    nights = (later - earlier for earlier, later in pairwise(due))
    return max(within, max(nights) - at[-1] + at[0])


def _due(times: Times) -> Iterator[date]:
    for number in range(_DAYS):
        day = _FIRST + timedelta(days=number)
        found = day.day in times.days, day.isoweekday() % 7 in times.weekdays
        # cron's own rule: where both are given, one of them is enough
        if day.month in times.months and (any(found) if times.either else all(found)):
            yield day
