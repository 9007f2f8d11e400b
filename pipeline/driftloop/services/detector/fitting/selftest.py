"""Every fit tests itself: windows of its own reference, drawn at random and as they lie, and windows with
values that no row has. A detector that alarms on itself, or that can't alarm, is not released.

Random windows are judged by detectors that are fitted on other rows, drawn anew each time. So their alarms
are as independent as draws are, and binomial at the rate of the detector, whatever the rows look like. The
same is asked of rows that lie together; where only these alarm, the rows' order says something (seasons,
sessions, a sorted file), and traffic that comes in such an order will alarm, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from driftloop.contract.handovers import DetectorKind, DetectorSettings
from driftloop.contract.profiles import ColumnProfile
from driftloop.services.detector.detectors import WindowDetector
from driftloop.services.detector.detectors.estimate import EstimateDetector
from driftloop.services.detector.detectors.statistics import find_most
from driftloop.services.detector.errors import FitError, WindowFailedError
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.rows.labelled import COLUMNS, RIGHT, count_chances
from driftloop.services.detector.rows.values import Rows
from driftloop.text.words import join_some

Fit = Callable[[Rows], WindowDetector]

MOST_SCORED, LEAST_SCORED = 150, 15
"""Windows that are scored."""
MOST_VALUES = 6_000_000
"""Values that are fitted on and scored in all, a few seconds' work; slow kinds count more."""
SLOW_KINDS: dict[DetectorKind, int] = {
    "mmd": 10,
    "cvm": 10,
    "iforest": 20,
    "function": 20,
    "alibi": 50,
}
SLOW = 50
"""As much counts a detector that learns errors."""
MOVED: dict[DetectorKind, str] = {
    "quality": "are answered wrong",
    "estimate": "are answered with equal probabilities",
}
HARD = "are as hard to answer as the hardest held-out row"
"""What is done to those of an estimate of errors."""
APART = "apart from each other leave the range of the column"
"""What is done to those of a series, in which a level that stays is none that stands out."""
MOST_APART = 0.25
"""Share of the rows of a series that may be so."""
SINGLE_KINDS: tuple[DetectorKind, ...] = ("tabular", "schema", "ks", "cvm", "chi2")
"""Kinds that test one column after the other."""
LEAST_REFERENCE = 2000
"""Rows that a detector of random windows is fitted on, if there are so many, or twice the window's."""
REFUSED, WARNED = 1e-4, 1e-3
"""Probability that a good fit is refused, or warned of."""
DRAWN = 5
"""Windows that are drawn at most until one is quiet."""
SMALL = 0.5
"""Share of a window's rows that must change, above which its detector is warned of."""
MOST_LISTED = 5


@dataclass(frozen=True)
class WindowTrial:
    """Windows of the reference itself."""

    windows: int
    alarms: int
    most: int
    """Alarms that chance explains."""

    @property
    def failed(self) -> bool:
        """Return True when chance does not explain the alarms."""
        return self.alarms > self.most


