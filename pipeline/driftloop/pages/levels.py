"""How high a score is drawn: as a multiple of its threshold, on a logarithmic scale."""

import math

MOST = 100.0
"""Multiple of the threshold at which a picture ends."""


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
