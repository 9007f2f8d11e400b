"""Bounds of counts, against the tables of those who gave them."""

import random

import pytest

from driftloop.operations.ground.rates import bound_count, bound_share


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.6)],
)
def test_counts_have_garwoods_bounds(count: int, low: float, high: float) -> None:
    assert bound_count(count) == pytest.approx((low, high), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (10, 10, 0.6915, 1.0),
        (3, 300, 0.0021, 0.0289),
    ],
)
def test_shares_have_cloppers_and_pearsons_bounds(
    count: int, of: int, low: float, high: float
) -> None:
    assert bound_share(count, of) == pytest.approx((low, high), abs=1e-4)


def test_nineteen_of_twenty_bounds_hold_the_share() -> None:
    draw = random.Random(0)
    held = 0
    for _ in range(400):
        count = sum(draw.random() < 0.03 for _ in range(200))
        low, high = bound_share(count, 200)
        held += low <= 0.03 <= high
    assert held >= 0.93 * 400
