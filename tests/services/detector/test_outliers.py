"""Outliers by the Mahalanobis distance: seen whatever the columns are, seldom where there are none, and
explained."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.detector import ROOT, profile_rows

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnType
from driftloop.contract.verdicts import ColumnChange, read_changes, read_columns
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.mahalanobis import (
    MahalanobisDistance,
    Whitening,
    estimate_shrinkage,
)
from driftloop.services.detector.detectors.statistics import bound_share, find_most
from driftloop.services.detector.errors import FitError

Random = np.random.Generator
Rows = NDArray[np.float64]
Make = Callable[[Random, int], Rows]
RATE = 0.02
MOST = 15
"""Alarms in 300 windows that come less often than once in a thousand tests at a rate of 0.02."""


def fit(rows: Rows, *types: ColumnType, rate: float = 0.01) -> MahalanobisDistance:
    profile = profile_rows(rows, types, count_categories)
    return MahalanobisDistance(DetectorSettings("mahalanobis", alarm_rate=rate), rows, profile)


def count_categories(codes: Rows) -> tuple[tuple[str, int], ...]:
    return tuple((f"k{code}", int(n)) for code, n in enumerate(np.bincount(codes.astype(int))))


def mixed(random: Random, rows: int) -> Rows:
    """A delay with gaps, a carrier of which some are rare, a boolean, a length of text, a time."""
    delay = random.gamma(2, 5, rows)
    delay[random.random(rows) < 0.03] = np.nan
    carrier = random.choice(6, p=(0.5, 0.3, 0.1, 0.09, 0.006, 0.004), size=rows)
    late, length = random.random(rows) < 0.2, random.integers(5, 9, rows)
    return np.stack([delay, carrier, late, length, np.zeros(rows)], axis=1)


TYPES: tuple[ColumnType, ...] = ("number", "category", "boolean", "text", "time")
TABLES: dict[str, tuple[Make, tuple[ColumnType, ...]]] = {
    "uniform": (lambda random, rows: random.random((rows, 9)), ()),
    "sum to 1": (lambda random, rows: random.dirichlet(np.ones(10), rows), ()),
    "a constant": (
        lambda random, rows: np.concatenate([random.normal(size=(rows, 3)), np.ones((rows, 1))], 1),
        (),
    ),
    "twice the same": (lambda random, rows: np.repeat(random.normal(size=(rows, 2)), 2, 1), ()),
    "0 and 1": (lambda random, rows: (random.random((rows, 4)) < 0.3) * 1.0, ()),
    "far from 0": (lambda random, rows: 1e12 + random.normal(size=(rows, 3)), ()),
    "heavy tails": (lambda random, rows: random.standard_cauchy((rows, 4)), ()),
    "wide": (lambda random, rows: random.normal(size=(rows, 30)), ()),
    "mixed": (mixed, TYPES),
}


@pytest.mark.parametrize("name", ["uniform", "sum to 1", "a constant", "twice the same", "0 and 1"])
def test_rows_that_are_far_away_are_outliers_whatever_the_columns(name: str) -> None:
    random = np.random.default_rng(0)
    make, _ = TABLES[name]
    verdict = fit(make(random, 1000)).score_window(make(random, 200) + 1000)
    assert len(verdict.outliers) == 200
    assert verdict.alarm


@pytest.mark.parametrize("name", TABLES)
def test_clean_windows_alarm_no_oftener_than_stated_in_each_release(name: str) -> None:
    make, types = TABLES[name]
    for release in range(2):
        random = np.random.default_rng(release)
        detector = fit(make(random, 1500), *types, rate=RATE)
        alarms = sum(detector.score_window(make(random, 100)).alarm for _ in range(300))
        assert alarms <= MOST, f"release {release}"


@pytest.mark.parametrize("shape", [(300, 5), (60, 90)])
def test_the_parts_of_the_columns_make_up_the_distance(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=shape) @ random.normal(size=(shape[1], shape[1]))
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    share = estimate_shrinkage(rows)
    matrix = (1 - share) * rows.T @ rows / len(rows) + share * np.eye(shape[1])
    distances = np.einsum("ni,ij,nj->n", rows, np.linalg.inv(matrix), rows)
    assert 0 < share < 1
    assert np.allclose((Whitening(rows).whiten_rows(rows) ** 2).sum(axis=1), distances)


@given(rows=st.permutations(range(30)), cut=st.integers(1, 29))
@settings(max_examples=20, deadline=None)
def test_neither_the_window_nor_the_order_of_its_rows_matters(rows: list[int], cut: int) -> None:
    verdict = DETECTOR.score_window(WINDOW)
    parts = [DETECTOR.score_window(part).outliers for part in (WINDOW[:cut], WINDOW[cut:])]
    assert verdict.outliers == (*parts[0], *(n + cut for n in parts[1]))
    shuffled = DETECTOR.score_window(WINDOW[rows])
    assert sorted(rows[n] for n in shuffled.outliers) == list(verdict.outliers)
    assert (shuffled.score, shuffled.alarm) == (verdict.score, verdict.alarm)


DETECTOR = fit(np.random.default_rng(0).normal(size=(600, 4)))
WINDOW = np.random.default_rng(1).normal(size=(30, 4)) * np.linspace(1, 4, 30)[:, None]


def test_a_longer_window_sees_more() -> None:
    random = np.random.default_rng(0)
    detector = fit(random.normal(size=(2000, 5)))
    seen = []
    for rows in (50, 200, 1000, 4000):
        windows = [random.normal(size=(rows, 5)) for _ in range(20)]
        for window in windows:
            window[: rows // 20] *= 4
        seen.append(sum(detector.score_window(window).alarm for window in windows))
    assert seen == sorted(seen)
    assert seen[2:] == [20, 20]


def judge(
    change: Callable[[Rows], None], rows: int = 200
) -> tuple[WindowVerdict, tuple[ColumnChange, ...]]:
    random = np.random.default_rng(1)
    detector = fit(mixed(random, 3000), *TYPES)
    window = mixed(random, rows)
    change(window)
    verdict = detector.score_window(window)
    return verdict, read_changes(verdict.details)


def lose(window: Rows) -> None:
    window[:, 3] = np.nan


def invent(window: Rows) -> None:
    window[:50, 1] = 6


def delay(window: Rows) -> None:
    window[:40, 0] = 900


def forget(window: Rows) -> None:
    window[:40, 4] = np.nan


@pytest.mark.parametrize(
    ("change", "column", "words"),
    [
        (lose, "c3", "c3 missing 0 % -> 100 %"),
        (invent, "c1", "c1 new category 0 % -> "),
        (delay, "c0", "c0 median 8.317 -> 900"),
        (forget, "c4", "c4 missing 0 % -> "),
    ],
)
def test_an_alarm_names_the_columns_of_the_outliers(
    change: Callable[[Rows], None], column: str, words: str
) -> None:
    verdict, changes = judge(change)
    assert verdict.alarm
    assert changes[0].column == column
    assert changes[0].part is not None
    assert changes[0].part > 0.5
    assert changes[0].text.startswith(words)


def test_a_quiet_window_names_the_columns_of_its_outliers_without_an_alarm() -> None:
    verdict, changes = judge(lambda window: window.__setitem__((0, 0), 900), 400)
    assert not verdict.alarm
    assert 0 in verdict.outliers
    assert changes == ()
    assert read_columns(verdict.details)


def test_a_constant_column_that_moves_is_seen_in_any_unit() -> None:
    random = np.random.default_rng(0)
    rows = np.concatenate([random.normal(size=(1000, 3)), np.full((1000, 1), 7e9)], axis=1)
    window = np.concatenate([random.normal(size=(50, 3)), np.full((50, 1), 7e9 + 1000)], axis=1)
    (change,) = read_changes(fit(rows).score_window(window).details)
    assert change.column == "c3"
    assert len(fit(rows).score_window(window).outliers) == 50


def test_values_at_the_end_of_double_precision_are_outliers_only() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 3))
    window = rows[:50].copy()
    window[:20] = [1.7e308, -1.7e308, 1.7e308]
    assert set(range(20)) <= set(fit(rows).score_window(window).outliers)
    assert fit(rows * 1e307).score_window(rows[:50] * 1e307).alarm is False


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(FitError, match="mahalanobis has 49 reference rows, must be at least 50"):
        fit(np.zeros((49, 2)))


def test_bounds_of_shares_are_exact() -> None:
    random = np.random.default_rng(0)
    share = bound_share(600, 5, 0.05)
    assert 0.03 < (random.binomial(600, share, 20_000) <= 5).mean() < 0.07
    most = find_most(200, share, 0.05)
    drawn = random.binomial(200, share, 20_000)
    assert (drawn > most).mean() <= 0.055 < (drawn > most - 1).mean()
    assert bound_share(10, 10, 0.05) == find_most(10, 1.0, 0.01) / 10 == 1


@pytest.mark.slow
def test_784_columns_take_less_than_1_gib() -> None:
    program = f"""
import resource, numpy as np
import sys; sys.path[:0] = [{str(ROOT / "pipeline")!r}, {str(ROOT / "tests" / "services" / "detector")!r}, {str(ROOT / "tests")!r}]
from test_outliers import fit
random = np.random.default_rng(0)
verdict = fit(random.normal(size=(2551, 784))).score_window(random.normal(size=(5000, 784)) + 1)
assert verdict.alarm
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1024**2, "KiB"
