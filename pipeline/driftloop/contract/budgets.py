"""False alarms as a person counts them: so many a month, and what each window may give of them.

A window alarms falsely with some probability, its *rate*; an alarm counts when as many of so many windows in a
row alarm. `find_rate` is the one place where the one follows from the other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from driftloop.contract.documents import DocumentError, document_key, from_json, is_number, is_whole

MONTH = 30 * 86400.0
"""Seconds of a month."""
LARGEST_RATE = 0.05
"""Rate of a window however few there are in a month: an alarm should mean something by itself."""
DIGITS = 3
"""Digits of a rate, rounded down."""
MORE, MUCH_LESS = 2.0, 10.0
"""Times the budget, and times less traffic, from which on a person should change the spec."""
TRAFFIC = 1.0
"""Rows a second that are expected where a spec does not say it."""
SHARES = {"schema": 1.0, "mmd": 2.0}
OTHER_SHARE = 5.0
"""Parts of the false alarms that monitors have beside each other, by detector. What `schema` looks for comes in so many
rows at once that a smaller rate costs it little; `tabular` and what stands in its place see the less the smaller it is."""
TRAFFIC_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0}
ALARM_UNITS = {"day": 1 / 30, "week": 7 / 30, "month": 1.0, "year": 365 / 30}
"""Months of each."""

_TRAFFIC = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)/(s|min|h|day)")
_ALARMS = re.compile(r"(\d{1,6})/(day|week|month|year)")


def read_traffic(text: str) -> float | None:
    """Return the rows a second of `1/s`, `50/min`, `1000/h` or `20/day`; None for another text."""
    match = _TRAFFIC.fullmatch(text)
    rate = float(match[1]) / TRAFFIC_UNITS[match[2]] if match else 0.0
    return rate or None


def read_alarms(text: str) -> float | None:
    """Return the false alarms a month of `1/month`, `2/week` or `3/year`; None for another text."""
    match = _ALARMS.fullmatch(text)
    alarms = int(match[1]) / ALARM_UNITS[match[2]] if match else 0.0
    return alarms or None


def share_rate(detectors: Sequence[str]) -> list[float]:
    """Return the parts, which sum to 1, of monitors with these detectors."""
    shares = [SHARES.get(detector, OTHER_SHARE) for detector in detectors]
    return [share / sum(shares) for share in shares]


@dataclass(frozen=True)
class AlarmBudget:
    """A monitor's part of the false alarms of its pipeline, and what its rate was derived from."""

    month: float = document_key(
        "month", "a number above 0", lambda v: is_number(v) and v > 0, read=float
    )
    """False alarms in 30 days."""
    traffic: float = document_key(
        "traffic", "rows a second, more than 0", lambda v: is_number(v) and v > 0, read=float
    )
    """Rows a second that are expected."""
    assumed: bool = document_key(
        "assumed", "true or false", lambda v: isinstance(v, bool), default=False
    )
    """The spec does not say it."""
    least: int = document_key(
        "least", "an integer from 1 to 100", lambda v: is_whole(v, 1, 100), default=1
    )
    """Windows that must alarm before it counts."""
    of: int = document_key(
        "of", "an integer from 1 to 100", lambda v: is_whole(v, 1, 100), default=1
    )
    """Windows in a row that they are among."""

    def __post_init__(self) -> None:
        if self.least > self.of:
            raise DocumentError(
                f"the budget's `least` is {self.least}, must be at most `of`, {self.of}"
            )

    @classmethod
    def read(cls, document: object) -> "AlarmBudget":
        """Read the budget from plain data; DocumentError."""
        return from_json(cls, document, label="the budget of false alarms")


