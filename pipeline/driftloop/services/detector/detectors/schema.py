"""Schema of requests: each share of rows that the training data do not have, held against theirs.

* every column: the share of missing values, and of values that do not fit its type (*unreadable*);
* numbers, and lengths of texts: the shares below the smallest and above the largest value of the training
  data, `margin` of their range beyond it;
* categories: the share of those that the training data do not have;
* a number that is always the same in the training data: the share of others;
* numbers, categories, booleans that differ in the training data: that a window has one of them only;
* rows that are none of the model's, by reason;
* rows that a window has more than once (`duplicates`).

Rows are n x columns in their own units: NaN for a missing value, an infinite number for one that can't be read,
and marks for rows that can't (`marks`).

A share is tested by Fisher's exact test, one side of it (`statistics.score_counts` has both): fewer faults are
none. It is exact for the bounds of a range, too, although these come from the same data: that the k largest of
n + m exchangeable values are all among m of them has the probability C(m, k) / C(n + m, k), which is the tail of no row in n
and k rows in m. A margin makes it smaller still. For categories, the rows of those that the training data
have once stand for the rows of those that they do not have (Good, 1953).

The tests of a window share `alarmRate` (Bonferroni), so that clean windows alarm at most as often as it says. Three
quarters are those of new categories, of which few rows are news, each column's the less the more such rows it has:
by the square of those of window and training data together. All others have the rest in even parts: such faults come
by the dozen. Counts of so few rows of window and training data that none of their divisions could alarm take no
part (Tarone, "A modified Bonferroni method for discrete data", 1990). A share that has grown by less than `atLeast`
is no alarm, however certain it is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.verdicts import ChangeKind, ColumnChange
from driftloop.services.detector.detectors import MOST_SHOWN, WindowVerdict
from driftloop.services.detector.detectors.calibration import Calibration
from driftloop.services.detector.detectors.duplicates import DuplicateReference
from driftloop.services.detector.detectors.statistics import score_counts
from driftloop.services.detector.rows.marks import split_marks
from driftloop.services.detector.rows.values import Rows

UNSEEN = 3 / 4
"""Part of the rate that new categories have."""
ROWS = "rows"
"""Name under which is told what whole rows are: none of the model's, or duplicates."""


@dataclass(frozen=True)
class ShareCount:
    """A share of rows in the window and in the training data."""

    kind: ChangeKind
    of: str
    hits: int
    rows: int
    before: int
    reference: int
    penalty: float = 0.0
    """log10 of the ways in which it could have come up."""

    @property
    def effect(self) -> float:
        """Difference between the two shares."""
        return abs(self.hits / self.rows - self.before / self.reference)

    @property
    def has_grown(self) -> bool:
        """Return True when it is larger than in the training data: gaps that were filled break nothing."""
        return self.hits * self.reference > self.before * self.rows

    def is_possible(self, rate: float) -> bool:
        """Return False when the rows of both together have so few of the kind that not even a window with all of them
        could alarm; which values lie beyond a range depends on which rows are the window's."""
        if self.kind in ("below", "above", "stuck", "rejected"):
            return True
        total = self.hits + self.before
        if not total:
            return False
        most = np.array([min(total, self.rows)])
        sizes = np.array([self.rows]), np.array([total]) - most, np.array([self.reference])
        surest = float(score_counts(most, *sizes)[0]) + math.log10(2)
        return surest >= -math.log10(rate)


CountShare = Callable[[Rows], ShareCount | None]
"""Counts one share in the values of a column; None without a value to count in."""


