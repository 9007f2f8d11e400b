"""P-values of ranks, and what all windows of a release share."""

from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from driftloop.services.detector.detectors.statistics import (
    LOG10,
    SortedSample,
    bound_share,
    compare_samples,
    correct_sharing,
    find_most,
    score_ranks,
)

Rows = NDArray[np.float64]
TRIALS = 1000


def score_both(reference: Rows, window: Rows) -> tuple[float | None, float | None]:
    """Scores of the mean rank and of the mean distance from the middle."""
    sample = SortedSample.from_sorted(np.sort(reference))
    found = compare_samples([(sample, np.sort(window))])
    assert sample.moments is not None
    sizes = len(window), len(reference)
    ranks, distances = sample.moments
    return (
        score_ranks(float(found.ranks[0]), ranks, *sizes),
        score_ranks(float(found.distances[0]), distances, *sizes),
    )


@pytest.mark.parametrize("levels", [None, 40], ids=["untied", "ties"])
@pytest.mark.parametrize(("rows", "size"), [(2000, 50), (200, 200)])
def test_ranks_of_clean_windows_are_as_rare_as_they_say(
    levels: int | None, rows: int, size: int
) -> None:
    random = np.random.default_rng(rows)

    def draw(count: int) -> Rows:
        if levels is None:
            return random.standard_cauchy(count)
        return random.binomial(levels - 1, 0.3, count).astype(float)

    scores = np.array([score_both(draw(rows), draw(size)) for _ in range(TRIALS)], dtype=float)
    for kind in scores.T:
        for rate in (0.05, 0.005):
            assert (kind >= -np.log10(rate)).sum() <= find_most(TRIALS, rate, 1e-4)
        assert bound_share(TRIALS, int((kind >= -np.log10(0.05)).sum()), 1e-4) >= 0.03


def test_a_shift_moves_the_ranks_and_a_scale_their_distances() -> None:
    random = np.random.default_rng(0)
    reference, window = random.normal(size=2000), random.normal(size=200)
    shifted, scaled = score_both(reference, window + 0.5), score_both(reference, window * 1.6)
    assert shifted[0] is not None
    assert shifted[1] is not None
    assert scaled[0] is not None
    assert scaled[1] is not None
    assert shifted[0] > 6 > 2 > shifted[1]
    assert scaled[1] > 6 > 2 > scaled[0]


def test_ranks_of_few_or_lopsided_values_are_not_tested() -> None:
    assert SortedSample.from_sorted(np.repeat([0.0, 1.0], 100)).moments is None
    zeros = np.concatenate([np.zeros(1990), np.arange(1.0, 11.0)])
    assert score_both(zeros, zeros[-50:]) == (None, None)


@pytest.mark.parametrize("tests", [1, 20])
@pytest.mark.parametrize("window", [50, 1000])
def test_nineteen_of_twenty_releases_hold_the_rate(tests: int, window: int) -> None:
    rate, reference, releases, windows = 0.02, 2000, 200, 500
    random = np.random.default_rng(7)
    shared = window / (window + reference)
    bound = -np.log10(rate / tests) + correct_sharing(rate, tests, window, reference)
    alarms = np.empty(releases)
    for release in range(releases):
        turned = random.normal(size=tests) * np.sqrt(shared)
        z = turned + random.normal(size=(windows, tests)) * np.sqrt(1 - shared)
        # p of z is below that of the bound when z is beyond its quantile
        alarms[release] = (np.abs(z).max(axis=1) >= _find_quantile(bound)).sum()
    # what 500 windows show of a rate beyond what is stated
    assert (alarms > find_most(windows, rate, 0.05)).mean() <= 0.1
    assert alarms.mean() / windows <= rate


def _find_quantile(score: float) -> float:
    return -NormalDist().inv_cdf(float(np.exp(-score * LOG10)) / 2)


def test_long_windows_share_more_than_short_ones_and_large_references_little() -> None:
    short, long = (correct_sharing(0.01, 10, window, 2000) for window in (50, 1000))
    assert 0 <= short < 0.1 < long < 1
    assert correct_sharing(0.01, 10, 200, 100_000) < 0.02
