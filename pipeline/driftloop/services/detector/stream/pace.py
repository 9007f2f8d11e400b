"""Rate of rows over weeks: what a budget of false alarms is derived for, and what it is.

The verdicts keep it, so that a restart goes on with it. After a week older rows count half.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import is_number
from driftloop.contract.times import SECOND

PACE = "pace"
"""Key of a verdict's details."""
ENOUGH = 3600.0
"""Seconds of traffic from which on it is told."""
LONG = 7 * 86400.0
"""Seconds after which what came before counts half."""


@dataclass(frozen=True)
class TrafficPace:
    """Rows that were judged, and the time that they took with the gaps between them."""

    rows: float = 0.0
    seconds: float = 0.0
    until: int = 0
    """Stored time of the last of them, in nanoseconds since 1970."""

    @classmethod
    def read(cls, details: Mapping[str, Any]) -> "TrafficPace":
        """Read what a verdict keeps; nothing of one of an earlier version."""
        kept = details.get(PACE)
        if not isinstance(kept, Mapping) or not all(
            is_number(kept.get(key)) for key in ("rows", "seconds", "until")
        ):
            return cls()
        return cls(float(kept["rows"]), float(kept["seconds"]), int(kept["until"]))

    def add_window(self, rows: int, since: int, until: int) -> "TrafficPace":
        """Return it with a window of so many rows between two stored times."""
        if not since:
            return self
        seconds = max(0, until - (self.until or since)) / SECOND
        kept = 0.5 if self.seconds > LONG else 1.0
        return TrafficPace(kept * self.rows + rows, kept * self.seconds + seconds, until)

    def to_json(self) -> dict[str, float]:
        """Return it as a verdict keeps it."""
        return {"rows": self.rows, "seconds": round(self.seconds, 3), "until": self.until}

    @property
    def rate(self) -> float | None:
        """Rows a second; None before there is enough traffic."""
        return self.rows / self.seconds if self.seconds >= ENOUGH and self.rows else None
