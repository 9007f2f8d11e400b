"""Height of a score in a chart: as a multiple of its threshold, on a logarithmic scale."""

import math
from collections.abc import Iterable
from typing import Protocol

MOST = 100.0
"""Multiple of the threshold at which a picture ends."""
P_VALUES = ("ks", "cvm", "chi2")
"""Detectors whose score is a p-value: the smaller, the surer."""


class ScoredWindow(Protocol):
    """Window with the score and threshold it was judged by."""

    @property
    def alarm(self) -> bool:
        """Its score is beyond the threshold."""

    @property
    def score(self) -> float:
        """Of the whole window."""

    @property
    def threshold(self) -> float:
        """The score from which it alarms."""


def scores_p_values(detector: str, windows: Iterable[ScoredWindow]) -> bool:
    """Return True for a detector whose scores are p-values, also for one of a person's by its alarms."""
    return detector in P_VALUES or any(
        window.alarm and window.score < window.threshold for window in windows
    )


def measure_level(score: float, threshold: float, *, alarm: bool, p_value: bool) -> float:
    """Return the score as a multiple of the threshold, above 1 it alarms; of p-values, which alarm below
    theirs, that of their logarithms."""
    if p_value:
        score, threshold = (-math.log10(max(p, 1e-300)) for p in (score, threshold))
    if not math.isfinite(score):
        return MOST if alarm else 0.0
    if threshold <= 0:
        return 2.0 if score > 0 else 0.0
    return max(score, 0.0) / threshold


def find_height(level: float) -> float:
    """Return the part of a picture's height."""
    return math.log1p(min(level, MOST)) / math.log1p(MOST)
