"""Windows judged together: counts that add up, small changes that last, and nothing that does not."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.lasting import find_action, verdict_of

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, ColumnType, TableProfile
from driftloop.contract.verdicts import (
    WindowRecord,
    describe_changes,
    read_changes,
    read_lasting,
)
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.detectors.column_tests import ColumnReference
from driftloop.services.detector.detectors.count_tests import CountTests, score_distances
from driftloop.services.detector.detectors.counts import CountGrid
from driftloop.services.detector.detectors.lasting import LastingTest
from driftloop.services.detector.detectors.statistics import find_most, score_gaps
from driftloop.services.detector.stream.judging import WindowJudge, build_judge

Random = np.random.Generator
Table = NDArray[np.float64]
Make = Callable[[Random, int], Table]
CARRIERS = ("UA", "AA", "B6", "DL", "9E")
SHARES = (0.55, 0.2, 0.15, 0.095, 0.005)


def profile(rows: Table, types: Sequence[ColumnType] = ()) -> TableProfile:
    columns = []
    for number, type_ in enumerate(types or ("number",) * rows.shape[1]):
        values = rows[:, number][~np.isnan(rows[:, number])]
        names = {"category": CARRIERS, "boolean": ("false", "true")}.get(type_, ())
        codes = values.astype(int) if names else np.empty(0, dtype=int)
        counts = np.bincount(codes, minlength=len(names)).tolist()
        columns.append(
            ColumnProfile(
                name=f"c{number}",
                type=type_,
                rows=len(rows),
                missing=len(rows) - len(values),
                distinct=len(np.unique(values)),
                categories=tuple(zip(names, counts, strict=False)),
            )
        )
    return TableProfile(columns=tuple(columns), order=tuple(c.name for c in columns))


def references(rows: Table, types: Sequence[ColumnType] = ()) -> list[ColumnReference]:
    columns = profile(rows, types).columns
    return [ColumnReference(column, rows[:, n]) for n, column in enumerate(columns)]


def normal(width: int) -> Make:
    return lambda random, rows: random.normal(size=(rows, width))


def mixed(random: Random, rows: int) -> Table:
    """A delay with gaps, zero-inflated snow, a carrier, a boolean, a length of text, a time."""
    delay = np.round(random.gamma(2, 5, rows))
    delay[random.random(rows) < 0.03] = np.nan
    snow = random.exponential(size=rows) * (random.random(rows) < 0.2)
    carrier = random.choice(5, p=SHARES, size=rows)
    late, length = random.random(rows) < 0.2, random.integers(5, 8, rows)
    return np.stack([delay, snow, carrier, late, length, np.zeros(rows)], axis=1)


TYPES: tuple[ColumnType, ...] = ("number", "number", "category", "boolean", "text", "time")


def judge_of(
    rows: Table, types: Sequence[ColumnType] = (), *, size: int = 200, lasting: bool | None = None
) -> WindowJudge:
    config = DetectorSettings("tabular", window=size, lasting=lasting)
    return build_judge(fit_detector(config, rows, profile(rows, types)), config, rows)


REFERENCE = mixed(np.random.default_rng(0), 3000)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_counts_of_windows_add_up_to_those_of_all_their_rows(sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    grid = CountGrid(references(REFERENCE, TYPES))
    windows = [mixed(random, size) for size in sizes]
    for rows in windows:
        rows[random.random(rows.shape) < 0.1] = np.nan
        rows[random.random(rows.shape) < 0.05] = 1e9
    parts = [grid.count_rows(rows) for rows in windows]
    joined = grid.count_rows(np.concatenate(windows))
    assert np.array_equal(np.sum(parts, axis=0), joined)
    rows = np.add.reduceat(joined, grid.starts[:-1])
    assert (rows == sum(sizes)).all(), "each row is in one cell of each column"
    assert all(
        np.array_equal(grid.read_counts(grid.write_counts(part)), part)  # type: ignore[arg-type]
        for part in parts
    )


def test_counts_between_other_edges_are_none_of_ours() -> None:
    grid = CountGrid(references(REFERENCE, TYPES))
    other = CountGrid(references(REFERENCE + 1e-9, TYPES))
    text = other.write_counts(other.count_rows(REFERENCE[:50]))
    assert grid.read_counts(text) is None
    mine = grid.write_counts(grid.count_rows(REFERENCE[:50]))
    for damaged in ("", mine[:-9], f"{grid.name}:", f"{grid.name}:!!", mine.replace(":", "")):
        assert grid.read_counts(damaged) is None


@settings(deadline=None, max_examples=50)
@given(st.integers(500, 30_000), st.integers(200, 100_000), st.floats(0.001, 0.9))
def test_the_bound_of_a_distance_is_no_less_likely_than_the_distance(
    rows: int, reference: int, distance: float
) -> None:
    sizes = np.array([rows]), np.array([reference])
    bound = score_distances(np.array([distance]), *sizes)
    # which rounds the sizes
    assert bound[0] <= 1.01 * score_gaps(np.array([distance]), *sizes)[0] + 0.05


@pytest.mark.parametrize(
    ("make", "types"), [(normal(4), ()), (mixed, TYPES)], ids=["numbers", "mixed"]
)
def test_no_test_of_counts_alarms_oftener_than_stated(
    make: Make, types: Sequence[ColumnType]
) -> None:
    """A fresh reference for each: releases are independent."""
    releases, rate = 150, 0.05
    alarms = np.zeros(len(types) or 4, dtype=int)
    for release in range(releases):
        random = np.random.default_rng(release)
        columns = references(make(random, 1500), types)
        grid = CountGrid(columns)
        tests, before = CountTests(grid, columns), grid.count_references(columns)
        cells = grid.count_rows(make(random, 2000))
        for number in range(len(columns)):
            own = slice(*grid.starts[number : number + 2])
            results = tests.test_column(number, cells[own], before[own])
            score = max(each.result.score for each in results) - np.log10(len(results))
            alarms[number] += score >= -np.log10(rate)
            if score >= 2:
                assert number in tests.list_suspects(cells, before)
    assert max(alarms) <= find_most(releases, rate, 1e-4)


@pytest.mark.parametrize(
    ("make", "types"), [(normal(6), ()), (mixed, TYPES)], ids=["numbers", "mixed"]
)
def test_windows_together_alarm_no_oftener_than_two_in_a_row_would(
    make: Make, types: Sequence[ColumnType]
) -> None:
    """Releases of 64 windows each, at a rate that lets a tenth of it, 2 % of the windows, alarm together."""
    config = DetectorSettings("tabular", window=50, alarm_rate=0.2)
    alarms = windows = 0
    for release in range(8):
        random = np.random.default_rng(release)
        reference = make(random, 1000)
        columns = references(reference, types)
        test = LastingTest(config, CountGrid(columns), columns, reference)
        assert test.most_windows == 64
        counts = [test.grid.count_rows(make(random, 50)) for _ in range(64)]
        own = 0
        for number in range(1, 65):
            due = test.list_due(number)
            own += any(test.test_windows(counts[number - n : number]).alarm for n in due)
        alarms, windows = alarms + own, windows + 64
        assert own <= find_most(64, 0.2, 1e-4)
    assert alarms <= find_most(windows, 0.02, 1e-3)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_small_lasting_change_is_acted_on_within_ten_thousand_rows() -> None:
    for rows in (2000, 20_000):
        found = [find_action(seed, rows=rows, shift=0.15, windows=50) for seed in range(10)]
        assert sum(acted is not None for acted in found) >= 8, rows
    quiet = [find_action(seed, rows=2000, shift=0.0, windows=50) for seed in range(3)]
    assert quiet == [None] * 3


@pytest.mark.parametrize(
    ("column", "change", "text"),
    [
        (0, lambda r, x: np.where(r.random(len(x)) < 0.06, np.nan, x), "c0 missing 3.1 % -> 7.8 %"),
        (1, lambda r, x: x * 1.6, "c1 99 % quantile 4.6"),
        (2, lambda r, x: np.where(r.random(len(x)) < 0.07, 1, x), "c2 AA 20 % -> 2"),
        (2, lambda r, x: np.where(r.random(len(x)) < 0.04, 5, x), "c2 new category 0 % -> "),
        (3, lambda r, x: np.where(r.random(len(x)) < 0.08, 1, x), "c3 true 20 % -> 2"),
        (
            4,
            lambda r, x: x + (r.random(len(x)) < 0.25),
            "c4 length median 6 as before, and moved by ",
        ),
        (5, lambda r, x: np.where(r.random(len(x)) < 0.04, np.nan, x), "c5 missing 0 % -> "),
    ],
)
def test_what_lasts_is_named(
    column: int, change: Callable[[Random, Table], Table], text: str
) -> None:
    random = np.random.default_rng(1)
    judge = judge_of(mixed(random, 20_000), TYPES)
    for number in range(1, 33):
        rows = mixed(random, 200)
        rows[:, column] = change(random, rows[:, column])
        verdict = verdict_of(judge, number, rows)
        if verdict.lasting:
            break
    assert verdict.alarm
    assert verdict.score >= verdict.threshold
    told = describe_changes(read_changes(verdict.details), 3)
    assert text in told
    assert told.endswith(f"over the last {verdict.lasting} windows")
    lasting = read_lasting(verdict.details)
    assert lasting is not None
    assert (lasting.windows, lasting.window) == (verdict.lasting, number)
    assert lasting.rows == 200 * lasting.windows
    assert lasting.since is not None
    assert lasting.since < verdict.details["from"], "its first row is of an earlier window"
    assert lasting.until == verdict.details["to"]


def clean(judge: WindowJudge, random: Random, numbers: range) -> list[WindowRecord]:
    return [verdict_of(judge, n, random.normal(size=(200, 5))) for n in numbers]


def test_a_window_of_garbage_is_no_change_that_lasts() -> None:
    random = np.random.default_rng(2)
    judge = judge_of(random.normal(size=(20_000, 5)))
    clean(judge, random, range(1, 8))
    garbage = verdict_of(judge, 8, random.normal(size=(200, 5)) + 5)
    assert garbage.alarm
    assert garbage.lasting is None
    assert not any(each.lasting for each in clean(judge, random, range(9, 70)))


def test_a_change_that_is_over_is_told_until_as_many_windows_are_quiet() -> None:
    random = np.random.default_rng(2)
    judge = judge_of(random.normal(size=(20_000, 5)))
    for number in range(1, 17):
        verdict = verdict_of(judge, number, random.normal(size=(200, 5)) + 0.25)
    assert verdict.lasting
    told = [read_lasting(each.details) for each in clean(judge, random, range(17, 200))]
    stands = [each is not None and each.alarm for each in told]
    assert stands[0]
    assert not stands[-1]
    assert sorted(stands, reverse=True) == stands


def test_moves_of_the_training_data_themselves_are_no_alarm() -> None:
    """A day and night of the reference are those of the traffic."""
    random = np.random.default_rng(3)

    def day(start: int, rows: int) -> Table:
        table = random.normal(size=(rows, 3))
        table[:, 1] += 0.25 * np.sin(2 * np.pi * (start + np.arange(rows)) / 20_000)
        return table

    config = DetectorSettings("tabular", window=200)
    reference = day(0, 40_000)
    columns = references(reference)
    test = LastingTest(config, CountGrid(columns), columns, reference)
    (line, seasonal) = test.describe()
    assert line.startswith("lasting changes: up to 128 windows (25600 rows) are judged together")
    assert "`c1` moves by 0.1" in seasonal
    counts = [test.grid.count_rows(day(200 * n, 200)) for n in range(256)]
    alarms = {
        (number, column.column)
        for number in range(1, 257)
        for due in test.list_due(number)
        for column in test.test_windows(counts[number - due : number]).columns
    }
    assert {column for _, column in alarms} <= {"c1"}
    assert len(alarms) <= 4, "the largest moves of the days are about those of the reference"


@settings(deadline=None, max_examples=5)
@given(st.sets(st.integers(1, 23)))
def test_who_goes_on_after_the_stored_verdicts_judges_as_one_who_never_stopped(
    restarts: set[int],
) -> None:
    random = np.random.default_rng(4)
    reference = random.normal(size=(3000, 3))
    tables = [random.normal(size=(50, 3)) + 0.4 for _ in range(24)]
    whole = judge_of(reference, size=50)
    wanted = [verdict_of(whole, n, rows) for n, rows in enumerate(tables, 1)]
    assert any(verdict.lasting for verdict in wanted)
    judge, stored = judge_of(reference, size=50), list[WindowRecord]()
    for number, rows in enumerate(tables, 1):
        if number in restarts:
            judge.recall_windows(stored[-judge.remembers :])
        stored.append(verdict_of(judge, number, rows))
    assert stored == wanted


def test_windows_of_another_reference_are_not_judged_with_ours() -> None:
    random = np.random.default_rng(5)
    before, after = (judge_of(random.normal(size=(3000, 3)), size=50) for _ in range(2))
    stored = [verdict_of(before, n, random.normal(size=(50, 3)) + 0.3) for n in range(1, 12)]
    assert before.recall_windows(stored) == 11
    assert after.recall_windows(stored) == 0
    verdict = verdict_of(after, 12, random.normal(size=(50, 3)) + 0.3)
    assert verdict.lasting is None
    assert verdict.counts is not None


def test_what_is_judged_together_next_is_told() -> None:
    random = np.random.default_rng(8)
    judge = judge_of(random.normal(size=(3000, 3)), size=50)

    def find_pending(number: int) -> tuple[int, int, int]:
        pending = judge.find_pending(number)
        assert pending is not None
        return pending.window, pending.windows, pending.known

    told = []
    for number in range(1, 13):
        told.append(find_pending(number))
        record = verdict_of(judge, number, random.normal(size=(50, 3)))
        lasting = read_lasting(record.details)
        judged = lasting.windows if lasting is not None and lasting.window == number else 0
        last, windows, _ = told[-1]
        assert judged == (windows if last == number else 0)
    assert told[:4] == [(4, 4, 0), (4, 4, 1), (4, 4, 2), (4, 4, 3)]
    assert told[4:8] == [(6, 4, 2), (6, 4, 3), (8, 8, 6), (8, 8, 7)]
    assert told[8:] == [(10, 4, 2), (10, 4, 3), (12, 8, 6), (12, 8, 7)]


def test_it_can_be_turned_off_and_needs_a_reference() -> None:
    random = np.random.default_rng(6)
    rows = random.normal(size=(3000, 3))
    off = judge_of(rows, lasting=False)
    assert list(off.describe()) == []
    assert off.find_pending(4) is None
    verdict = verdict_of(off, 4, rows[:200])
    assert verdict.counts is None
    assert "lasting" not in verdict.details
    few = judge_of(rows[:150])
    assert list(few.describe()) == [
        "lasting changes: windows are judged one by one, not together: the reference has 150 rows, of at "
        "least 200 that this takes"
    ]
    assert verdict_of(few, 4, rows[:200]).counts is None
    assert few.find_pending(4) is None
    wide = judge_of(rows, size=7000)
    assert next(iter(wide.describe())).endswith("4 windows of 7000 rows are more than 25600")
