"""What the fit of a class of alibi-detect costs. Calibration and self-test judge dozens of windows of the training data;
of a class that trains a network for each, or draws permutations, that takes minutes. It is told before, and while it goes
on; and how long one window takes, beside the traffic that the spec expects.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator

from driftloop.contract.budgets import write_traffic
from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import WindowDetector, WindowVerdict
from driftloop.services.detector.fitting.bounds import find_most_judged
from driftloop.services.detector.fitting.selftest import DRAWN, Fit, count_scored
from driftloop.services.detector.rows.values import Rows

EVERY = 60.0
"""Seconds between two lines of progress; a fit that takes no longer has none."""
LEAST = 0.1
"""Seconds of a window from which on they are worth a line."""


class FitCosts:
    """Keeps how long fits and windows of a detector take. Of kinds other than `alibi` it keeps nothing."""

    def __init__(
        self,
        config: DetectorSettings,
        shape: tuple[int, ...],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`shape` is that of the reference (rows, columns); `tell` is given the lines of progress."""
        self._config, self._tell, self._clock = config, tell, clock
        self._name = config.title
        self._most = _count_most(config, *shape)
        self._began = self._told = clock()
        self._fitting: list[float] = []
        self._judging: list[float] = []

    def time(self, fit: Fit) -> Fit:
        """Return what fits a detector, and keeps how long that and its windows take."""
        if self._config.alibi is None:
            return fit

        def fit_timed(rows: Rows) -> WindowDetector:
            began = self._clock()
            detector = fit(rows)
            self._fitting.append(self._clock() - began)
            return _TimedDetector(detector, self)

        return fit_timed

    def judge(self, detector: WindowDetector, rows: Rows) -> WindowVerdict:
        """Judge a window by a detector that was fitted."""
        began = self._clock()
        verdict = detector.score_window(rows)
        now = self._clock()
        self._judging.append(now - began)
        # the first one loads a framework
        if len(self._judging) == 2:
            self._tell_expected(len(rows))
        elif now - self._told >= EVERY:
            self._told = now
            self._tell(
                f"{self._name}: {len(self._judging)} windows are judged, of at most {self._most}, in {now - self._began:.0f} s"
            )
        return verdict

    def _tell_expected(self, rows: int) -> None:
        fitting, judging = self._fitting[-1], self._judging[-1]
        expected = self._most * (fitting + judging)
        if expected > EVERY:
            self._tell(
                f"{self._name}: a fit takes {fitting:.1f} s here, and a window of {rows} rows {judging:.1f} s; calibration and "
                f"self-test judge at most {self._most}, about {expected / 60:.0f} minutes"
            )

    def describe(self) -> Iterator[str]:
        """Yield what a person should know, a line each: nothing of windows that take no time."""
        if not self._judging or (seconds := statistics.median(self._judging)) < LEAST:
            return
        window, most = self._config.window, self._config.window / seconds
        yield (
            f"a window of {window} rows takes {seconds:.2g} s to judge here: above {write_traffic(most)} the detector falls behind"
        )
        budget = self._config.budget
        if budget is not None and budget.traffic > most:
            yield (
                f"warning: at the spec's traffic of {write_traffic(budget.traffic)} it does: use a longer `window`, settings that "
                "take less time, or another detector"
            )


class _TimedDetector:
    def __init__(self, detector: WindowDetector, costs: FitCosts) -> None:
        self._detector, self._costs = detector, costs

    def score_window(self, rows: Rows) -> WindowVerdict:
        return self._costs.judge(self._detector, rows)


def _count_most(config: DetectorSettings, rows: int, width: int) -> int:
    """Return the windows that calibration and self-test judge at most."""
    known = config.alibi_class
    bounds = 1 if known is not None and known.scores_rows else 2 * find_most_judged(config)
    drawn = count_scored(config, rows, width) * 3 // 5
    return bounds + drawn + DRAWN + 2 + math.ceil(math.log2(config.window))
