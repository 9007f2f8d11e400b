"""When a schedule is due: how long it is silent at most."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIRST, _DAYS = date(2024, 1, 1), 5 * 366
"""Days that hold every meeting of a date with a weekday but those of 29 February, one leap year among them."""


def longest_gap(cron: str) -> timedelta | None:
    """The longest time between two moments of a cron expression (UTC); None when there are hardly any."""
    minutes, hours, days, months, weekdays = _NICKNAMES.get(cron, cron).split()
    at = sorted(
        timedelta(hours=hour, minutes=minute) for hour in _numbers(hours, 0, 23) for minute in _numbers(minutes, 0, 59)
    )
    due = list(_due(days, months, weekdays))
    if len(due) < 2 or not at:
        return None
    within = max((later - earlier for earlier, later in pairwise(at)), default=timedelta())
    nights = (later - earlier for earlier, later in pairwise(due))
    return max(within, max(nights) - at[-1] + at[0])


def _due(days: str, months: str, weekdays: str) -> Iterator[date]:
    on, in_, of = _numbers(days, 1, 31), _numbers(months, 1, 12, _MONTHS, 1), _numbers(weekdays, 0, 7, _WEEKDAYS)
    either = not days.startswith("*") and not weekdays.startswith("*")
    for number in range(_DAYS):
        day = _FIRST + timedelta(days=number)
        found = day.day in on, bool({day.isoweekday() % 7, day.isoweekday()} & of)
        # cron's own rule: where both are given, one of them is enough
        if day.month in in_ and (any(found) if either else all(found)):
            yield day


def _numbers(field: str, low: int, high: int, names: tuple[str, ...] = (), first: int = 0) -> set[int]:
    """What a field stands for: `*`, `5`, `1-5`, `*/15`, `10/20`, `mon-fri`, and lists of them."""
    found: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        start, _, end = span.partition("-")
        if start == "*":
            begin, until = low, high
        else:
            begin = _number(start, names, first)
            until = _number(end, names, first) if end else high if step else begin
        found |= set(range(begin, until + 1, int(step or 1) or 1))
    return found


def _number(text: str, names: tuple[str, ...], first: int) -> int:
    return names.index(text) + first if text in names else int(text)
