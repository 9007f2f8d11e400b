"""Ordinary traffic, in which nothing is wrong, keeps the budget of false alarms: in each release, month by month."""

import numpy as np
import pytest
from support.lasting import count_lasting
from support.traffic import MONTH, TRAFFIC, fit_budget, replay

from driftloop.services.detector.detectors.statistics import find_most

pytestmark = pytest.mark.slow

DOUBT = 1e-3


def most_runs(months: float) -> int:
    """Runs that twice the budget explains: a Poisson number, as many rare events."""
    return find_most(10_000, 2 * MONTH * months / 10_000, DOUBT)


@pytest.mark.parametrize("traffic", ["plain", "sessions", "night", "twice"])
def test_ordinary_traffic_keeps_the_budget(traffic: str) -> None:
    """One row a second, windows of 200: nine days of them. With a rate of 0.01 a window and no calibration
    all but the first are far beyond the bound."""
    detector = fit_budget(traffic, seed=0, rows=200, rate=1.0, reference=20_000)
    runs = replay(detector, traffic, seed=0, windows=3888, rows=200, rate=1.0)
    assert runs <= most_runs(0.3)


@pytest.mark.parametrize("traffic", ["sessions", "night"])
def test_windows_together_keep_it_too(traffic: str) -> None:
    """A day and a half of traffic against four days of training data, at a rate of 0.01."""
    assert count_lasting(TRAFFIC[traffic], seed=0, windows=648, reference=20_000) <= most_runs(0.05)


def test_a_busy_pipeline_keeps_the_budget() -> None:
    """Forty rows a second, five hours of them."""
    detector = fit_budget("plain", seed=0, rows=200, rate=40.0, reference=20_000)
    runs = replay(detector, "plain", seed=0, windows=3888, rows=200, rate=40.0)
    assert runs <= most_runs(0.3 / 40)


@pytest.mark.parametrize("rows", [200, 1000, 2000])
def test_each_release_keeps_the_budget_not_only_their_mean(rows: int) -> None:
    """All windows of a release share a reference of 2000 rows: without an allowance the worst of them alarms
    on nearly half of its clean windows, two in a row each time."""
    windows, releases = 240_000 // rows, 10
    for seed in range(releases):
        detector = fit_budget("plain", seed=seed, rows=rows, rate=1.0, reference=2000)
        runs = replay(detector, "plain", seed=seed, windows=windows, rows=rows, rate=1.0)
        assert runs <= most_runs(windows * rows / (30 * 86400.0)), seed


@pytest.mark.parametrize(
    ("traffic", "shift"), [("plain", 0.5), ("sessions", 0.9), ("night", 0.5), ("twice", 0.7)]
)
def test_what_does_move_is_still_seen(traffic: str, shift: float) -> None:
    """In a column without a season, by so many standard deviations."""
    detector = fit_budget(traffic, seed=0, rows=200, rate=1.0, reference=20_000)
    random = np.random.default_rng(9)
    moved = np.array([0, shift, 0])
    windows = [TRAFFIC[traffic](random, np.arange(200.0)) + moved for _ in range(40)]
    assert sum(detector.score_window(rows).alarm for rows in windows) >= 30