class SchemaDetector:
    """Looks for rows and values that the training data do not have."""

    def __init__(
        self,
        config: DetectorSettings,
        reference: Rows,
        profile: TableProfile,
        calibration: Calibration | None = None,
    ) -> None:
        self._config = config
        self._calibration = calibration
        self._threshold = -math.log10(config.alarm_rate)
        self._least = config.at_least or 0.0
        self._width = len(profile.columns)
        self._rows = max(column.rows for column in profile.columns)
        self._columns = tuple(
            (column, _choose_tests(column, reference[:, number], config.margin or 0.0))
            for number, column in enumerate(profile.columns)
        )
        self._duplicates = DuplicateReference(reference)
        self._tests = 2 + sum(len(counts) for _, counts in self._columns)

    def score_window(self, rows: Rows) -> WindowVerdict:
        """Judge a window, with or without marks of what can't be read."""
        read, reasons = split_marks(rows, self._width)
        found = [(ROWS, "row", share) for share in self._count_rejected(len(rows), reasons)]
        for number, (column, counts) in enumerate(self._columns):
            shares = (count(read[:, number]) for count in counts) if len(read) else ()
            found += [(column.name, column.type, share) for share in shares if share is not None]
        corrections, correction = self._correct_shares([share for _, _, share in found])
        scores = self._score_shares(found, corrections, len(rows)).tolist()
        changes = [
            _describe_share(name, type_, share, score, alarm=score >= self._threshold)
            for (name, type_, share), score in zip(found, scores, strict=True)
            if share.has_grown and share.effect >= self._least
        ]
        changes += self._find_duplicates(read, correction)
        alarms = _choose_worst([change for change in changes if change.alarm])
        return WindowVerdict(
            alarm=bool(alarms),
            score=max((change.score for change in changes), default=0.0),
            threshold=self._threshold,
            details={
                "columns": [to_json(change) for change in alarms[:MOST_SHOWN]],
                "changed": len(alarms),
            },
        )

    def _correct_shares(self, shares: list[ShareCount]) -> tuple[Rows, float]:
        """Return what the score of each share is lowered by, and that of each other test of the window."""
        rate = self._config.alarm_rate
        possible = np.array([share.is_possible(rate) for share in shares])
        totals = np.array([share.hits + share.before for share in shares])
        unseen = np.array([share.kind == "unseen" for share in shares]) & possible
        # at least the test of duplicates is left
        others = self._tests - int((~possible).sum()) - int(unseen.sum())
        rest = (1 - UNSEEN if unseen.any() else 1.0) / others
        parts = np.full(len(shares), rest)
        weights = 1.0 / totals[unseen].astype(np.float64) ** 2
        parts[unseen] = UNSEEN * weights / weights.sum()
        return -np.log10(parts), -math.log10(rest)

    def _count_rejected(self, rows: int, reasons: dict[str, int]) -> list[ShareCount]:
        """All of them are one test, told by the reason of most."""
        rejected = sum(reasons.values())
        reason = max(reasons, key=lambda each: reasons[each], default="")
        return [ShareCount("rejected", reason, rejected, rows, 0, self._rows)]

    def _find_duplicates(self, read: Rows, correction: float) -> list[ColumnChange]:
        if not len(read):
            return []
        found = self._duplicates.count_duplicates(read)
        score = max(0.0, found.score - correction)
        change = ColumnChange(
            column=ROWS,
            type="row",
            kind="duplicated",
            before=found.before,
            after=found.share,
            effect=abs(found.share - found.before),
            score=score,
            alarm=score >= self._threshold,
        )
        return [change] if found.share - found.before >= self._least else []

    def _score_shares(
        self, found: list[tuple[str, str, ShareCount]], corrections: Rows, rows: int
    ) -> Rows:
        shares = [share for _, _, share in found]
        scores = score_counts(
            *(
                np.array(values, dtype=np.int64)
                for values in zip(
                    *((s.hits, s.rows, s.before, s.reference) for s in shares), strict=True
                )
            )
        )
        if self._calibration is not None:
            names = [name for name, _, _ in found]
            scores = self._calibration.temper_columns(self._config, names, scores, rows)
        penalties = np.array([share.penalty for share in shares])
        # one side of the test
        corrected: Rows = np.maximum(scores + math.log10(2) - penalties - corrections, 0.0)
        return corrected


