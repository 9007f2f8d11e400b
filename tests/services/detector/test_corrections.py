"""Corrections for many tests: of the levels of one, of the tests of a column, of all columns."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.services.detector.detectors.corrections import combine_scores, find_changed
from driftloop.services.detector.detectors.levels import score_surest
from driftloop.services.detector.detectors.statistics import find_most


def list_chances(total: int, window: int, reference: int) -> dict[int, float]:
    """Probability of each number of a level's rows in the window, by counting."""
    every = math.comb(window + reference, window)
    return {
        hits: math.comb(total, hits) * math.comb(window + reference - total, window - hits) / every
        for hits in range(max(0, total - reference), min(total, window) + 1)
    }


def sum_unlikely(chances: dict[int, float], bound: float) -> float:
    return sum(chance for chance in chances.values() if chance <= bound * (1 + 1e-6))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 12),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), min_size=1, max_size=4),
)
def test_levels_count_as_far_as_they_can_reach(
    window: int, reference: int, levels: list[tuple[int, int]]
) -> None:
    counts = [(min(hits, window), min(before, reference)) for hits, before in levels]
    hits, before = (np.array(each) for each in zip(*counts, strict=True))
    laws = [list_chances(h + b, window, reference) for h, b in counts]
    own = sum_unlikely(laws[0], laws[0][counts[0][0]])
    # the largest p-value of each other level that is not above the best one's
    reach = [
        max((p for x in law if (p := sum_unlikely(law, law[x])) <= own * (1 + 1e-6)), default=0.0)
        for law in laws
    ]
    score = score_surest(hits, before, window, reference, 0)
    assert score == pytest.approx(max(0.0, -math.log10(sum(reach))), abs=1e-5)


def test_clean_levels_alarm_no_oftener_than_stated_and_nearly_as_often() -> None:
    random = np.random.default_rng(0)
    shares, rate, windows = np.full(10, 0.1), 0.05, 2000
    alarms = 0
    for _ in range(windows):
        hits, before = random.multinomial(50, shares), random.multinomial(2000, shares)
        best = int(np.argmax(np.abs(hits / 50 - before / 2000)))
        score = score_surest(hits, before, 50, 2000, best)
        assert score is not None
        alarms += score >= -math.log10(rate)
    assert windows * rate / 2 < alarms <= find_most(windows, rate, 1e-4)


def test_too_many_outcomes_are_not_listed() -> None:
    many = np.full(50, 15_000)
    assert score_surest(many, many, 750_000, 750_000, 0) is None


def test_tests_together_are_as_sure_as_the_surest_or_surer() -> None:
    assert combine_scores([5.0, 0.0, 0.0], [0.5, 0.25, 0.25]) == pytest.approx(
        5 - math.log10(2), abs=0.01
    )
    both = combine_scores([5.0, 5.0, 0.0], [0.5, 0.25, 0.25])
    assert both == pytest.approx(5 + math.log10(0.75), abs=0.01)
    assert combine_scores([], []) == combine_scores([0.0, 0.0], [0.5, 0.5]) == 0.0
    assert combine_scores([3.0], [1.0]) == 3.0
    assert 1199 < combine_scores([1200.0, 300.0], [0.5, 0.5]) < 1200


@pytest.mark.parametrize("tests", [2, 7])
def test_independent_tests_together_hold_the_rate(tests: int) -> None:
    random = np.random.default_rng(tests)
    scores = -np.log10(random.random((20_000, tests)))
    parts = [1 / tests] * tests
    together = np.array([combine_scores(row, parts) for row in scores.tolist()])
    for rate in (0.05, 0.005):
        assert (together >= -math.log10(rate)).sum() <= find_most(20_000, rate, 1e-3)


def test_what_columns_that_have_changed_leave_is_the_others() -> None:
    # the first has half of the rate, the others a sixth each; scores are corrected by these
    parts = [1 / 2, 1 / 6, 1 / 6, 1 / 6, 0.0]
    assert find_changed([2.1, 1.75, 0.0, 0.0, 0.0], 2.0, parts) == {0, 1}
    assert find_changed([1.9, 1.9, 0.0, 0.0, 0.0], 2.0, parts) == set()
    assert find_changed([3.0, 3.0, 3.0, 3.0, 9.0], 2.0, parts) == set()
    assert find_changed([2.1, 1.75], 2.0) == {0, 1}
    assert find_changed([2.1, 1.65], 2.0) == {0}
