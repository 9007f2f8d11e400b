"""Chi-squared, feature by feature: do categories come up as often as they did?

Rows are n x features, numbers that name categories (Pearson, "On the criterion that a given system of
deviations ...", 1900).
"""

import numpy as np

from driftloop.contract.columns import MOST_CATEGORIES
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import TableProfile
from driftloop.services.detector.detectors import WindowVerdict, drift
from driftloop.services.detector.detectors.alibi import load_class
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.rows.values import Rows

EXPECTED = 5
"""Rows of a window in which a category must be expected; the test's p-values are wrong for rarer
ones."""


class ChiSquaredDetector:
    """alibi-detect's ChiSquareDrift. The score is the smallest p-value; the threshold is
    `alarmRate` / features, less what all windows of a release share (`statistics.correct_sharing`).

    Rare categories count together, and with those that the reference does not have. A feature of
    nothing but rare ones is refused, since all windows would look alike; so are measurements,
    where nearly every value is one.
    """

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        self._common = [
            _find_common(feature, column, config.least_rows)
            for feature, column in enumerate(reference.T)
        ]
        self._least = config.at_least
        self._temper = drift.build_temper(calibration, config, profile)
        self._shares = self._count_shares(self._encode_rows(reference))
        detector = load_class("cd.chisquare", "ChiSquareDrift")
        self._detector = detector(
            self._encode_rows(reference), p_val=config.alarm_rate, correction="bonferroni"
        )

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window."""
        coded = self._encode_rows(rows)
        shares = zip(self._count_shares(coded), self._shares, strict=True)
        effects = np.array([float(np.abs(now - before).max()) for now, before in shares])
        return drift.read_verdict(self._detector, coded, effects, self._least, self._temper)

    def _count_shares(self, coded: Rows) -> list[Rows]:
        """The share of each category of each feature, the rare ones as one."""
        return [
            np.bincount(column.astype(np.int64), minlength=len(common) + 1) / len(coded)
            for column, common in zip(coded.T, self._common, strict=True)
        ]

    def _encode_rows(self, rows: Rows) -> Rows:
        """Each value as the number of its category, the rest as one."""
        coded = np.empty_like(rows)
        for feature, common in enumerate(self._common):
            found = np.minimum(np.searchsorted(common, rows[:, feature]), max(len(common) - 1, 0))
            known = common[found] == rows[:, feature] if len(common) else np.zeros(len(rows), bool)
            coded[:, feature] = np.where(known, found, len(common))
        return coded


def _find_common(feature: int, column: Rows, window: int) -> Rows:
    """The categories of a feature that are not rare, sorted."""
    values, counts = np.unique(column, return_counts=True)
    if len(values) > MOST_CATEGORIES:
        raise FitError(
            f"feature {feature} has {len(values)} different values, chi2 takes categories: at most {MOST_CATEGORIES}",
            hint="use `ks` for measurements; `data.features` chooses columns",
        )
    common = values[counts * window >= EXPECTED * len(column)]
    if not len(common):
        raise FitError(
            f"feature {feature} has {len(values)} categories, none of them is expected {EXPECTED} times in {window} rows: "
            "chi2 could not detect a change",
            hint="use a larger `window`, or leave the column out of `data.features`",
        )
    return common
