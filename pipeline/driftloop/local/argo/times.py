"""Moments and lengths of time as Kubernetes writes them."""

import re
from datetime import UTC, datetime

from driftloop.contract.times import format_now
from driftloop.local.argo.parts import NotUnderstoodError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def now() -> str:
    """Return the time to the second, UTC."""
    return format_now()


def age(timestamp: str) -> float:
    """Return the seconds since then."""
    return (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()


def between(earlier: str, later: str) -> float:
    """Return the seconds from one moment to another."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def duration(text: str) -> float:
    """Return the seconds of a Go duration (`1h30m`, `250ms`) or of a plain number.

    NotUnderstoodError for any other text.
    """
    try:
        return float(text)
    except ValueError:
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise NotUnderstoodError(
                f"`{text}` is not a duration", hint="write it as 90s, 5m or 1h30m"
            ) from None
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