@dataclass(frozen=True)
class SelfTest:
    """Results of a fit's test of itself."""

    rows: int
    """Rows of a window of the reference."""
    random: WindowTrial | None
    """Windows of rows drawn at random; None when there are too few rows."""
    ordered: WindowTrial | None
    """Windows of rows in the order of the files."""
    changed: int
    """Fewest changed rows of the smallest window that alarm."""
    window: int
    single: bool
    """They are changed in one column, not in all."""
    moved: str
    """What is done to them, where it is not that they leave their range; empty there."""
    blind: tuple[str, ...]
    """Columns of which no change alarms."""

    def describe(self) -> Iterator[str]:
        """Yield what a person should know, a line each."""
        if self.moved == APART and self.ordered is not None:
            yield (
                f"self-test: {_count(self.ordered)} windows of {self.rows} reference rows in the order of the files alarm (no more "
                f"than {self.ordered.most} by chance)"
            )
        elif self.random is None:
            yield "self-test: the reference has too few rows to judge windows of it"
        else:
            ordered = f", {_count(self.ordered)} in the order of the files" if self.ordered else ""
            yield (
                f"self-test: {_count(self.random)} windows of {self.rows} reference rows drawn at random alarm"
                f"{ordered} (no more than {self.random.most} by chance)"
            )
        where = "one column" if self.single else "all columns"
        share = self.changed / self.window
        distance = f", a Kolmogorov distance of {share:.2g}" if self.single else ""
        moved = self.moved or f"leave the range of {where}{distance}"
        yield f"self-test: alarms when {self.changed} of {self.window} rows {moved}"
        if self.moved == APART:
            yield (
                "warning: values that stand out of those beside them are seen, a level that stays is not: watch the column with "
                "`tabular` as well"
            )
        yield from self._list_warnings(share)

    def _list_warnings(self, share: float) -> Iterator[str]:
        if self.ordered is not None and self.ordered.failed:
            yield (
                f"warning: {_count(self.ordered)} windows of rows as they lie in the files alarm, of random ones "
                "hardly any: the files are sorted, or near rows are alike (seasons, sessions). If traffic comes so, "
                "clean windows alarm: use a longer `window`, or more `consecutive` alarms in `retrain`"
            )
        if share > SMALL:
            yield f"warning: less than a change of {share:.0%} of a window's rows is not seen: use a longer `window`"
        if self.blind:
            names = join_some([f"`{name}`" for name in self.blind], MOST_LISTED)
            yield f"warning: no change of {names} alone can alarm: use a longer `window`"


def _count(trial: WindowTrial) -> str:
    return f"{trial.alarms} of {trial.windows}"


def find_fitted(window: int) -> int:
    """Return the rows that a detector of windows of so many is fitted on at most."""
    return max(LEAST_REFERENCE, 2 * window)


