"""Tests of tables: how seldom they cry wolf, what they see, and what they say of it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, ColumnType, TableProfile
from driftloop.contract.verdicts import (
    ColumnChange,
    describe_changes,
    describe_verdict,
    read_changes,
    read_columns,
    read_small,
)
from driftloop.services.detector.__main__ import build_parser, run
from driftloop.services.detector.detectors import WindowVerdict, fit_detector
from driftloop.services.detector.detectors.statistics import find_most
from driftloop.services.detector.detectors.tabular import TabularDetector

Random = np.random.Generator
Make = Callable[[Random, int], NDArray[np.float64]]
CARRIERS = ("UA", "AA", "B6", "DL", "9E")
SHARES = (0.55, 0.2, 0.15, 0.095, 0.005)


def column(name: str, values: NDArray[np.float64], type_: ColumnType = "number") -> ColumnProfile:
    present = values[~np.isnan(values)]
    names = {"category": CARRIERS, "boolean": ("false", "true")}.get(type_, ())
    counts = np.bincount(present.astype(int), minlength=len(names)) if names else ()
    return ColumnProfile(
        name=name,
        type=type_,
        rows=len(values),
        missing=len(values) - len(present),
        distinct=len(np.unique(present)),
        categories=tuple((name, int(count)) for name, count in zip(names, counts, strict=False)),
    )


def fit(
    rows: NDArray[np.float64],
    *types: ColumnType,
    window: int = 200,
    rate: float = 0.01,
    floors: Mapping[str, float] | None = None,
) -> TabularDetector:
    chosen = types or ("number",) * rows.shape[1]
    columns = tuple(column(f"c{n}", rows[:, n], type_) for n, type_ in enumerate(chosen))
    profile = TableProfile(columns=columns, order=tuple(c.name for c in columns))
    config = DetectorSettings("tabular", window=window, alarm_rate=rate, at_least_by_type=floors)
    detector = fit_detector(config, rows, profile)
    assert isinstance(detector, TabularDetector)
    return detector


def mixed(random: Random, rows: int) -> NDArray[np.float64]:
    """A delay with gaps, a carrier, a boolean, a length of text, a time."""
    delay = np.round(random.gamma(2, 5, rows))
    delay[random.random(rows) < 0.03] = np.nan
    carrier = random.choice(5, p=SHARES, size=rows)
    late, length = random.random(rows) < 0.2, random.integers(5, 8, rows)
    return np.stack([delay, carrier, late, length, np.zeros(rows)], axis=1)


TYPES: tuple[ColumnType, ...] = ("number", "category", "boolean", "text", "time")


def levels(count: int) -> Make:
    return lambda random, rows: random.integers(0, count, (rows, 3)).astype(float)


CLEAN: dict[str, tuple[Make, tuple[ColumnType, ...]]] = {
    "numbers": (lambda random, rows: random.normal(size=(rows, 6)), ()),
    "mixed": (mixed, TYPES),
    "0 and 1": (lambda random, rows: (random.random((rows, 4)) < 0.3) * 1.0, ()),
    "zero-inflated": (
        lambda random, rows: random.exponential(size=(rows, 3)) * (random.random((rows, 3)) < 0.8),
        (),
    ),
    "mostly zero": (
        lambda random, rows: random.exponential(size=(rows, 3)) * (random.random((rows, 3)) < 0.1),
        (),
    ),
    "constant": (lambda random, rows: np.ones((rows, 3)), ()),
    "gaps": (
        lambda random, rows: np.where(random.random((rows, 4)) < 0.1, np.nan, 1.0),
        (),
    ),
    **{f"{count} levels": (levels(count), ()) for count in (2, 3, 5, 9, 17)},
}
RATE = 0.02
WINDOWS = 300
MOST = 15
"""Alarms in 300 windows that come less often than once in a thousand tests at a rate of 0.02."""


@pytest.mark.parametrize("name", CLEAN)
def test_clean_windows_alarm_no_oftener_than_stated(name: str) -> None:
    make, types = CLEAN[name]
    alarms = []
    for release in range(3):
        random = np.random.default_rng(release)
        detector = fit(make(random, 2000), *types, window=100, rate=RATE)
        windows = (make(random, 100) for _ in range(WINDOWS // 3))
        alarms.append(sum(detector.score_window(rows).alarm for rows in windows))
    assert sum(alarms) <= MOST
    assert max(alarms) <= 10, "of 100, for one release"


def judge(
    change: Callable[[NDArray[np.float64], Random], None], rows: int = 200
) -> tuple[WindowVerdict, tuple[ColumnChange, ...]]:
    random = np.random.default_rng(1)
    detector = fit(mixed(random, 5000), *TYPES)
    window = mixed(random, rows)
    change(window, random)
    verdict = detector.score_window(window)
    return verdict, read_changes(verdict.details)


def lose(window: NDArray[np.float64], random: Random) -> None:
    window[:, 0] = np.nan


def swap(window: NDArray[np.float64], random: Random) -> None:
    window[random.random(len(window)) < 0.3, 1] = 1


def invent(window: NDArray[np.float64], random: Random) -> None:
    window[: len(window) * 3 // 100, 1] = len(CARRIERS)


def delay(window: NDArray[np.float64], random: Random) -> None:
    window[:, 0] += 6


def flip(window: NDArray[np.float64], random: Random) -> None:
    window[:80, 2] = 1


def lengthen(window: NDArray[np.float64], random: Random) -> None:
    window[:, 3] += 2


def forget(window: NDArray[np.float64], random: Random) -> None:
    window[:20, 4] = np.nan


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lose, "c0 missing 3 % -> 100 %"),
        (swap, "c1 AA 20 % -> 40 %"),
        (invent, "c1 new category 0 % -> 3 %"),
        (delay, "c0 median 8 -> 14"),
        (flip, "c2 true 19 % -> 53 %"),
        (lengthen, "c3 length median 6 -> 8"),
        (forget, "c4 missing 0 % -> 10 %"),
    ],
)
def test_an_alarm_names_the_column_and_what_moved(
    change: Callable[[NDArray[np.float64], Random], None], text: str
) -> None:
    verdict, changes = judge(change)
    assert verdict.alarm
    assert verdict.score >= verdict.threshold == 2
    assert [each.text for each in changes] == [text]
    assert verdict.details["changed"] == 1


def test_a_quiet_window_shows_what_moved_most_and_no_alarm() -> None:
    verdict, changes = judge(lambda window, random: None)
    assert not verdict.alarm
    assert changes == ()
    assert len(read_columns(verdict.details)) == 3


def test_columns_come_in_order_of_effect_and_twenty_at_most() -> None:
    random = np.random.default_rng(0)
    detector = fit(random.normal(size=(2000, 30)))
    window = random.normal(size=(400, 30)) + np.arange(30) / 5
    verdict = detector.score_window(window)
    changes = read_changes(verdict.details)
    effects = [change.effect for change in changes]
    assert effects == sorted(effects, reverse=True)
    assert len(changes) == 20 < verdict.details["changed"]
    text = describe_changes(changes, 3)
    assert text.startswith(changes[0].text)
    assert text.endswith("17 more")


def test_certainty_does_not_underflow() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=(20_000, 2))
    detector = fit(reference, window=2000)
    near = detector.score_window(random.normal(size=(2000, 2)) + 2).score
    far = detector.score_window(random.normal(size=(2000, 2)) + 9).score
    assert 400 < near < far < float("inf")


def test_a_change_of_shape_alone_is_described_by_the_quantile_that_moved() -> None:
    random = np.random.default_rng(0)
    detector = fit(random.normal(size=(5000, 1)))
    (change,) = read_changes(detector.score_window(random.normal(size=(300, 1)) * 3).details)
    assert change.of in ("90 % quantile", "10 % quantile", "99 % quantile")


@pytest.mark.parametrize("shift", [np.nan, 0.0])
def test_columns_without_any_value_are_judged_by_what_is_missing(shift: float) -> None:
    detector = fit(np.full((500, 1), np.nan))
    verdict = detector.score_window(np.full((50, 1), shift))
    assert verdict.alarm is (shift == 0.0)


def test_unseen_categories_are_held_against_rare_ones() -> None:
    """Where most categories come up once, new ones are no news."""
    random = np.random.default_rng(0)
    values = np.floor(random.pareto(1, 4000) * 40)
    seen, codes, counts = np.unique(values[:3000], return_inverse=True, return_counts=True)
    profile = ColumnProfile(
        name="c",
        type="category",
        rows=3000,
        missing=0,
        distinct=len(seen),
        categories=tuple((str(v), int(n)) for v, n in zip(seen, counts, strict=True)),
    )
    detector = fit_detector(
        DetectorSettings("tabular"),
        codes.astype(float)[:, None],
        TableProfile(columns=(profile,), order=("c",)),
    )
    new = values[3000:]
    places = np.searchsorted(seen, new)
    known = seen[np.minimum(places, len(seen) - 1)] == new
    window = np.where(known, places, len(seen)).astype(float)[:, None]
    assert (~known).sum() > 20
    assert not any(detector.score_window(part).alarm for part in np.split(window, 5))


FLOORS = {"number": 0.05, "text": 0.05, "category": 0.02, "boolean": 0.02, "missing": 0.01}


def fit_with_floors(rows: NDArray[np.float64], *types: ColumnType) -> TabularDetector:
    return fit(rows, *types, window=20_000, floors=FLOORS)


@pytest.mark.parametrize(
    ("type_", "move", "small", "large"),
    [
        ("number", lambda values, size: values + size, 0.08, 0.2),
        (
            "boolean",
            lambda values, size: np.where(np.arange(len(values)) < size * len(values), 1.0, values),
            0.028,
            0.1,
        ),
        (
            "category",
            lambda values, size: np.where(np.arange(len(values)) < size * len(values), 4.0, values),
            0.012,
            0.05,
        ),
        (
            "number",
            lambda values, size: np.where(
                np.arange(len(values)) < size * len(values), np.nan, values
            ),
            0.005,
            0.02,
        ),
    ],
)
def test_what_moves_for_certain_and_by_too_little_is_no_alarm_and_said(
    type_: ColumnType,
    move: Callable[[NDArray[np.float64], float], NDArray[np.float64]],
    small: float,
    large: float,
) -> None:
    random = np.random.default_rng(4)
    make: dict[ColumnType, Callable[[int], NDArray[np.float64]]] = {
        "number": lambda rows: random.normal(size=rows),
        "boolean": lambda rows: (random.random(rows) < 0.4) * 1.0,
        "category": lambda rows: random.choice(5, p=SHARES, size=rows).astype(float),
    }
    detector = fit_with_floors(make[type_](60_000)[:, None], type_)
    quiet = detector.score_window(move(make[type_](20_000), small)[:, None])
    assert (quiet.alarm, quiet.details["small"]) == (False, 1)
    assert quiet.score < quiet.threshold
    (change,) = read_small(quiet.details)
    assert change.at_least == (0.01 if change.kind == "missing" else FLOORS[type_])
    assert change.effect < change.at_least
    assert describe_verdict(quiet.details, 3).startswith(f"small changes: {change.text} (")
    loud = detector.score_window(move(make[type_](20_000), large)[:, None])
    assert (loud.alarm, loud.details["small"]) == (True, 0)
    assert not describe_verdict(loud.details, 3).startswith("small")


def test_a_wider_spread_is_seen_although_the_middle_stays() -> None:
    random = np.random.default_rng(0)
    detector = fit(random.normal(size=(2000, 30)))
    windows = [random.normal(size=(200, 30)) * 1.2 for _ in range(8)]
    assert sum(detector.score_window(window).alarm for window in windows) >= 7


def test_a_few_rows_of_a_new_category_are_seen_beside_many_categories() -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 50, (2000, 1)).astype(float)
    profile = ColumnProfile(
        name="c0",
        type="category",
        rows=2000,
        missing=0,
        distinct=50,
        categories=tuple(
            (f"k{n}", int(count)) for n, count in enumerate(np.bincount(values[:, 0].astype(int)))
        ),
    )
    table = TableProfile(columns=(profile,), order=("c0",))
    detector = fit_detector(DetectorSettings("tabular"), values, table)
    window = random.integers(0, 50, (200, 1)).astype(float)
    assert not detector.score_window(window).alarm
    window[:3] = 50
    verdict = detector.score_window(window)
    assert [change.text for change in read_changes(verdict.details)] == [
        "c0 new category 0 % -> 1.5 %"
    ]


def test_what_no_row_has_takes_no_part_of_the_rate() -> None:
    """Columns that are the same in every row, and gaps where there are none, leave the others' scores as
    they are."""
    random = np.random.default_rng(0)
    reference, window = random.normal(size=(2000, 1)), random.normal(size=(200, 1)) + 0.3
    alone = fit(reference).score_window(window).score
    beside = fit(np.pad(reference, ((0, 0), (0, 20)))).score_window(
        np.pad(window, ((0, 0), (0, 20)))
    )
    assert beside.score == alone > 2


@pytest.mark.parametrize("kind", ["numbers", "mixed"])
def test_no_release_alarms_oftener_than_stated_when_windows_are_long(kind: str) -> None:
    """Windows of a release share its reference: p-values that are right on average are not right for each."""
    make, types = CLEAN[kind]
    for release in range(8):
        random = np.random.default_rng(release)
        detector = fit(make(random, 1000), *types, window=1000, rate=0.02)
        alarms = sum(detector.score_window(make(random, 1000)).alarm for _ in range(60))
        assert alarms <= find_most(60, 0.02, 1e-3), f"release {release}"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (2.0, 14.0, "id median 2 -> 14"),
        # an id counts on, and six digits don't show it
        (1e17 + 5_248, 1e17 + 38_400, "id median 100000000000005248 -> 100000000000038400"),
        (20.0, 20.0, "id median 20 as before, and moved by 31 % of the rows"),
    ],
)
def test_figures_that_differ_look_different(before: float, after: float, text: str) -> None:
    change = ColumnChange(
        column="id", type="number", kind="shift", of="median", before=before, after=after,
        effect=0.31, score=9.0, alarm=True,
    )  # fmt: skip
    assert change.text == text


def test_a_column_that_numbers_rows_is_told_by_the_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    values = np.random.default_rng(0).normal(size=600).round(1).tolist()
    lines = [f"{n + 1000},{value}" for n, value in enumerate(values)]
    (folder / "a.csv").write_text("\n".join(("id,size", *lines)) + "\n")
    settings = ("--detector", '{"kind": "tabular", "window": 50}')
    places = ("--features", "id,size", "--reference", str(folder), "--out", str(tmp_path / "out"))
    run(build_parser().parse_args(["fit", *settings, *places]))
    told = capsys.readouterr().out
    assert "warning: column `id` has another value in each row, and the files are sorted" in told
    assert "`data.columns: {id: ignore}` keeps it from all monitors" in told
    assert "column `size` has another value" not in told
