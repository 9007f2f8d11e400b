"""Bounds beyond a detector's own threshold that a window must pass for its rate to be the stated one: of classes of
alibi-detect, whose p-values are those of random rows, and of a person's functions, whose thresholds are guesses.

Windows of the training data are judged by detectors that are fitted on other rows, drawn at random and as they lie
in the files. How far each is beyond the threshold (`WindowVerdict.severity`) is a number whose tail says how far a window
must be (`tails`), of 19 of 20 releases. Where windows as they lie are further than random ones (sessions, seasons)
theirs alone count; of a sorted file nothing is learnt. What all windows of a release share, its reference, is taken off
as well (`statistics.correct_sharing`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import WindowDetector
from driftloop.services.detector.detectors.calibration import Calibration, find_strictness
from driftloop.services.detector.detectors.statistics import correct_sharing
from driftloop.services.detector.errors import FitError, WindowFailedError
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.fitting.selftest import find_change
from driftloop.services.detector.fitting.tails import (
    bound_heavy_tail,
    bound_ranks,
    bound_tail,
    count_ranked,
    looks_heavy,
    prove_rate,
)
from driftloop.services.detector.rows.values import Rows

MOST_JUDGED, MOST_SLOW, MOST_TRAINED = 40, 20, 16
"""Windows of each order that are judged; of classes with a framework, and of those that train a network for each."""
MOST_RANKED = 400
"""Windows side by side of a function that are judged where so many bound its rate by their ranks alone."""
FEWEST_BLOCKS = 5
"""Windows side by side that the rows must have for their order to say something."""
FEWEST = 10
"""Windows with which a tail can be told."""
FITTED = 2000
"""Rows that a detector of such a window is fitted on, if there are so many, or twice the window's."""
FURTHER = 0.01
"""Probability that windows as they lie count alone though they are no further than random ones."""
Fit = Callable[[Rows], WindowDetector]


