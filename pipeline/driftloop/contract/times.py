"""Moments as records and events write them."""

from datetime import UTC, datetime

SECOND = 1_000_000_000
"""Nanoseconds, the unit in which JetStream writes times."""


def format_time(moment: datetime) -> str:
    """Return an aware time as RFC 3339 writes it, in UTC and to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_now() -> str:
    """Return the present time in that form."""
    return format_time(datetime.now(UTC))
