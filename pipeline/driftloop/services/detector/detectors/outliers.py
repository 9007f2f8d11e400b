"""Test of a window for too many outliers, and the columns that make them.

A row is an outlier when it scores above the j-th largest of m calibration rows the detector was
not fitted on. How often a new row of the same kind does so is Beta(j, m + 1 - j) distributed; its upper
bound holds for 19 of 20 releases. The window alarms when it has more outliers than come up in a share
`alarmRate` of windows at that bound: exact, whatever the scores look like, and for each release, not on
average over releases.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.calibration import (
    NO_EFFECT,
    ROWS,
    Calibration,
    find_strictness,
)
from driftloop.services.detector.detectors.explanation import choose_columns, describe_columns
from driftloop.services.detector.detectors.statistics import bound_share, find_most
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.values import Rows

OUTLIER_SHARE = 0.01
"""Rows in a hundred that count as outliers although nothing is wrong."""
FIT_SHARES = (0.3, 0.7)
"""Least and largest part of the reference that is fitted on; the more of it is left, the surer the bound."""
FIT_ROWS = 20
"""Rows that are fitted on for each column, within these bounds."""
LEAST = 50
DOUBT = 0.05
"""Share of releases whose threshold may be so low by chance that they alarm a little oftener than asked."""
MOST_EXPLAINED = 1000
"""Outliers of a window that are looked into."""

Scores = NDArray[np.float64]


def split_reference(config: DetectorSettings, reference: Rows) -> tuple[Rows, Rows]:
    """Rows to fit on and rows to calibrate on, by the seed."""
    if len(reference) < LEAST:
        raise FitError(
            f"{config.kind} has {len(reference)} reference rows, must be at least {LEAST}"
        )
    order = np.random.default_rng(config.seed).permutation(len(reference))
    least, most = (int(len(reference) * share) for share in FIT_SHARES)
    cut = min(max(least, FIT_ROWS * reference.shape[1]), most)
    return reference[order[:cut]], reference[order[cut:]]


@dataclass(frozen=True)
class RowThreshold:
    """The bound of a row's score, and how certain it is."""

    value: float
    rank: int
    calibration: int

    @classmethod
    def from_scores(cls, scores: Scores) -> "RowThreshold":
        """From the scores of the calibration rows."""
        rank = max(1, int(OUTLIER_SHARE * (len(scores) + 1)))
        return cls(float(np.sort(scores)[-rank]), rank, len(scores))

    def count_most(self, rows: int, alarm_rate: float, least: float = 0.0) -> int:
        """The most outliers a window of this many rows may have without an alarm; with fewer than a share of
        `least` beyond those that there always are, it has none."""
        share = bound_share(self.calibration, self.rank - 1, DOUBT)
        few = math.ceil((OUTLIER_SHARE + least) * rows) - 1 if least else 0
        return max(find_most(rows, share, alarm_rate), few)


class OutlierJudge:
    """Judges windows by the scores of their rows."""

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Rows,
        *,
        order: Calibration | None = None,
        score: Callable[[Rows], Scores],
        split: Callable[[Rows], Rows],
    ) -> None:
        """Learn the bound of a row's score from `calibration`, rows that the detector was not fitted on.
        `score` returns the score of each row, `split` its parts by column (n x columns)."""
        self._config = config
        self._order = order
        self._reference = reference
        self._profile = profile
        self._score = score
        self._split = split
        self._threshold = RowThreshold.from_scores(score(calibration))

    def judge_window(self, rows: Rows) -> WindowVerdict:
        """Score is the share of outliers, threshold the largest share that is not an alarm."""
        scores = self._score(rows)
        found = np.flatnonzero(scores > self._threshold.value)
        most = self._count_most(len(rows))
        alarm = len(found) > most
        return WindowVerdict(
            alarm=alarm,
            score=len(found) / len(rows),
            threshold=most / len(rows),
            details={
                "outliers": len(found),
                "rowThreshold": self._threshold.value,
                "highest": float(scores.max()),
                **self._explain_rows(rows[found], alarm=alarm),
            },
            outliers=tuple(int(i) for i in found),
        )

    def _count_most(self, rows: int) -> int:
        """Return the most outliers of a window that is no alarm. Outliers that come together are fewer by
        themselves: of each so many are one."""
        config = self._config
        effect = self._order.find_effect(ROWS, rows) if self._order is not None else NO_EFFECT
        rate = config.alarm_rate / 10 ** find_strictness(config, effect)
        alone = max(1, round(rows / effect.inflation))
        most = self._threshold.count_most(alone, rate, config.at_least or 0.0)
        return min(rows, math.ceil(most * rows / alone))

    def _explain_rows(self, rows: Rows, *, alarm: bool) -> dict[str, object]:
        """Return the columns that make rows outliers, as they differ from the reference there."""
        if not len(rows):
            return {}
        parts = self._split(rows[:MOST_EXPLAINED])
        shares = parts / np.maximum(parts.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        named = choose_columns(shares.mean(axis=0))
        changes = describe_columns(named, self._profile, self._reference, rows, alarm=alarm)
        return {"columns": [to_json(change) for change in changes]}