def learn_bound(artifact: DetectorArtifact, fit: Fit, order: Calibration) -> Calibration:
    """Return what the order of the rows says, with the bound; without one where there are too few rows, or the
    detector has no scores."""
    trials = _Trials(artifact, fit)
    try:
        drawn = list(trials.judge_drawn())
        blocks = list(trials.judge_blocks()) if order.usable else []
    except WindowFailedError:
        raise
    except FitError:
        # the reference is enough to fit on, and too little to set a window aside
        return order
    found = _choose_windows(drawn, blocks)
    if len(found) < FEWEST:
        return order
    rate = _find_rate(artifact.config, order, trials.size, trials.fitted)
    severities, judged = np.array(found), len(drawn) + len(blocks)
    bound = bound_tail(severities, rate)
    if artifact.config.kind != "function":
        return replace(order, bound=round(bound, 4), judged=judged)
    needed = count_ranked(rate)
    if needed <= min(trials.apart, MOST_RANKED):
        ranked = bound_ranks(np.array(list(trials.judge_apart(needed, ordered=order.usable))), rate)
        if ranked is not None:
            return replace(order, bound=round(ranked, 4), judged=needed)
    power = bound_heavy_tail(severities, rate, len(artifact.reference) // max(1, trials.size))
    furthest = max(bound, power)
    heavy = power > bound and looks_heavy(severities)
    if power > bound and not heavy and not any(far > furthest for far in trials.judge_changed()):
        # a law that these scores do not exclude, and do not ask for either, would leave nothing to see
        furthest = bound
    return replace(
        order,
        bound=round(furthest, 4),
        judged=judged,
        heavy=heavy or None,
        proven=prove_rate(_take_apart(blocks, trials.apart), furthest) if blocks else None,
        wanted=needed * trials.size,
    )


def _take_apart(blocks: list[float], apart: int) -> Rows:
    """Return the windows as they lie that have no rows in common."""
    return np.array(blocks if len(blocks) <= apart else blocks[::2])


def _find_rate(config: DetectorSettings, order: Calibration, window: int, fitted: int) -> float:
    """Return the rate of windows that is the stated one of each release, and of windows that are alike."""
    lower = correct_sharing(config.alarm_rate, 1, window, fitted)
    return config.alarm_rate / 10 ** (lower + find_strictness(config, order.find_largest(window)))


def _choose_windows(drawn: list[float], blocks: list[float]) -> list[float]:
    """Return the windows as they lie when these are further than random ones, else all."""
    if len(blocks) < FEWEST or not drawn:
        return [*drawn, *blocks]
    both = np.array([*blocks, *drawn])
    ranks = (both[:, None] > both).sum(axis=1) + (both[:, None] == both).sum(axis=1) / 2
    one, other = len(blocks), len(drawn)
    z = (ranks[:one].mean() - len(both) / 2) / math.sqrt(other * (one + other + 1) / (12 * one))
    return blocks if z > NormalDist().inv_cdf(1 - FURTHER) else [*drawn, *blocks]


def find_most_judged(config: DetectorSettings) -> int:
    """Return the windows of each order that are judged."""
    known = config.alibi_class
    if known is None:
        return MOST_JUDGED
    slow = MOST_SLOW if known.framework else MOST_JUDGED
    return MOST_TRAINED if "epochs" in known.settings else slow


class _Trials:
    """Windows of the training data, judged by detectors that are fitted on other rows."""

    def __init__(self, artifact: DetectorArtifact, fit: Fit) -> None:
        self._reference, self._ordered, self._fit = artifact.reference, artifact.ordered, fit
        self._rows = artifact.reference if artifact.ordered is None else artifact.ordered
        config, self._columns = artifact.config, artifact.profile.columns
        self.size = min(config.window, len(self._reference) // 2)
        self.fitted = min(max(FITTED, 2 * self.size), len(self._reference) - self.size)
        self._random = np.random.default_rng([config.seed, 1])
        self._most = find_most_judged(config)

    @property
    def apart(self) -> int:
        """Windows without rows in common that there are."""
        return len(self._rows) // self.size if self.size > 1 else 0

    def judge_drawn(self) -> Iterator[float]:
        """Yield how far windows of random rows are."""
        for _ in range(self._most if self.size > 1 else 0):
            order = self._random.permutation(len(self._reference))
            window, others = order[: self.size], order[self.size :][: self.fitted]
            yield from self._judge(self._reference[window], self._reference[np.sort(others)])

    def judge_blocks(self) -> Iterator[float]:
        """Yield how far windows of rows as they lie are; half of one may be that of another."""
        if self._ordered is None or self.apart < FEWEST_BLOCKS:
            return
        count = min(self._most, 2 * self.apart - 1)
        for start in np.linspace(0, len(self._rows) - self.size, count).astype(int):
            yield from self._judge_inside(np.arange(start, start + self.size))

    def judge_apart(self, count: int, *, ordered: bool) -> Iterator[float]:
        """Yield how far so many windows without rows in common are: as they lie where their order says something, else of
        random rows."""
        every = len(self._rows)
        places = np.arange(every) if ordered else self._random.permutation(every)
        for number in np.linspace(0, self.apart - 1, count).astype(int).tolist():
            yield from self._judge_inside(places[number * self.size : (number + 1) * self.size])

    def judge_changed(self) -> Iterator[float]:
        """Yield how far a window is of which each value is beyond those of all rows."""
        columns = self._columns
        changed = [find_change(each, self._reference[:, n]) for n, each in enumerate(columns)]
        yield from self._judge(
            np.tile(np.array(changed), (self.size, 1)), self._reference[-self.fitted :]
        )

    def _judge_inside(self, places: np.ndarray) -> Iterator[float]:
        """Yield how far the window of the rows at these places is, by a detector of other ones."""
        others = np.delete(np.arange(len(self._rows)), places)
        chosen = self._random.choice(others, min(self.fitted, len(others)), replace=False)
        yield from self._judge(self._rows[places], self._rows[np.sort(chosen)])

    def _judge(self, window: Rows, others: Rows) -> Iterator[float]:
        verdict = self._fit(others).score_window(window)
        if verdict.failure:
            raise WindowFailedError(verdict.failure)
        if verdict.severity is not None:
            yield verdict.severity
