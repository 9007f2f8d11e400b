"""Shares of windows that alarm, and how certain they are."""

import math
from dataclasses import dataclass

from driftloop.services.detector.detectors.statistics import bound_share

FEW = 40
"""Windows after which counting ends when all of them alarm, or none."""


@dataclass(frozen=True)
class AlarmCount:
    """Alarms of so many windows."""

    alarms: int
    windows: int

    @property
    def share(self) -> float:
        """Share of windows that alarm."""
        return self.alarms / self.windows

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's interval, of 95 %."""
        quiet = self.windows - self.alarms
        low = 1 - bound_share(self.windows, quiet, 0.025) if self.alarms else 0.0
        high = bound_share(self.windows, self.alarms, 0.025) if quiet else 1.0
        return low, high


def is_below(one: AlarmCount, other: AlarmCount) -> bool:
    """Return True when chance does not explain that one alarms less often than another: three standard
    errors."""
    joined = (one.alarms + other.alarms + 1) / (one.windows + other.windows + 2)
    error = math.sqrt(joined * (1 - joined) * (1 / one.windows + 1 / other.windows))
    return other.share - one.share > 3 * error
