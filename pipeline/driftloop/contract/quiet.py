"""Quiet hours: times of the week, by the clocks of a time zone, in which alarms start no run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from driftloop.contract.documents import document_key, from_json, is_text, is_texts
from driftloop.contract.suggestions import suggest_closest
from driftloop.errors import PipelineError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = 24 * 60
"""Minutes."""
SPAN = (
    r"^(?:[a-z]{3}(?:-[a-z]{3})?|(?:[a-z]{3}(?:-[a-z]{3})? )?[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2})$"
)
EXAMPLES = ("22:00-06:00", "mon-fri 08:00-18:00", "sat-sun")
_WANTED = f"must be days, times or both, such as {', '.join(EXAMPLES)}"
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")


class QuietHoursError(PipelineError):
    """Quiet hours that can't be read."""


@dataclass(frozen=True)
class QuietSpan:
    """A part of a day, on some days of each week; one that ends before it begins ends on the next day."""

    days: frozenset[int]
    """Days on which it begins; 0 is Monday."""
    begin: int = 0
    """Minutes since midnight."""
    end: int = DAY

    @classmethod
    def parse(cls, text: str) -> "QuietSpan":
        """Read `22:00-06:00`, `mon-fri 08:00-18:00` or `sat-sun`; QuietHoursError."""
        if not re.fullmatch(SPAN, text):
            raise QuietHoursError(_WANTED)
        first, _, second = text.partition(" ")
        if not first[0].isdigit() and not second:
            return cls(_read_days(first))
        return cls(
            _read_days(first) if second else frozenset(range(len(DAYS))),
            *_read_times(second or first),
        )

    def covers(self, day: int, minute: int) -> bool:
        """Return True for a minute of a day of the week."""
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        yesterday = (day - 1) % len(DAYS)
        return (day in self.days and minute >= self.begin) or (
            yesterday in self.days and minute < self.end
        )


@dataclass(frozen=True)
class QuietHours:
    """Times in which alarms start no run."""

    during: tuple[str, ...] = document_key(
        "during", "a list of times of the week", is_texts, read=tuple, write=list
    )
    """Spans, as `QuietSpan` reads them."""
    timezone: str = document_key("timezone", "a time zone", is_text, default="UTC")
    """Name of the time zone."""

    @classmethod
    def read(cls, document: Any) -> "QuietHours":
        """Read them from plain data; DocumentError."""
        return from_json(cls, document, label="the quiet hours")

    @property
    def text(self) -> str:
        """As a person writes them."""
        return f"{', '.join(self.during)} ({self.timezone})"

    @property
    def spans(self) -> tuple[QuietSpan, ...]:
        """What they are made of."""
        return tuple(map(QuietSpan.parse, self.during))

    def has_end(self) -> bool:
        """Return False when each minute of the week is quiet."""
        spans = self.spans
        return not all(
            any(span.covers(day, minute) for span in spans)
            for day in range(len(DAYS))
            for minute in range(DAY)
        )

    def is_quiet(self, now: float) -> bool:
        """Return True at a time (seconds since 1970) at which the clocks of the zone show one of them."""
        return self._covers(datetime.fromtimestamp(now, find_zone(self.timezone)))

    def find_end(self, now: float) -> float | None:
        """Return when they are over (seconds since 1970); None when it is not quiet now, or always."""
        if not self.is_quiet(now):
            return None
        ends = sorted({end for end in self._list_ends(now) if end > now})
        return next((end for end in ends if not self.is_quiet(end)), None)

    def _covers(self, moment: datetime) -> bool:
        minute = moment.hour * 60 + moment.minute
        return any(span.covers(moment.weekday(), minute) for span in self.spans)

    def _list_ends(self, now: float) -> Iterator[float]:
        """Yield the moments at which it may become quiet no longer: the ends of spans, and, for the days on
        which clocks are set, each full hour."""
        zone = find_zone(self.timezone)
        today = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
        spans = self.spans
        for day in range(len(DAYS) + 2):
            midnight = today + timedelta(days=day)
            for minutes in {span.end % DAY for span in spans}:
                for fold in (0, 1):
                    yield (midnight + timedelta(minutes=minutes)).replace(fold=fold).timestamp()
        hour = now - now % 3600
        yield from (hour + 3600 * number for number in range(1, 24 * (len(DAYS) + 2)))


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name, such as `Europe/Berlin`; QuietHoursError when there is none."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        known = available_timezones()
        if not known:
            raise QuietHoursError(
                "can't be looked up: this machine has no time zones, only UTC",
                hint="install the package `tzdata`",
            ) from error
        raise QuietHoursError(
            "must be the name of a time zone, such as Europe/Berlin or UTC",
            hint=suggest_closest(name, known, fold=True),
        ) from error


def _read_days(text: str) -> frozenset[int]:
    first, _, last = text.partition("-")
    for name in filter(None, (first, last)):
        if name not in DAYS:
            raise QuietHoursError(f"{_WANTED}; `{name}` must be one of: {', '.join(DAYS)}")
    begin, end = DAYS.index(first), DAYS.index(last or first)
    return frozenset((begin + step) % len(DAYS) for step in range((end - begin) % len(DAYS) + 1))


def _read_times(text: str) -> tuple[int, int]:
    match = _TIME.fullmatch(text)
    assert match is not None  # noqa: S101 - the whole has been matched
    hour, minute, last_hour, last_minute = map(int, match.groups())
    begin, end = hour * 60 + minute, last_hour * 60 + last_minute
    if minute > 59 or last_minute > 59 or begin >= DAY or end > DAY:
        raise QuietHoursError(f"{_WANTED}; `{text}` must be times from 00:00 to 24:00")
    if begin == end:
        raise QuietHoursError(f"{_WANTED}; `{text}` must end at another time than it begins")
    return begin, end