@dataclass(frozen=True)
class BudgetUse:
    """A monitor's budget beside the traffic that comes."""

    month: float = document_key(
        "month", "a number above 0", lambda v: is_number(v) and v > 0, read=float
    )
    """False alarms in 30 days that it may have."""
    traffic: float = document_key(
        "traffic", "rows a second, more than 0", lambda v: is_number(v) and v > 0, read=float
    )
    """Rows a second that this is derived for."""
    assumed: bool = document_key("assumed", "true or false", lambda v: isinstance(v, bool))
    """The spec does not say it."""
    measured: float | None = document_key(
        "measured", "rows a second, or null", lambda v: v is None or is_number(v), default=None
    )
    """Rows a second that came; None before an hour of them."""
    expected: float | None = document_key(
        "expected", "a number, or null", lambda v: v is None or is_number(v), default=None
    )
    """False alarms in 30 days at that rate."""

    @classmethod
    def read(cls, document: object) -> "BudgetUse":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="the budget", closed=False)

    def describe(self) -> str:
        """Say in words what was assumed, and what the traffic does to it."""
        source = "assumed, the spec has no `traffic`" if self.assumed else "`traffic`"
        alarms = "alarm" if self.month == 1 else "alarms"
        text = f"{write_alarms(self.month)} false {alarms} a month at {write_traffic(self.traffic)} ({source})"
        if self.measured is None or self.expected is None:
            return text
        measured = write_traffic(self.measured)
        text += f"; {measured} measured, at which it is {write_alarms(self.expected)}"
        if self.expected > MORE * self.month:
            return f"{text}: set `traffic: {measured}`"
        if self.measured < self.traffic / MUCH_LESS:
            return f"{text}: with `traffic: {measured}` smaller changes would be seen"
        return text


def write_alarms(alarms: float) -> str:
    """Return a number of alarms as people read it."""
    return f"{alarms:.0f}" if alarms >= 10 else f"{alarms:.2g}"


def write_traffic(rate: float) -> str:
    """Return rows a second as a spec has them, in the unit that has few digits."""
    for unit, seconds in TRAFFIC_UNITS.items():
        if rate * seconds >= 1:
            return f"{float(f'{rate * seconds:.2g}'):.1f}".removesuffix(".0") + f"/{unit}"
    daily = rate * TRAFFIC_UNITS["day"]
    return f"{max(float(f'{daily:.2g}'), 1e-6):f}".rstrip("0").rstrip(".") + "/day"


def count_windows(traffic: float, rows: int, at_most: float | None, least: int) -> float:
    """Return the windows of a month: each closes with `rows` rows, or `at_most` seconds after its first row
    once it has `least`. Traffic is in rows a second, and even."""
    seconds = rows / traffic
    if at_most is not None:
        seconds = min(seconds, max(at_most, least / traffic))
    return MONTH / seconds


def expect_alarms(rate: float, windows: float, least: int = 1, of: int = 1) -> float:
    """Return how many alarms count in so many windows that alarm at this rate each by themselves: windows
    that alarm and have enough others among the ones before them."""
    return windows * rate * _at_least(least - 1, of - 1, rate)


def find_rate(alarms: float, windows: float, least: int = 1, of: int = 1) -> float:
    """Return the rate of one window by which so many alarms count in so many windows, at most
    `LARGEST_RATE`."""
    low, high = 0.0, LARGEST_RATE
    if expect_alarms(high, windows, least, of) <= alarms:
        return high
    for _ in range(200):
        middle = (low + high) / 2
        enough = expect_alarms(middle, windows, least, of) > alarms
        low, high = (low, middle) if enough else (middle, high)
    return _round_down(low)


def _at_least(hits: int, draws: int, rate: float) -> float:
    """Return the probability of so many hits or more."""
    if hits <= 0:
        return 1.0
    chance, total = (1 - rate) ** draws, 0.0
    for k in range(draws + 1):
        if k >= hits:
            total += chance
        chance *= (draws - k) / (k + 1) * rate / (1 - rate)
    return total


def _round_down(rate: float) -> float:
    """Return a rate as it is written: few digits, so that it is the same on any machine."""
    text = f"{rate:.{DIGITS + 5}e}"
    digits, _, exponent = text.partition("e")
    return float(f"{digits[: DIGITS + 1]}e{exponent}")
