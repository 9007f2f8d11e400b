"""P-values of many two-sample tests at once, as -log10 p: nothing underflows, and nothing but numpy is
needed.

Sources: Birnbaum and Tingey (1951) for the one-sided Kolmogorov-Smirnov statistic, Vrbik (2018) for the
two-sided one's limit at finite sizes, Mann and Whitney (1947) and Ansari and Bradley (1960) for ranks, with
the expansion of Cornish and Fisher (1938), the hypergeometric law (Fisher's exact test) and the binomial one
(Clopper and Pearson, 1934).
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]

LOG10 = math.log(10)
_EXACT_BELOW = math.log(0.2)
"""Logarithm of the p-value below which the Kolmogorov-Smirnov test's is exact but for its second term."""
_TERMS = np.arange(1, 101)[:, None]
_SIGNS = np.where(_TERMS % 2, 1.0, -1.0)
"""Of the series of Kolmogorov's law."""
_CHUNK = 2_000_000
"""Numbers of one matrix at most."""
FEWEST_RANKS = 10
"""Different values of a sample whose ranks are tested; the sums of fewer take too few values."""
MOST_SKEW = 0.2
"""Skewness of a sum of ranks up to which its law is known well enough."""
_DRAWN, _MOST_DRAWN = 400, 64
"""Samples that are drawn to see how they turn out, and tests of each at most."""
_GRAIN = 16
"""Window sizes in a doubling that are told apart there."""


@dataclass(frozen=True)
class RankMoments:
    """Mean, variance and skewness of a function of the ranks of a sample's values."""

    mean: float
    variance: float
    skewness: float

    @classmethod
    def from_values(cls, values: Numbers) -> "RankMoments":
        """Return the moments of values."""
        mean = float(values.mean())
        variance = float(((values - mean) ** 2).mean())
        third = float(((values - mean) ** 3).mean())
        return cls(mean, variance, third / variance**1.5 if variance > 0 else 0.0)

    @classmethod
    def from_counts(cls, values: Numbers, counts: Counts) -> "RankMoments":
        """Return the moments of values that come up so many times."""
        rows = counts.sum()
        mean = float(values @ counts / rows)
        variance = float((values - mean) ** 2 @ counts / rows)
        third = float((values - mean) ** 3 @ counts / rows)
        return cls(mean, variance, third / variance**1.5 if variance > 0 else 0.0)


UNTIED = (RankMoments(0.5, 1 / 12, 0.0), RankMoments(0.25, 1 / 48, 0.0))
"""Moments of the ranks (as shares of all) of values without ties, and of their distances from the middle."""


@dataclass(frozen=True)
class SortedSample:
    """A sample that many others are held against."""

    values: Numbers
    """Sorted."""
    ties: bool
    moments: tuple[RankMoments, RankMoments] | None = UNTIED
    """Moments of the ranks (as shares of all), and of their distances from the middle; None when there are
    too few different ones."""

    @classmethod
    def from_sorted(cls, values: Numbers) -> "SortedSample":
        """Return the sample of sorted values."""
        sample = cls(values, bool((values[1:] == values[:-1]).any()))
        return sample if not sample.ties else cls(values, True, _find_moments(sample))

    def rank_values(self, window: Numbers) -> tuple[Counts, Counts]:
        """Return how many values lie below each of a window's, and how many not above it."""
        below = self.values.searchsorted(window, side="left")
        if self.ties:
            return below, self.values.searchsorted(window, side="right")
        nearest = self.values.take(below, mode="clip")
        return below, below + (nearest == window)


def _find_moments(sample: SortedSample) -> tuple[RankMoments, RankMoments] | None:
    values, counts = np.unique(sample.values, return_counts=True)
    if len(values) < FEWEST_RANKS:
        return None
    shares = np.repeat((np.cumsum(counts) - counts / 2) / len(sample.values), counts)
    return RankMoments.from_values(shares), RankMoments.from_values(np.abs(shares - 0.5))


@dataclass(frozen=True)
class SampleGaps:
    """Gaps of windows in the samples that they are held against, one of each."""

    gaps: Numbers
    """Largest gaps between the distribution functions."""
    ranks: Numbers
    """Mean ranks of the windows' values in the samples, as shares of their rows."""
    distances: Numbers
    """Mean distances of these ranks from the middle."""


