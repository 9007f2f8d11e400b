"""Times and figures as people read them."""

from datetime import UTC, datetime, timedelta

from driftloop.pages.figures import TimeSpan

SPANS = {"1h": 3600, "6h": 21_600, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}
"""Lengths of the time axis that a person can choose, in seconds."""
LEAST_SPAN = 300.0
"""Seconds that an axis shows at least."""


def read_moment(text: str | None) -> datetime | None:
    """Return a time of a record; None for what is none."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def format_ago(moment: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in one unit."""
    if moment is None:
        return "not known when"
    seconds = (now - moment).total_seconds()
    return "just now" if seconds < 1 else f"{format_length(seconds)} ago"


def format_length(seconds: float) -> str:
    """Return a length of time in one unit, or two near its border."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86_400:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"


def choose_span(wanted: str, moments: list[datetime], now: datetime) -> TimeSpan:
    """Return the time that an axis shows: the wanted length, or of the last day what there is of it; of
    older things only, all of them."""
    if wanted in SPANS:
        return TimeSpan(now - timedelta(seconds=SPANS[wanted]), now)
    if not moments:
        return TimeSpan(now - timedelta(hours=1), now)
    first = min(moments)
    recent = [moment for moment in moments if moment > now - timedelta(days=1)]
    began = min(recent) if wanted != "all" and recent else first
    margin = timedelta(seconds=max(LEAST_SPAN - (now - began).total_seconds(), 0.0) + 5)
    return TimeSpan(began - margin, now)


def format_number(value: object) -> str:
    """Return a figure as people read it; other values as text."""
    if isinstance(value, bool) or value is None:
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)
