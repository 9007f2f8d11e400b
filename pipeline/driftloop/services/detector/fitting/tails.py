"""Tails of what windows of the training data score: the value that a share of windows like them exceeds at most.

Of a test's distance the tail is taken for exponential above the median: that of -log10 p is, that of a sum of squares
nearly, and distances have a lighter one, which makes the bound more cautious; where it is heavier the largest of them is
the least bound. Its scale is the upper bound of 19 of 20 releases.

A function's scores may have any tail. With windows side by side enough for the rate their ranks alone bound it, whatever
the tail is (`bound_ranks`). With fewer, unless the tail is clearly lighter than exponential by Greenwood's statistic, all
generalized Pareto laws that explain them are asked, of tails that end, exponential ones and powers, and the furthest
quantile counts (the profile likelihood of Coles, "An introduction to statistical modeling of extreme values", 2001).
Where many scores are 0, or few rows show what looks like a heavy tail, the logarithms of the largest are taken for
exponential (Hill's estimate of a power law). Both with no more evidence than as many windows give as the rows hold side by
side, but half of the windows where the tail does not look heavy.
"""

import math
from statistics import NormalDist

import numpy as np

from driftloop.services.detector.detectors.statistics import bound_share
from driftloop.services.detector.rows.values import Rows

DOUBT = 0.05
"""Share of releases whose bound may be too low by chance."""
HEAVY, LIGHT = 0.2, 0.5
"""Probabilities that an exponential tail is called heavier by a person's log, and that its law is looked for."""
PILED = 0.1
"""Part of the windows with the smallest score, mostly 0, from which on too few others are left to show a tail."""
LEAST_WORTH = 0.5
"""Part of the windows that must count as such for all laws to be asked; where the tail does not look heavy, so many
do, however few rows they are drawn from."""
FEWEST_BEYOND = 3
"""Largest scores that a power law is told from."""
MOST_POWER = 600.0
"""Bound of an exponent, so that what it makes is a number."""
DRAWS = 2000
"""Exponential samples that Greenwood's statistic is compared with."""
SHAPES = np.linspace(-0.5, 1.5, 41)
"""Shapes of the laws that are asked: below 0 tails that end, 0 the exponential one, above it powers."""
SCALES = np.exp(np.linspace(-2.5, 1.5, 60))
"""Their scales, in means of what is beyond the median."""
UNLIKELY = 1.92
"""Logarithm by which a law may be less likely than the likeliest, and explain the scores: half of the 95 % quantile
of chi-squared."""


def bound_tail(severities: Rows, rate: float) -> float:
    """Return the value that a share `rate` of values like these exceeds at most, in 19 of 20 cases."""
    middle = float(np.median(severities))
    excess = severities[severities > middle] - middle
    if not len(excess):
        return middle
    scale = float(excess.mean()) * len(excess) / _find_least_sum(len(excess))
    # a heavier tail shows in the largest ones
    largest = float(np.quantile(severities, 1 - rate, method="higher"))
    return max(largest, middle + scale * max(0.0, math.log(0.5 / rate)))


def count_ranked(rate: float) -> int:
    """Return how many windows without rows in common bound a rate by their ranks alone, in 19 of 20 cases."""
    return math.ceil(math.log(DOUBT) / math.log1p(-rate))


def bound_ranks(severities: Rows, rate: float) -> float | None:
    """Return the value that a share `rate` of values like these exceeds at most in 19 of 20 cases, whatever law they
    have: one of the largest of them, by Clopper and Pearson's bound. None of too few values."""
    ranked = np.sort(severities)[::-1]
    found = None
    for beyond, value in enumerate(ranked.tolist()):
        if bound_share(len(ranked), beyond, DOUBT) > rate:
            break
        found = value
    return found


def prove_rate(severities: Rows, bound: float) -> float:
    """Return the share of values like these that exceeds a bound at most in 19 of 20 cases, whatever law they have."""
    return bound_share(len(severities), int((severities > bound).sum()), DOUBT)


def bound_heavy_tail(severities: Rows, rate: float, apart: int) -> float:
    """Return the value that a share `rate` of scores like these exceeds at most, whatever their tail; 0 where it is
    lighter than exponential. They are worth no more than `apart` values of windows without rows in common."""
    middle = float(np.median(severities))
    beyond = np.sort(severities[severities > max(middle, 0.0)])
    if len(beyond) < 2 * FEWEST_BEYOND:
        return 0.0
    worth = min(1.0, apart / len(severities))
    excess = beyond - middle
    few = worth < LEAST_WORTH and _is_heavy(excess, HEAVY)
    if few or _is_piled(severities):
        return _bound_power(beyond, rate, len(severities), worth)
    if not _is_heavy(excess, LIGHT):
        return 0.0
    # windows of the same rows share single large values, and hardly their means
    return middle + _bound_excess(excess, rate, max(worth, LEAST_WORTH))


def looks_heavy(severities: Rows) -> bool:
    """Return True for scores that are mostly 0, or whose tail is heavier than exponential."""
    middle = float(np.median(severities))
    excess = severities[severities > middle] - middle
    return _is_piled(severities) or (len(excess) > 1 and _is_heavy(excess, HEAVY))


def _is_piled(severities: Rows) -> bool:
    return float((severities == severities.min()).mean()) >= PILED


def _bound_power(beyond: Rows, rate: float, windows: int, worth: float) -> float:
    """Return the quantile of a power law of the larger half of the scores beyond the median."""
    start, largest = beyond[len(beyond) // 2 - 1], beyond[len(beyond) // 2 :]
    count = max(FEWEST_BEYOND, round(len(largest) * worth))
    share = bound_share(max(1, round(windows * worth)), count, DOUBT)
    slope = float(np.log(largest / start).mean()) * count / _find_least_sum(count)
    power = slope * max(0.0, math.log(share / rate))
    return float(start) * math.exp(min(power, MOST_POWER))


def _bound_excess(excess: Rows, rate: float, worth: float) -> float:
    """Return the furthest quantile of all generalized Pareto laws that explain what lies beyond the median."""
    scales = float(excess.mean()) * SCALES
    shapes = np.where(SHAPES == 0, 1e-9, SHAPES)
    inside = 1 + shapes[:, None, None] * excess / scales[None, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(inside > 0, -(1 + 1 / shapes[:, None, None]) * np.log(inside), -np.inf)
    likely = worth * (logs.sum(axis=2) - len(excess) * np.log(scales))
    times = max(0.0, math.log(0.5 / rate))
    quantiles = np.outer(np.expm1(np.minimum(shapes * times, MOST_POWER)) / shapes, scales)
    return float(quantiles[likely >= likely.max() - UNLIKELY].max())


def _find_least_sum(count: int) -> float:
    """Return the lower bound of the sum of so many exponentials of mean 1: Wilson and Hilferty's quantile of
    chi-squared, which twice the sum is."""
    spread = 1 / (9 * count)
    return float(count * (1 - spread + NormalDist().inv_cdf(DOUBT) * math.sqrt(spread)) ** 3)


def _is_heavy(excess: Rows, level: float) -> bool:
    """Return True for values that are further apart than so many of as many exponential ones are, by Greenwood's
    statistic."""
    drawn = np.random.default_rng(len(excess)).exponential(size=(DRAWS, len(excess)))
    usual = np.quantile((drawn**2).sum(axis=1) / drawn.sum(axis=1) ** 2, 1 - level)
    return bool((excess**2).sum() / excess.sum() ** 2 > usual)