def count_scored(config: DetectorSettings, rows: int, width: int) -> int:
    """Return the windows of a reference of so many rows and columns that are scored, about."""
    size = min(config.window, rows // 2)
    each = (min(rows, find_fitted(size)) + size) * width
    cost = each * SLOW_KINDS.get(config.kind, SLOW if config.by == "dle" else 1)
    return min(max(MOST_VALUES // cost, LEAST_SCORED), MOST_SCORED)


def examine_fit(artifact: DetectorArtifact, fit: Fit) -> SelfTest:
    """Test a detector that `fit` makes of rows; FitError when it can't be used."""
    return _Examination(artifact, fit).run()


class _Examination:
    def __init__(self, artifact: DetectorArtifact, fit: Fit) -> None:
        self._config = artifact.config
        known = artifact.config.alibi_class
        self._series = known is not None and known.form == "series"
        self._heavy = artifact.calibration is not None and artifact.calibration.heavy
        self._columns = artifact.profile.columns
        self._reference = artifact.reference
        self._fit = fit
        self._random = np.random.default_rng(self._config.seed)
        count, width = self._reference.shape
        self._size = min(self._config.window, count // 2)
        self._fitted = find_fitted(self._size)
        self._scored = count_scored(self._config, count, width)
        lost = self._config.kind == "schema"
        self._changes = np.array(
            [
                np.nan if lost else find_change(column, self._reference[:, number])
                for number, column in enumerate(self._columns)
            ]
        )
        estimates = self._config.kind == "estimate"
        self._chances = count_chances(artifact.profile) if estimates else 0
        self._inputs = bool(artifact.profile.inputs) and estimates
        if self._columns[0].name == RIGHT and self._config.kind == "quality":
            self._changes[0] = 0.0
        if self._chances:
            self._changes[COLUMNS : COLUMNS + self._chances] = 1 / self._chances
        # the more values a column has, the less one more is seen
        order = sorted(range(width), key=lambda n: -self._columns[n].distinct)
        self._tried = order[: self._scored // 5]

    def run(self) -> SelfTest:
        try:
            # rows drawn at random are no series
            drawn = None if self._series else self._try_random()
            ordered = self._try_ordered()
        except WindowFailedError:
            raise
        except FitError:
            # the reference is enough to fit on, and too little to set a window aside
            drawn = ordered = None
        if drawn is not None and drawn.failed:
            raise self._refuse_noisy(
                drawn, "drawn at random", "use `tabular`, or a longer `window`"
            )
        if self._series and ordered is not None and ordered.failed:
            hint = "use a longer `window`, or `tabular`"
            raise self._refuse_noisy(ordered, "in the order of the files", hint)
        single = self._config.kind in SINGLE_KINDS
        if self._inputs:
            detector, window = self._set_window_aside()
        else:
            detector = self._fit(self._reference)
            window = self._draw_window(detector)
        if self._series:
            changed, blind = self._find_apart(detector, window), []
        else:
            if not self._alarms(detector, window, len(window), self._list_changed()):
                all_count = len(self._reference)
                raise self._refuse_blind(
                    window,
                    f"each is the hardest one of the {all_count} held-out rows: nothing of a request tells how wrong its "
                    "answer is"
                    if self._inputs
                    else f"each value is beyond those of the {all_count} reference rows",
                )
            blind = self._find_blind(detector, window) if single else []
            changed = self._find_fewest(detector, window, blind, single=single)
        return SelfTest(
            rows=self._size,
            random=drawn,
            ordered=ordered,
            changed=changed,
            window=len(window),
            single=single,
            moved=self._tell_moved(),
            blind=tuple(self._columns[n].name for n in blind),
        )

    def _tell_moved(self) -> str:
        """Return what is done to changed rows, where it is not that they leave their range."""
        if self._series:
            return APART
        return HARD if self._inputs else MOVED.get(self._config.kind, "")

    def _refuse_noisy(self, trial: WindowTrial, how: str, hint: str) -> FitError:
        return FitError(
            f"{self._config.title} alarms on {_count(trial)} windows of {self._size} rows of its own reference, {how}; at "
            f"alarmRate {self._config.alarm_rate:g} chance explains {trial.most}",
            hint=hint,
        )

    def _refuse_blind(self, window: Rows, although: str) -> FitError:
        return FitError(
            f"{self._config.title} can't alarm: a window of {len(window)} rows stays quiet although {although}",
            hint=self._advise_blind(),
        )

    def _advise_blind(self) -> str:
        if self._heavy:
            return (
                "its scores of the training data's own windows have a heavy tail, so the threshold of the stated rate is "
                "far out: return their logarithm, a rank or a share of rows"
            )
        return "use a longer `window`, a larger `alarmRate` or another detector"

    def _list_changed(self) -> list[int]:
        """Return the columns of a change of all that is judged: of labelled answers not those of slices."""
        if self._chances:
            return list(range(COLUMNS, COLUMNS + self._chances))
        most = COLUMNS if self._config.kind == "quality" else len(self._columns)
        return list(range(most))

    def _try_random(self) -> WindowTrial | None:
        if self._size < 2:
            return None
        alarms, windows = 0, self._scored * 2 // 5
        for _ in range(windows):
            order = self._random.permutation(len(self._reference))
            alarms += self._judge_rows(order[: self._size], order[self._size :])
        return self._count_trial(windows, alarms, REFUSED)

    def _try_ordered(self) -> WindowTrial | None:
        blocks = len(self._reference) // max(self._size, 1)
        if self._size < 2 or blocks < 2:
            return None
        windows = min(blocks, self._scored // 5)
        alarms = 0
        for block in np.linspace(0, blocks - 1, windows).astype(int):
            rows = np.arange(block * self._size, (block + 1) * self._size)
            others = np.delete(np.arange(len(self._reference)), rows)
            alarms += self._judge_rows(rows, self._random.permutation(others))
        return self._count_trial(windows, alarms, WARNED)

    def _judge_rows(self, rows: np.ndarray, others: np.ndarray) -> bool:
        fitted = self._fit(self._reference[np.sort(others[: self._fitted])])
        return _judge(fitted, self._reference[rows])

    def _count_trial(self, windows: int, alarms: int, doubt: float) -> WindowTrial:
        return WindowTrial(windows, alarms, find_most(windows, self._config.alarm_rate, doubt))

    def _draw_window(self, detector: WindowDetector) -> Rows:
        """Return a window of random rows that is quiet, of as many as the smallest one has; some of them twice
        when there are too few. Of a series the first rows."""
        count, size = len(self._reference), self._config.least_rows
        if self._series and count >= size:
            return self._reference[:size]
        for _ in range(DRAWN):
            rows = self._reference[self._random.choice(count, size, replace=count < size)]
            if not _judge(detector, rows):
                break
        return rows

    def _set_window_aside(self) -> tuple[WindowDetector, Rows]:
        """Return a detector and a quiet window that it has not learnt from: a model of errors knows those of its own
        rows."""
        size = min(self._config.least_rows, len(self._reference) // 2)
        for _ in range(DRAWN):
            order = self._random.permutation(len(self._reference))
            window, others = self._reference[order[:size]], self._reference[np.sort(order[size:])]
            detector = self._fit(others)
            if not _judge(detector, window):
                break
        if isinstance(detector, EstimateDetector):
            self._changes = detector.hardest
        return detector, window

    def _alarms(
        self, detector: WindowDetector, window: Rows, count: int, columns: list[int]
    ) -> bool:
        """Return True when a window alarms of which so many rows are changed in these columns."""
        changed = window.copy()
        changed[:count, columns] = self._changes[columns]
        return _judge(detector, changed)

    def _find_apart(self, detector: WindowDetector, window: Rows) -> int:
        """Return the fewest changed rows of a series that alarm, each alone among the others; more of them may be too
        many to stand out."""
        most = max(1, int(MOST_APART * len(window)))
        counts = np.geomspace(1, most, min(most, self._scored)).astype(int)
        for count in sorted({int(each) for each in counts}):
            changed = window.copy()
            changed[np.linspace(0, len(window) - 1, count + 2)[1:-1].astype(int)] = self._changes
            if _judge(detector, changed):
                return count
        raise self._refuse_blind(
            window,
            f"up to {most} values, each alone among the others, are beyond those of the {len(self._reference)} reference rows",
        )

    def _find_blind(self, detector: WindowDetector, window: Rows) -> list[int]:
        """Return the columns of which not even a window full of other values alarms, of so many as there is
        time for."""
        blind = [n for n in self._tried if not self._alarms(detector, window, len(window), [n])]
        if len(blind) < len(self._tried):
            return blind
        raise FitError(
            f"windows of {len(window)} rows are too small for {self._config.kind}: no change of a single column "
            f"could alarm, with {len(self._columns)} columns and alarmRate {self._config.alarm_rate:g}",
            hint="use a longer `window`, or list fewer columns in `data.features`",
        )

    def _find_fewest(
        self, detector: WindowDetector, window: Rows, blind: list[int], *, single: bool
    ) -> int:
        """Return the fewest changed rows that alarm, of the least visible column."""
        seen = [[n] for n in self._tried if n not in blind]
        every = [self._list_changed()]
        sets = seen[: max(1, self._scored // 50)] if single else every
        fewest = 1
        for columns in sets:
            if self._alarms(detector, window, fewest, columns):
                continue
            quiet, loud = fewest, len(window)
            while loud - quiet > 1:
                middle = (quiet + loud) // 2
                alarms = self._alarms(detector, window, middle, columns)
                quiet, loud = (quiet, middle) if alarms else (middle, loud)
            fewest = loud
        return fewest


def _judge(detector: WindowDetector, rows: Rows) -> bool:
    """Return True for a window that alarms; FitError for one that the detector fails on."""
    verdict = detector.score_window(rows)
    if verdict.failure:
        raise WindowFailedError(verdict.failure)
    return verdict.alarm


def find_change(column: ColumnProfile, values: Rows) -> float:
    """Return a value that changes a column as far as its type lets it."""
    present = values[~np.isnan(values)]
    if not len(present):
        return 0.0
    match column.type:
        case "number" | "text":
            least, largest = float(present.min()), float(present.max())
            return largest + min(largest - least, 1e300) + max(1.0, abs(largest) * 1e-3)
        case "boolean":
            return float(present.mean() < 0.5)
        case "category":
            counts = np.bincount(present.astype(np.int64), minlength=len(column.categories))
            return float(np.argmin(counts)) if len(counts) > 1 else float(len(counts))
        case "time":
            return np.nan
        case _:
            assert_never(column.type)