def measure_gaps(samples: Sequence[tuple[SortedSample, Numbers]]) -> Numbers:
    """Return the largest gap between the distribution functions of each sample and its sorted window."""
    return compare_samples(samples).gaps


def compare_samples(samples: Sequence[tuple[SortedSample, Numbers]]) -> SampleGaps:
    """Return how each sorted window lies in its sample.

    The largest gap is reached at a value of the window, or just below one.
    """
    gaps, ranks, distances = np.empty((3, len(samples)))
    lengths = np.array([len(window) for _, window in samples])
    for length in np.unique(lengths):
        members = np.flatnonzero(lengths == length)
        below = np.empty((len(members), length))
        upto = np.empty((len(members), length))
        for row, number in enumerate(members.tolist()):
            below[row], upto[row] = samples[number][0].rank_values(samples[number][1])
        sizes = np.array([len(samples[number][0].values) for number in members.tolist()])[:, None]
        steps = np.arange(length + 1) / length
        gaps[members] = np.maximum(
            (steps[1:] - upto / sizes).max(axis=1), (below / sizes - steps[:-1]).max(axis=1)
        )
        shares = (below + upto) / (2 * sizes)
        ranks[members] = shares.mean(axis=1)
        distances[members] = np.abs(shares - 0.5).mean(axis=1)
    return SampleGaps(gaps, ranks, distances)


def score_ranks(mean: float, moments: RankMoments, window: int, reference: int) -> float | None:
    """Return -log10 p of a window's mean rank, or mean distance from the middle, in a reference with these
    moments: Mann and Whitney's test, or Ansari and Bradley's.

    Both sides. The normal law of a sum, with a correction for its skewness where that makes the test more
    cautious; None where there is too much of it.
    """
    spread = 1 / window + 1 / reference
    skewness = moments.skewness * _scale_skewness(window, reference)
    if moments.variance <= 0 or abs(skewness) > MOST_SKEW:
        return None
    z = (mean - moments.mean) / math.sqrt(moments.variance * spread)
    longer = math.copysign(skewness, skewness * z) if z else 0.0
    size = abs(z)
    if size > 1:
        size = max(1.0, size - max(0.0, longer) * (size**2 - 1) / 6)
    return max(0.0, -_log_erfc(size / math.sqrt(2)) / LOG10)


def take_ranks(
    variances: Numbers, skewness: Numbers, window: int, reference: int
) -> NDArray[np.bool_]:
    """Return of which moments `score_ranks` returns a score."""
    taken: NDArray[np.bool_] = (variances > 0) & (
        np.abs(skewness * _scale_skewness(window, reference)) <= MOST_SKEW
    )
    return taken


def _scale_skewness(window: int, reference: int) -> float:
    """Return the skewness of the difference of two means over that of their values."""
    spread = 1 / window + 1 / reference
    return float((1 / window**2 - 1 / reference**2) / spread**1.5)


def score_gaps(gaps: Numbers, window: Counts, reference: Counts) -> Numbers:
    """Return -log10 p of the two-sided Kolmogorov-Smirnov test for largest gaps between samples of so
    many rows.

    As scipy's asymptotic `ks_2samp`, to four digits of p and better; ties make it conservative. No p is
    smaller than that of two samples side by side.
    """
    rows = window + reference
    sizes = np.maximum(np.round(window * (reference / rows)), 1.0)
    table = log_factorials(int(rows.max(initial=0)))
    most = table[rows] - table[window] - table[reference] - math.log(2)
    gaps = np.minimum(gaps, 1.0)
    root = gaps * np.sqrt(sizes)
    x = root + 1 / (6 * np.sqrt(sizes)) + (root - 1) / (4 * sizes)
    with np.errstate(under="ignore"):
        series = 2 * np.sum(_SIGNS * np.exp(-2 * (_TERMS * x) ** 2), axis=0)
    rough = np.where(x < 0.2, 1.0, np.clip(series, 1e-300, 1.0))
    logs = np.log(rough)
    tail = logs < _EXACT_BELOW
    if tail.any():
        one_sided = np.array(
            [_log_one_sided(gap, size) for gap, size in zip(gaps[tail], sizes[tail], strict=True)]
        )
        # both sides at once, counted twice
        with np.errstate(under="ignore", invalid="ignore"):
            both = np.nan_to_num(np.exp(np.minimum(-8 * x[tail] ** 2 - one_sided, 0.0)))
        logs[tail] = math.log(2) + one_sided + np.log1p(-np.minimum(both, 0.5))
    return np.clip(-logs, 0.0, np.maximum(most, 0.0)) / LOG10


