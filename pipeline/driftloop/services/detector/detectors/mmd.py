"""Maximum mean discrepancy by permutation: do the columns of a window go together as they did?

The kernel is a sum over columns and pairs of columns, so it is the product of features that are computed
once (`PairFeatures`): normal scores of numbers and their cosine, categories, gaps, and products of any two
of different columns. The discrepancy is the distance between the features' means in the window and in the
reference (Gretton et al., "A kernel two-sample test", 2012), each feature in units of its spread over both.
The sum of their squares sees what many of them share, the largest one what only two columns do; the more
certain of both is the statistic (as Schrab et al. combine kernels, "MMD aggregated two-sample test", 2023).

Its p-value is the share of random divisions of all rows into a window and a reference that have a larger
one, which is exact whatever the columns are. Divisions are drawn until it is clear that the window does not
alarm (Besag and Clifford, 1991). Below what their number can show, the p-value continues the tail of theirs.

Rows are n x columns of any type and unit, NaN for a missing value. The score is lowered by what all windows of a
release share, its reference (`statistics.correct_sharing`).
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.contract.verdicts import ColumnChange
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.detectors.explanation import MOST_NAMED, describe_columns
from driftloop.services.detector.detectors.pairs import Feature, PairFeatures
from driftloop.services.detector.detectors.statistics import (
    LOG10,
    correct_sharing,
    score_squares,
)
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.values import Rows

LEAST = 100
"""Rows that the features are learnt from, and that a window is held against, at least."""
MOST_LEARNT = 1000
"""Rows that the features are learnt from."""
MOST_VALUES, LEAST_COMPARED = 2_000_000, 2000
"""Features of all rows that a window is held against, and these rows if there are so many."""
DIVISIONS, AT_ONCE = 999, 37
"""Random divisions of a window that may alarm, and how many are drawn at once."""
TAIL = 50
"""Divisions with the largest statistics, which the tail is learnt from."""
ALIKE = 1e-3
"""Part by which two statistics differ that are the same, computed in single precision. Where values are rare many
are the same: whether these count as larger decides."""
SURE = 5
"""Divisions with a larger statistic from which on their share is the p-value."""

Means = NDArray[np.float32]


class MaximumMeanDiscrepancy:
    """The score of a window is -log10 of its p-value, the threshold that of `alarmRate`."""

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        if len(reference) < 2 * LEAST:
            raise FitError(f"mmd has {len(reference)} reference rows, must be at least {2 * LEAST}")
        order = np.random.default_rng(config.seed).permutation(len(reference))
        learnt = max(LEAST, min(len(reference) // 5, MOST_LEARNT))
        self._config = config
        self._calibration = calibration
        self._profile = profile
        self._features = PairFeatures(profile, reference[order[:learnt]])
        most = max(LEAST_COMPARED, MOST_VALUES // self._features.width)
        self._reference = reference[np.sort(order[learnt : learnt + most])]
        self._compared = self._features.compute_rows(self._reference)
        self._freedom = self._find_freedom()

    def _find_freedom(self) -> float:
        """Return of how many independent features the sum of squares would vary as it does."""
        spread = self._compared.std(axis=0)
        rows = (self._compared - self._compared.mean(axis=0))[:, spread > 0] / spread[spread > 0]
        count, width = len(rows), int(rows.shape[1])
        if not width:
            return 1.0
        products = rows.T @ rows if width <= count else rows @ rows.T
        shared = float(((products / count) ** 2).sum())
        return max(1.0, width * width / shared)

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        comparison = _Comparison(self._features.compute_rows(rows), self._compared, self._freedom)
        score = comparison.find_score(self._config)
        if self._calibration is not None:
            score = self._calibration.temper_rows(self._config, score, len(rows))
        shared = correct_sharing(
            self._config.alarm_rate, round(self._freedom), len(rows), len(self._compared)
        )
        score = max(0.0, score - shared)
        threshold = -math.log10(self._config.alarm_rate)
        certain = bool(score >= threshold)
        changes = self._describe_columns(comparison, rows, alarm=certain)
        least = self._config.at_least or 0.0
        alarm = certain and any(change.effect >= least for change in changes)
        if certain and not alarm:
            changes = [replace(change, alarm=False, at_least=least) for change in changes]
        return WindowVerdict(
            alarm=alarm,
            score=score if alarm == certain else 0.0,
            threshold=threshold,
            details={
                "columns": [to_json(change) for change in changes],
                "changed": len(changes) if alarm else 0,
                "small": 0 if alarm == certain else len(changes),
            },
        )

    def _describe_columns(
        self, comparison: "_Comparison", rows: Rows, *, alarm: bool
    ) -> list[ColumnChange]:
        """Return the columns, or pairs of columns, of the features that moved most certainly."""
        changes: list[ColumnChange] = []
        named: set[int] = set()
        squares = comparison.moves**2
        for number in np.argsort(-squares, kind="stable")[: 4 * MOST_NAMED]:
            feature = self._features.describe_feature(int(number))
            # below it a feature is one of many that moved by chance
            if changes and squares[number] < 2 * math.log(2 * len(squares)):
                break
            if named.intersection(feature.columns):
                continue
            named.update(feature.columns)
            part = float(squares[number] / squares.sum()) if squares.any() else 0.0
            changes.append(self._describe_feature(feature, part, rows, alarm=alarm))
            if len(changes) == MOST_NAMED:
                break
        return changes

    def _describe_feature(
        self, feature: Feature, part: float, rows: Rows, *, alarm: bool
    ) -> ColumnChange:
        if len(feature.columns) == 1:
            parts = {feature.columns[0]: part}
            (change,) = describe_columns(parts, self._profile, self._reference, rows, alarm=alarm)
            return change
        one, other = (self._profile.columns[column] for column in feature.columns)
        before, after = (
            self._features.correlate_rows(feature, part) for part in (self._reference, rows)
        )
        return ColumnChange(
            column=one.name,
            type=one.type,
            kind="relation",
            of=other.name,
            before=before,
            after=after,
            effect=abs(after - before) / 2,
            score=0.0,
            alarm=alarm,
            part=part,
        )


@dataclass(frozen=True)
class _Comparison:
    """A window's features beside the reference's."""

    window: Means
    reference: Means
    freedom: float

    @cached_property
    def rows(self) -> Means:
        """The rows of both, standardised, the window's first; features that never vary are 0."""
        rows = np.concatenate([self.window, self.reference])
        spread = rows.std(axis=0)
        standard: Means = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
        return standard

    @cached_property
    def width(self) -> int:
        """Features that vary, at least 1."""
        return max(1, int(self.rows.any(axis=0).sum()))

    @cached_property
    def moves(self) -> Rows:
        """The difference of the means of each feature, in units of its standard error."""
        sums = self.rows[: len(self.window)].sum(axis=0, dtype=np.float64)
        moves: Rows = self._scale_sums(sums[None, :])[0]
        return moves

    def _scale_sums(self, sums: Rows) -> Rows:
        """Return differences of means for sums of the features over windows; all rows sum to 0."""
        count, total = len(self.window), len(self.rows)
        scaled: Rows = sums * math.sqrt((total - 1) / (count * (total - count)))
        return scaled

    def find_score(self, settings: DetectorSettings) -> float:
        """Return -log10 of the p-value."""
        random = np.random.default_rng(settings.seed)
        found = self._combine_moves(self.moves[None, :])[0]
        least = found * (1 - ALIKE)
        enough = max(SURE, math.floor(settings.alarm_rate * (DIVISIONS + 1)))
        drawn = np.empty(0)
        while len(drawn) < DIVISIONS and (drawn >= least).sum() < enough:
            drawn = np.concatenate([drawn, self._draw_divisions(random)])
        larger = int((drawn >= least).sum())
        score = -math.log10((larger + 1) / (len(drawn) + 1))
        return score if larger >= SURE else max(score, _extend_tail(drawn, found))

    def _draw_divisions(self, random: np.random.Generator) -> Rows:
        total = len(self.rows)
        chosen = np.zeros((AT_ONCE, total), dtype=np.float32)
        for division in chosen:
            division[random.choice(total, len(self.window), replace=False, shuffle=False)] = 1
        return self._combine_moves(self._scale_sums((chosen @ self.rows).astype(np.float64)))

    def _combine_moves(self, moves: Rows) -> Rows:
        """Return the statistic (-log10 of a nominal p-value) of each division."""
        squares = moves**2
        largest = [score_squares(float(s), 1) - math.log10(self.width) for s in squares.max(axis=1)]
        freedom = max(1, round(self.freedom))
        sums = squares.sum(axis=1) * (freedom / self.width)
        return np.maximum(largest, [score_squares(float(s), freedom) for s in sums])


def _extend_tail(drawn: Rows, found: float) -> float:
    """Return -log10 of the p-value of a statistic beyond those that were drawn, whose tail is
    exponential."""
    tail = np.sort(drawn)[-TAIL:]
    excess = float((tail[1:] - tail[0]).mean())
    slope = 1 / (LOG10 * excess) if excess > 0 else 1.0
    return math.log10(len(drawn) / TAIL) + (found - float(tail[0])) * min(1.0, slope)