def _choose_tests(column: ColumnProfile, reference: Rows, margin: float) -> tuple[CountShare, ...]:
    """Return the shares of a column that are tested, by its type."""
    present = reference[np.isfinite(reference)]
    always: tuple[CountShare, ...] = (_count_missing(column), _count_unreadable(column))
    if not column.present or not len(present):
        return always
    match column.type:
        case "number" if column.distinct == 1:
            return (*always, _count_others(column, float(present[0])))
        case "number":
            return (*always, *_count_beyond(column, present, margin), _count_stuck(column, present))
        case "text":
            return (*always, *_count_beyond(column, present, margin))
        case "category":
            stuck = (_count_stuck(column, present),) if column.distinct > 1 else ()
            return (*always, _count_unseen(column), *stuck)
        case "boolean":
            return (*always, _count_stuck(column, present))
        case "time":
            return always
        case _:
            assert_never(column.type)


def _count_missing(column: ColumnProfile) -> CountShare:
    def count(values: Rows) -> ShareCount:
        missing = int(np.isnan(values).sum())
        return ShareCount("missing", "", missing, len(values), column.missing, column.rows)

    return count


def _count_unreadable(column: ColumnProfile) -> CountShare:
    def count(values: Rows) -> ShareCount:
        unreadable = int(np.isinf(values).sum())
        return ShareCount("unreadable", "", unreadable, len(values), 0, column.rows)

    return count


def _count_where(
    kind: ChangeKind,
    of: str,
    before: int,
    reference: int,
    holds: Callable[[Rows], NDArray[np.bool_]],
) -> CountShare:
    """Count the values that are there and for which something holds."""

    def count(values: Rows) -> ShareCount | None:
        present = values[np.isfinite(values)]
        if not len(present):
            return None
        return ShareCount(kind, of, int(holds(present).sum()), len(present), before, reference)

    return count


def _count_others(column: ColumnProfile, constant: float) -> CountShare:
    return _count_where(
        "other", f"{constant:g}", 0, column.present, lambda present: present != constant
    )


def _count_beyond(column: ColumnProfile, present: Rows, margin: float) -> tuple[CountShare, ...]:
    """Count values outside of the training data's range; profiles of earlier versions have none."""
    known = bool(column.quantiles)
    low, high = (
        (column.quantiles[0], column.quantiles[-1])
        if known
        else (float(present.min()), float(present.max()))
    )
    rows, room = column.present if known else len(present), margin * (high - low)
    return (
        _count_where("below", f"{low:g}", 0, rows, lambda values: values < low - room),
        _count_where("above", f"{high:g}", 0, rows, lambda values: values > high + room),
    )


def _count_unseen(column: ColumnProfile) -> CountShare:
    singles = sum(count == 1 for _, count in column.categories)
    beyond = len(column.categories)
    return _count_where("unseen", "", singles, column.present, lambda present: present >= beyond)


def _count_stuck(column: ColumnProfile, reference: Rows) -> CountShare:
    """Count the rows of the only value that a window has."""

    def count(values: Rows) -> ShareCount | None:
        present = values[np.isfinite(values)]
        if not len(present) or (present != present[0]).any():
            return None
        value, names = float(present[0]), [name for name, _ in column.categories]
        if names and value >= len(names):
            return None
        return ShareCount(
            "stuck",
            names[int(value)] if names else f"{value:g}",
            len(present),
            len(present),
            int((reference == value).sum()),
            len(reference),
            # only so many values can fill a window
            penalty=math.log10(max(1.0, (len(reference) + len(present)) / len(present))),
        )

    return count


def _describe_share(
    name: str, type_: str, share: ShareCount, score: float, *, alarm: bool
) -> ColumnChange:
    return ColumnChange(
        column=name,
        type=type_,
        kind=share.kind,
        of=share.of,
        before=share.before / share.reference,
        after=share.hits / share.rows,
        effect=share.effect,
        score=score,
        alarm=alarm,
    )


def _choose_worst(changes: list[ColumnChange]) -> list[ColumnChange]:
    """Return the most certain change of each column, and those of whole rows, the largest effect first."""
    worst: dict[tuple[str, str], ColumnChange] = {}
    for change in changes:
        key = (change.column, change.kind if change.type == "row" else "")
        known = worst.get(key)
        if known is None or change.score > known.score:
            worst[key] = change
    return sorted(worst.values(), key=lambda change: -change.effect)