def _log_one_sided(gap: float, size: float) -> float:
    """Return the logarithm of P(D+ >= gap), exactly: a sum over the steps of the sample's distribution
    function where the line above it may be crossed first."""
    if gap >= 1:
        return -math.inf
    n = int(size)
    j = np.arange(int(n * (1 - gap)) + 1)
    rest = np.maximum(1 - gap - j / n, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.where(n - j > 0, (n - j) * np.log(rest), 0.0)
    terms = _log_choose(n, j) + (j - 1) * np.log(gap + j / n) + ends
    return math.log(gap) + float(sum_logs(terms[None, :])[0])


def score_counts(hits: Counts, window: Counts, before: Counts, reference: Counts) -> Numbers:
    """Return -log10 p that `hits` of `window` rows and `before` of `reference` rows have the same
    share: twice the smaller tail of the hypergeometric law, exact whatever the sizes."""
    total, rows = hits + before, window + reference
    upper = hits * rows >= total * window
    low = np.where(upper, hits, np.maximum(0, total - reference))
    high = np.where(upper, np.minimum(total, window), hits)
    widths = high - low + 1
    scores = np.empty(len(hits))
    order = np.argsort(widths, kind="stable")
    table = log_factorials(int(rows.max(initial=0)))
    start = 0
    while start < len(order):
        count = max(1, _CHUNK // int(widths[order[-1]]))
        part = order[start : start + count]
        x = low[part, None] + np.arange(int(widths[part].max()))[None, :]
        inside = x <= high[part, None]
        x = np.minimum(x, high[part, None])
        k, m, n = total[part, None], window[part, None], rows[part, None]
        logs = table[k] - table[x] - table[k - x]
        logs = logs + table[n - k] - table[m - x] - table[n - k - m + x]
        logs = logs - (table[n] - table[m] - table[n - m])
        tails = sum_logs(np.where(inside, logs, -np.inf))
        scores[part] = -(math.log(2) + tails) / LOG10
        start += count
    return np.maximum(scores, 0.0)


def score_squares(square: float, freedom: int) -> float:
    """Return -log10 of the probability that chi-squared with `freedom` degrees exceeds `square`: the
    sum of a density's integrals by parts, which ends for half-integers."""
    if square <= 0 or freedom <= 0:
        return 0.0
    x = square / 2
    a = 0.5 if freedom % 2 else 1.0
    terms = [_log_erfc(math.sqrt(x)) if freedom % 2 else -x]
    while a < freedom / 2:
        terms.append(a * math.log(x) - x - math.lgamma(a + 1))
        a += 1
    return max(-float(sum_logs(np.array([terms]))[0]) / LOG10, 0.0)


@functools.cache
def _list_tails() -> tuple[Numbers, Numbers]:
    """Return distances in standard deviations, and -log10 of the probability of both tails beyond them."""
    distances = np.concatenate(
        [np.arange(0, 8, 0.01), np.arange(8, 60, 0.05), np.arange(60, 900.0)]
    )
    logs = np.array([_log_erfc(float(z) / math.sqrt(2)) for z in distances])
    return distances, -logs / LOG10


def convert_scores(scores: Numbers) -> Numbers:
    """Return the distance, in standard deviations, of a normal variable with each two-sided -log10 p."""
    distances, tails = _list_tails()
    converted: Numbers = np.interp(scores, tails, distances)
    return converted


def restore_scores(distances: Numbers) -> Numbers:
    """Return the two-sided -log10 p of each distance in standard deviations."""
    table, tails = _list_tails()
    scores: Numbers = np.interp(distances, table, tails)
    return scores


def correct_sharing(rate: float, tests: int, window: int, reference: int) -> float:
    """Return by how much -log10 p of the surest of so many independent tests must be lowered, so that 19 of 20
    releases alarm on no more than `rate` of clean windows.

    p-values are right on average over samples of the training data. But all windows of a release are held
    against one, and alarm together more seldom or oftener by how that one turned out, the more so the longer
    they are beside it. Samples are drawn as normal variables, which the tests' statistics nearly are.
    """
    grain = 2 ** (math.ceil(math.log2(window) * _GRAIN) / _GRAIN)
    return _correct_sharing(rate, min(max(1, tests), _MOST_DRAWN), round(grain), reference)


@functools.lru_cache(maxsize=1024)
def _correct_sharing(rate: float, tests: int, window: int, reference: int) -> float:
    random = np.random.default_rng(0)
    shared = window / (window + reference)
    turned = random.normal(size=(_DRAWN, tests)) * math.sqrt(shared)
    low, high = 0.0, 4.0
    for _ in range(12):
        middle = (low + high) / 2
        bound = -NormalDist().inv_cdf(rate / 10**middle / tests / 2)
        shares = _find_tail(np.stack([bound - turned, bound + turned]) / math.sqrt(1 - shared))
        often = float(np.quantile(shares.sum(axis=(0, 2)), 0.95)) > rate
        low, high = (middle, high) if often else (low, middle)
    return high


def _find_tail(z: Numbers) -> Numbers:
    """Return the share of a normal law above z, to 1e-7 of it (Press et al., "Numerical Recipes", 1992)."""
    x = np.abs(z) / math.sqrt(2)
    t = 1 / (1 + x / 2)
    with np.errstate(under="ignore"):
        tail = t / 2 * np.exp(-x * x + np.polyval(_TAIL, t))
    return np.where(z >= 0, tail, 1 - tail)


_TAIL = (
    *(0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807),
    *(-0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223),
)
"""Coefficients, the highest power first."""


@functools.lru_cache(maxsize=1024)
def find_most(rows: int, share: float, rate: float) -> int:
    """Return the smallest number that is exceeded with a probability of at most `rate` by how many of
    `rows` rows are of a kind that comes up in `share` of them: the binomial law, exactly."""
    logs = _log_binomial(rows, np.arange(rows + 1), share)
    with np.errstate(under="ignore"):
        beyond = np.cumsum(np.exp(logs[::-1]))[::-1]
    return int(np.argmax(np.append(beyond[1:], 0.0) <= rate))


@functools.lru_cache(maxsize=1024)
def bound_share(rows: int, hits: int, doubt: float) -> float:
    """Return the share that is exceeded with a probability of `doubt` when `hits` of `rows` rows are of a
    kind: Clopper and Pearson's upper bound, by bisection."""
    k = np.arange(hits + 1)
    low, high = hits / rows, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        with np.errstate(under="ignore"):
            likely = float(np.exp(_log_binomial(rows, k, middle)).sum()) > doubt
        low, high = (middle, high) if likely else (low, middle)
    return high


def _log_binomial(rows: int, hits: Counts, share: float) -> Numbers:
    share = min(max(share, 1e-300), 1 - 1e-16)
    logs: Numbers = hits * math.log(share) + (rows - hits) * math.log1p(-share)
    return _log_choose(rows, hits) + logs


def _log_erfc(x: float) -> float:
    if x < 25:
        return math.log(math.erfc(x))
    return -x * x - math.log(x * math.sqrt(math.pi)) + math.log1p(-1 / (2 * x * x))


def _log_choose(n: int, j: Counts) -> Numbers:
    table = log_factorials(n)
    logs: Numbers = table[n] - table[j] - table[n - j]
    return logs


_factorials: Numbers = np.zeros(1)


def log_factorials(most: int) -> Numbers:
    """Return the logarithms of 0! to `most`! and further; they are kept."""
    global _factorials  # noqa: PLW0603
    if len(_factorials) <= most:
        logs = np.log(np.arange(1, 2 * most + 2, dtype=np.float64))
        _factorials = np.concatenate([[0.0], np.cumsum(logs)])
    return _factorials


def sum_logs(logs: Numbers) -> Numbers:
    """Return the logarithm of the sum of each row's exponentials."""
    top = logs.max(axis=1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(under="ignore", divide="ignore"):
        sums: Numbers = np.log(np.exp(logs - safe[:, None]).sum(axis=1)) + safe
    return sums
