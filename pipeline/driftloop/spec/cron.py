"""Cron expressions as Argo reads them: five fields, or a nickname."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Of each month at most."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]+))?")
_WANTED = 'must be five cron fields, such as "0 3 * * 1" (minute hour day month weekday)'


@dataclass(frozen=True)
class Times:
    """The moments of an expression: what each field stands for."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either: bool
    """Both days and weekdays are given: one of them is enough."""


def parsed(text: str) -> Times:
    """ValueError says what an expression must be; one that names no day there is, is none."""
    fields = NICKNAMES.get(text, text).lower().split()
    if len(fields) != 5:
        raise ValueError(_WANTED)
    minutes, hours, days, months, weekdays = fields
    times = Times(
        _numbers(minutes, 0, 59),
        _numbers(hours, 0, 23),
        _numbers(days, 1, 31),
        _numbers(months, 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
        _numbers(weekdays, 0, 6, {name: number for number, name in enumerate(_WEEKDAYS)}),
        either=not _star(days) and not _star(weekdays),
    )
    if not times.either and min(times.days) > max(_DAYS[month - 1] for month in times.months):
        raise ValueError(
            f"must name days that there are: none of its months has a day {min(times.days)}"
        )
    return times


def _star(field: str) -> bool:
    """Return True if a field is any; `*/2` is not."""
    return any(part in {"*", "*/1"} for part in field.split(","))


def _numbers(
    field: str, low: int, high: int, names: Mapping[str, int] | None = None
) -> frozenset[int]:
    """Return the numbers of a field: `*`, `5`, `1-5`, `*/15`, `10/20`, `mon-fri`, and lists of
    them."""
    numbers: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None or (match[1] == "*" and match[2]):
            raise ValueError(_WANTED)
        step = int(match[3] or 1)
        if match[1] == "*":
            begin, until = low, high
        else:
            begin = _number(match[1], low, high, names or {})
            until = (
                _number(match[2], low, high, names or {})
                if match[2]
                else high
                if match[3]
                else begin
            )
        if begin > until:
            raise ValueError(
                f"must be five cron fields in their ranges; {part} ends before it begins"
            )
        if not step:
            raise ValueError(f"must be five cron fields in their ranges; the step of {part} is 0")
        numbers |= set(range(begin, until + 1, step))
    return frozenset(numbers)


def _number(text: str, low: int, high: int, names: Mapping[str, int]) -> int:
    if text in names:
        return names[text]
    if not text.isdigit():
        choices = f" or one of {', '.join(names)}" if names else ""
        raise ValueError(f"{_WANTED}; {text} is not a number{choices}")
    if not low <= int(text) <= high:
        raise ValueError(
            f"must be five cron fields in their ranges; {text} is not between {low} and {high}"
        )
    return int(text)
