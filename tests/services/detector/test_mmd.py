"""Columns that go together otherwise than they did: seen with the same margins, named, and seldom where
nothing has changed."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from support.detector import profile_rows

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnType
from driftloop.contract.verdicts import read_changes, read_columns
from driftloop.services.detector.detectors import WindowDetector, fit_detector
from driftloop.services.detector.errors import FitError

Random = np.random.Generator
Rows = NDArray[np.float64]
Make = Callable[[Random, int], Rows]


def fit(rows: Rows, *types: ColumnType, kind: str = "mmd", rate: float = 0.01) -> WindowDetector:
    profile = profile_rows(rows, types, lambda _: (("UA", 40), ("AA", 30), ("B6", 30)))
    settings = DetectorSettings.read({"kind": kind, "alarmRate": rate})
    return fit_detector(settings, rows, profile)


def correlated(random: Random, rows: int, columns: int, correlation: float = 0.3) -> Rows:
    """Normal columns, of which the last two are correlated."""
    table = random.normal(size=(rows, columns))
    table[:, -1] *= np.sqrt(1 - correlation**2)
    table[:, -1] += correlation * table[:, -2]
    return table


def mixed(random: Random, rows: int, *, together: bool = False) -> Rows:
    """A delay with gaps, a carrier, a boolean, a length of text, a time; the delay is the carrier's or not."""
    carrier = random.choice(3, p=(0.4, 0.3, 0.3), size=rows)
    other = carrier if together else random.choice(3, p=(0.4, 0.3, 0.3), size=rows)
    delay = random.gamma(2, 5, rows) + 6 * other
    delay[random.random(rows) < 0.05] = np.nan
    late, length = random.random(rows) < 0.2, random.integers(5, 9, rows)
    return np.stack([delay, carrier, late, length, np.zeros(rows)], axis=1)


TYPES: tuple[ColumnType, ...] = ("number", "category", "boolean", "text", "time")
CLEAN: dict[str, tuple[Make, tuple[ColumnType, ...]]] = {
    "mixed": (mixed, TYPES),
    "10 columns": (lambda random, rows: random.normal(size=(rows, 10)), ()),
    "correlated": (lambda random, rows: correlated(random, rows, 4, 0.9), ()),
    "heavy tails": (lambda random, rows: random.standard_cauchy((rows, 4)), ()),
    "0 and 1": (lambda random, rows: (random.random((rows, 4)) < 0.3) * 1.0, ()),
    "a constant": (lambda random, rows: np.eye(3)[2] * 7 + random.normal(size=(rows, 3)), ()),
}
RATE = 0.02
MOST = 15
"""Alarms in 300 windows that come less often than once in a thousand tests at a rate of 0.02."""


def count_alarms(name: str, release: int) -> int:
    make, types = CLEAN[name]
    random = np.random.default_rng(release)
    detector = fit(make(random, 2000), *types, rate=RATE)
    return sum(detector.score_window(make(random, 100)).alarm for _ in range(300))


def test_clean_windows_alarm_no_oftener_than_stated() -> None:
    assert count_alarms("mixed", 0) <= MOST


def test_one_row_that_differs_is_no_alarm() -> None:
    """The row is the window's in one of nine divisions, and all of these have the very statistic of the window:
    none may be taken for a smaller one."""
    window = np.zeros((200, 1))
    window[3] = 1
    assert fit(np.zeros((2000, 1))).score_window(window).score < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("name", CLEAN)
def test_clean_windows_alarm_no_oftener_than_stated_whatever_the_columns(name: str) -> None:
    assert count_alarms(name, 1) <= MOST


@pytest.mark.parametrize(("columns", "rows", "least"), [(2, 200, 6), (10, 500, 6)])
def test_a_correlation_is_seen_with_the_same_margins(columns: int, rows: int, least: int) -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=(2000, columns))
    detector, margins = fit(reference), fit(reference, kind="tabular")
    windows = [correlated(random, rows, columns) for _ in range(8)]
    verdicts = [detector.score_window(window) for window in windows]
    assert sum(verdict.alarm for verdict in verdicts) >= least
    assert sum(margins.score_window(window).alarm for window in windows) <= 1
    surest = read_changes(max(verdicts, key=lambda verdict: verdict.score).details)[0]
    assert (surest.kind, surest.column, surest.of) == (
        "relation",
        f"c{columns - 2}",
        f"c{columns - 1}",
    )
    assert (abs(surest.before) < 0.1) & (surest.after > 0.2)
    assert surest.text.startswith(f"c{columns - 2} correlation with c{columns - 1} ")


def test_a_category_that_goes_with_a_number_is_seen_and_named() -> None:
    random = np.random.default_rng(0)
    verdict = fit(mixed(random, 2000), *TYPES).score_window(mixed(random, 300, together=True))
    change = read_changes(verdict.details)[0]
    assert (change.kind, {change.column, change.of}) == ("relation", {"c0", "c1"})


def shift(window: Rows) -> None:
    window[:, 0] += 9


def lose(window: Rows) -> None:
    window[:, 3] = np.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [(shift, "c0 median 14.68 -> "), (lose, "c3 missing 0 % -> 100 %")],
)
def test_a_column_that_changes_by_itself_is_named_as_tabular_does(
    change: Callable[[Rows], None], words: str
) -> None:
    random = np.random.default_rng(0)
    detector, window = fit(mixed(random, 2000), *TYPES), mixed(random, 200)
    change(window)
    verdict = detector.score_window(window)
    assert verdict.alarm
    assert read_changes(verdict.details)[0].text.startswith(words)


def test_certainty_goes_beyond_the_divisions_that_are_drawn() -> None:
    random = np.random.default_rng(0)
    detector = fit(random.normal(size=(1500, 3)), rate=1e-6)
    clean = detector.score_window(random.normal(size=(200, 3)))
    far = detector.score_window(correlated(random, 200, 3, 0.9))
    assert not clean.alarm
    assert clean.score < 3
    assert far.alarm
    assert 6 < far.score < float("inf")


def test_the_same_rows_get_the_same_verdict() -> None:
    random = np.random.default_rng(0)
    reference, window = random.normal(size=(600, 3)), random.normal(size=(50, 3))
    detector = fit(reference)
    first = detector.score_window(window)
    detector.score_window(window + 1)
    assert detector.score_window(window) == fit(reference).score_window(window) == first


def test_a_quiet_window_names_what_moved_most_without_an_alarm() -> None:
    random = np.random.default_rng(0)
    verdict = fit(random.normal(size=(1000, 3))).score_window(random.normal(size=(100, 3)))
    assert read_changes(verdict.details) == ()
    assert read_columns(verdict.details)
    assert verdict.details["changed"] == 0


def test_constant_columns_are_quiet_until_they_move() -> None:
    detector = fit(np.ones((500, 2)))
    assert detector.score_window(np.ones((100, 2))).score == 0
    assert detector.score_window(np.array([[1.0, 2.0]] * 100)).alarm


@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [(500, 70, "70 columns have 70 features, must be at most 64"), (199, 2, "at least 200")],
)
def test_what_is_too_wide_or_too_little_is_refused(rows: int, columns: int, says: str) -> None:
    with pytest.raises(FitError, match=says):
        fit(np.random.default_rng(0).normal(size=(rows, columns)))
