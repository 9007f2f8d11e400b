"""Columns that are not tested because their counts say enough: verdicts are those of tests of all."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driftloop.contract.budgets import AlarmBudget
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.detectors.calibration import Calibration, OrderEffect
from driftloop.services.detector.detectors.edges import CellFinder
from driftloop.services.detector.detectors.tabular import TabularDetector

Random = np.random.Generator
Table = NDArray[np.float64]
Make = Callable[[Random, int], Table]
VALUES = st.one_of(
    st.floats(allow_nan=False, width=64),
    st.sampled_from([0.0, -0.0, 1.0, 1 + 2**-52, 5e-324, 1e308, -1e308, np.inf, -np.inf]),
    st.integers(-5, 5).map(float),
)
KINDS: dict[str, Make] = {
    "numbers": lambda random, rows: random.normal(size=(rows, 12)),
    "skewed": lambda random, rows: np.exp(3 * random.normal(size=(rows, 12))),
    "ties": lambda random, rows: np.round(random.normal(size=(rows, 12)), 2),
    "mixed": lambda random, rows: np.stack(
        [
            random.normal(size=rows),
            random.integers(0, 3, rows),
            np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
            np.ones(rows),
            random.exponential(size=rows),
            random.exponential(size=rows) * (random.random(rows) < 0.8),
        ],
        axis=1,
    ),
}
CALIBRATION = Calibration(
    rows=1000,
    longest=60,
    window=200,
    effects={"c0": OrderEffect(4.0, lasting=True), "c4": OrderEffect(1.0, lasting=False)},
    sorted=(),
    usable=True,
)


def fit(rows: Table, *, calibration: Calibration | None = None) -> TabularDetector:
    columns = tuple(
        ColumnProfile(
            name=f"c{n}", type="number", rows=len(rows), missing=int(np.isnan(column).sum()),
            distinct=len(np.unique(column)),
        )
        for n, column in enumerate(rows.T)
    )  # fmt: skip
    settings = DetectorSettings(
        "tabular",
        alarm_rate=0.01,
        at_least_by_type={"number": 0.05, "missing": 0.01},
        budget=AlarmBudget(1.0, 1.0, assumed=True, least=2, of=2),
    )
    profile = TableProfile(columns=columns, order=tuple(c.name for c in columns))
    return TabularDetector(settings, rows, profile, calibration)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.lists(VALUES, max_size=30), min_size=1, max_size=4),
    st.lists(VALUES, min_size=1, max_size=20),
)
def test_values_are_counted_where_halving_finds_them(
    columns: Sequence[Sequence[float]], values: Sequence[float]
) -> None:
    edges = [np.unique(column) for column in columns]
    values = [*values, *(value for column in columns for value in column), np.nan]
    rows = np.array([values] * len(edges)).T
    finder = CellFinder(edges)
    counts = finder.count_rows(rows)
    present = np.array(values)[~np.isnan(values)]
    for head, each in zip(finder.heads, edges, strict=True):
        cells = 2 * each.searchsorted(present) + 1 + np.isin(present, each)
        wanted = np.bincount(cells, minlength=2 * len(each) + 2)
        wanted[0] = len(values) - len(present)
        assert np.array_equal(counts[head : head + len(wanted)], wanted)


def keep_moved(verdict: WindowVerdict) -> WindowVerdict:
    """The verdict without the columns that have not moved at all: of these a quiet one names those that were tested."""
    columns = [column for column in verdict.details["columns"] if column["score"]]
    return replace(verdict, details={**verdict.details, "columns": columns})


@pytest.mark.parametrize("calibration", [None, CALIBRATION], ids=["random", "ordered"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_verdict_is_the_one_that_tests_of_all_columns_give(
    kind: str, calibration: Calibration | None
) -> None:
    make = KINDS[kind]
    alarms = 0
    for seed, (reference, size) in enumerate([(300, 50), (1000, 200), (2000, 2000), (5000, 100)]):
        random = np.random.default_rng(seed)
        rows = make(random, reference)
        screened, whole = (fit(rows, calibration=calibration) for _ in range(2))
        whole._screen._plain[:] = False
        for number in range(25):
            window = make(random, size)
            window[:, number % window.shape[1]] += random.normal() * (number % 5) / 10
            if number % 7 == 0:
                window[0, -1] = np.nan
            verdict = screened.score_window(window)
            assert keep_moved(verdict) == keep_moved(whole.score_window(window))
            alarms += verdict.alarm
    assert 0 < alarms < 100


def test_few_columns_of_a_quiet_window_are_tested() -> None:
    random = np.random.default_rng(0)
    for size in (200, 2000):
        detector = fit(random.normal(size=(2000, 64)))
        tested = []
        for _ in range(20):
            window = random.normal(size=(size, 64))
            results, _, _ = detector._test_columns(window, detector._grid.finder.count_rows(window))
            tested.append(len(results))
        assert np.mean(tested) < 16
