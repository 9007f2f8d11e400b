"""Rows of files as requests: the verdicts are those of traffic, and the same each time."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from support.detector import write_answers

from driftloop.contract.documents import to_json
from driftloop.contract.handovers import DetectorKind, DetectorSettings
from driftloop.contract.replays import (
    InjectedChange,
    ReplayOrder,
    ReplayRecord,
    ReplayReport,
)
from driftloop.contract.verdicts import describe_changes, read_changes
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.fitting.answer_learning import gather_answers
from driftloop.services.detector.fitting.artifact import ArtifactError, DetectorArtifact
from driftloop.services.detector.replays.asking import build_rows, read_answers, read_tables
from driftloop.services.detector.replays.replay import replay_tables
from driftloop.services.detector.rows.marks import WIDTH

CARRIERS = ("UA", "AA", "B6")


def flights(file: Path, seed: int, rows: int, *, aa: float = 0.2, gap: bool = True) -> Path:
    """A table of flights; a share of `aa` is the carrier's."""
    random = np.random.default_rng(seed)
    delay = np.round(random.gamma(2, 5, rows), 1)
    carrier = random.choice(CARRIERS, p=((1 - aa) * 0.6, aa, (1 - aa) * 0.4), size=rows)
    night = random.random(rows) < 0.2
    late = [None if gap and random.random() < 0.05 else float(value) for value in delay]
    columns = {"delay": late, "carrier": carrier.tolist(), "night": night.tolist()}
    columns["y"] = (delay > 12).tolist()
    file.parent.mkdir(parents=True, exist_ok=True)
    match file.suffix:
        case ".parquet":
            parquet.write_table(pyarrow.table(columns), file)
        case ".jsonl":
            lines = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            file.write_text("\n".join(map(json.dumps, lines)) + "\n")
        case _:
            cells = zip(*columns.values(), strict=True)
            lines_ = [",".join("NA" if v is None else str(v) for v in row) for row in cells]
            file.write_text("\n".join([",".join(columns), *lines_]) + "\n")
    return file


def fit(
    folder: Path, kind: DetectorKind = "tabular", *, gap: bool = True, **settings: Any
) -> DetectorArtifact:
    flights(folder / "data" / "a.csv", 0, 3000, gap=gap)
    config = DetectorSettings(kind, window=100, alarm_rate=0.001, **settings)
    features = "delay" if kind == "ks" else "x"
    return artifact.gather_reference(folder / "data", features, config)


def replay(fitted: DetectorArtifact, rows: Path) -> ReplayRecord:
    return report(fitted, rows).plain


def report(fitted: DetectorArtifact, rows: Path, **order: Any) -> ReplayReport:
    return replay_tables(fitted, read_tables(rows), ReplayOrder(**order))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_windows_are_judged_in_order_and_alarms_name_the_change(
    suffix: str, tmp_path: Path
) -> None:
    fitted = fit(tmp_path)
    flights(tmp_path / "on" / f"a{suffix}", 1, 300)
    flights(tmp_path / "on" / f"b{suffix}", 2, 220, aa=0.6)
    record = replay(fitted, tmp_path / "on")
    assert (record.rows, record.waiting, record.rejected) == (520, 20, ())
    assert [window.alarm for window in record.windows] == [False] * 3 + [True] * 2
    fourth = record.windows[3]
    assert (fourth.first, fourth.last, fourth.size, fourth.time) == (301, 400, 100, None)
    assert describe_changes(read_changes(fourth.details), 1).startswith("carrier AA 2")
    assert "unreadable" not in fourth.details
    assert replay(fitted, tmp_path / "on") == record, "the same each time"
    assert ReplayRecord.read(json.loads(json.dumps(to_json(record)))) == record


def test_slow_traffic_closes_windows_by_time(tmp_path: Path) -> None:
    fitted = fit(tmp_path)
    config = replace(fitted.config, at_most=3600.0, least=10)
    fitted = replace(fitted, config=config)
    rows = flights(tmp_path / "on.csv", 1, 150)
    slow = report(fitted, rows, rate=1 / 120).plain
    assert [window.size for window in slow.windows] == [30] * 4
    assert slow.waiting == 30
    assert slow.windows[0].details["closedBy"] == "time"
    assert "from" not in slow.windows[0].details
    # each is due an hour after its first row, and waits for no other
    assert slow.closed == tuple(120.0 * first + 3600 for first in (1, 31, 61, 91))
    assert report(fitted, rows, rate=1 / 120).plain == slow
    quick = report(fitted, rows, rate=5.0).plain
    assert ([window.size for window in quick.windows], quick.closed) == ([100], (20.0,))
    assert [window.size for window in replay(fitted, rows).windows] == [100]


def test_rows_have_the_times_of_a_column_and_come_in_its_order(tmp_path: Path) -> None:
    fitted = fit(tmp_path)
    fitted = replace(fitted, config=replace(fitted.config, at_most=3600.0, least=2))
    file = tmp_path / "on.jsonl"
    times = [
        "2026-01-31 10:30:00",
        "2026-01-31T09:30:00Z",
        "2026-01-31T12:00:00+01:00",
        1769857200.0,
    ]
    lines = [
        {"delay": 3.0 + n, "carrier": "UA", "night": False, "at": at} for n, at in enumerate(times)
    ]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    told = report(fitted, file, time="at", marks=(3,))
    assert told.unordered == 1
    assert told.times == ((1, 1769851800.0), (3, 1769857200.0), (4, 1769857200.0))
    # the third row comes after the first window was due
    assert [(window.first, window.last) for window in told.plain.windows] == [(1, 2)]
    assert told.plain.closed == (1769855400.0,)


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (None, "row 1: the time in `at` is missing, must be a time such as 2026-01-31T09:30:00Z"),
        ("soon", "row 1: the time in `at` is `soon`, must be"),
        (-5, "row 1: the time in `at` is `-5`, must be"),
    ],
)
def test_a_row_without_a_time_is_refused(at: Any, told: str, tmp_path: Path) -> None:
    fitted = fit(tmp_path)
    file = tmp_path / "on.jsonl"
    file.write_text(json.dumps({"delay": 3.0, "at": at}) + "\n")
    with pytest.raises(ArtifactError, match=told):
        report(fitted, file, time="at")
    with pytest.raises(
        ArtifactError, match="has no column `when` with times; its columns: `delay`"
    ):
        report(fitted, file, time="when")


def inject(**change: Any) -> dict[str, Any]:
    return {"changes": (InjectedChange(**change),), "rate": 1.0}


@pytest.mark.parametrize(
    ("kind", "column", "size", "words"),
    [
        ("shift", "delay", 1.0, "delay median "),
        ("noise", "delay", 3.0, "delay "),
        ("category", "carrier", 0.3, "carrier new category 0 % -> 2"),
        ("lost", "delay", 0.0, "delay missing 4."),
    ],
)
def test_a_change_is_made_from_its_row_on_and_named(
    kind: Any, column: str, size: float, words: str, tmp_path: Path
) -> None:
    fitted = fit(tmp_path)
    rows = flights(tmp_path / "on.csv", 1, 1000)
    told = report(fitted, rows, **inject(kind=kind, column=column, size=size, row=401))
    assert not any(window.alarm for window in told.plain.windows)
    (changed,) = told.changed
    assert changed.windows[:4] == told.plain.windows[:4]
    assert [window.alarm for window in changed.windows] == [False] * 4 + [True] * 6
    assert describe_changes(read_changes(changed.windows[4].details), 1).startswith(words)
    assert report(fitted, rows, **inject(kind=kind, column=column, size=size, row=401)) == told
    assert ReplayReport.parse(json.dumps(to_json(told))) == told


def test_a_change_begins_in_the_middle_when_nothing_is_said(tmp_path: Path) -> None:
    fitted = fit(tmp_path)
    rows = flights(tmp_path / "on.csv", 1, 500)
    told = report(fitted, rows, **inject(kind="lost", column="night"))
    assert told.starts == (251,)
    assert dict(told.times)[251] == 251.0
    assert [window.alarm for window in told.changed[0].windows] == [False] * 2 + [True] * 3


def test_a_column_that_is_not_looked_at_stays_as_it_is(tmp_path: Path) -> None:
    fitted = fit(tmp_path, columns=("delay",))
    rows = flights(tmp_path / "on.csv", 1, 300)
    told = report(fitted, rows, **inject(kind="lost", column="carrier", row=101))
    assert told.changed == (told.plain,)


def test_elements_of_arrays_change(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "a.npz", x=random.normal(size=(2000, 2, 3)), y=np.zeros(2000))
    config = DetectorSettings("tabular", window=100, alarm_rate=0.001)
    fitted = artifact.gather_reference(tmp_path / "data", "x", config)
    np.savez(tmp_path / "on.npz", x=random.normal(size=(200, 2, 3)))
    changes = (
        InjectedChange(kind="shift", column="x[5]", size=2.0, row=101),
        InjectedChange(kind="lost", column="x[0]", row=101),
    )
    told = report(fitted, tmp_path / "on.npz", changes=changes)
    for record, column in zip(told.changed, ("x[5]", "x[0]"), strict=True):
        assert [window.alarm for window in record.windows] == [False, True]
        assert [change.column for change in read_changes(record.windows[1].details)] == [column]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"kind": "shift", "column": "carrier", "size": 1.0},
            "type category: must be of type number",
        ),
        (
            {"kind": "category", "column": "delay", "size": 0.1},
            "type number: must be of type category",
        ),
        (
            {"kind": "lost", "column": "delay", "row": 301},
            "begins at row 301, must be one of the 300",
        ),
    ],
)
def test_a_change_that_does_not_fit_is_refused(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    fitted = fit(tmp_path)
    rows = flights(tmp_path / "on.csv", 1, 300)
    with pytest.raises(ArtifactError, match=told):
        report(fitted, rows, **inject(**change))


def test_broken_requests_are_seen_by_their_schema(tmp_path: Path) -> None:
    fitted = fit(tmp_path, "schema")
    flights(tmp_path / "on" / "a.csv", 1, 100)
    text = flights(tmp_path / "b.csv", 2, 100).read_text()
    (tmp_path / "on" / "b.csv").write_text(text.replace(",AA,", ",ZZ,"))
    quiet, alarm = replay(fitted, tmp_path / "on").windows
    assert not quiet.alarm
    assert describe_changes(read_changes(alarm.details), 1).startswith("carrier new category")


def test_one_file_is_enough_and_arrays_are_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "a.npz", x=random.normal(size=(2000, 2, 3)), y=np.zeros(2000))
    config = DetectorSettings("tabular", window=100, alarm_rate=0.001)
    fitted = artifact.gather_reference(tmp_path / "data", "x", config)
    moved = random.normal(size=(200, 2, 3))
    moved[100:, 1, 2] += 2
    np.savez(tmp_path / "on.npz", x=moved)
    record = replay(fitted, tmp_path / "on.npz")
    assert [window.alarm for window in record.windows] == [False, True]
    assert read_changes(record.windows[1].details)[0].column == "x[5]"


def test_rows_that_can_not_be_judged_are_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    (tmp_path / "on").mkdir()
    np.savez(tmp_path / "data" / "a.npz", x=random.normal(size=(400, 3)), y=np.zeros(400))
    config = DetectorSettings("tabular", window=50, alarm_rate=0.001)
    fitted = artifact.gather_reference(tmp_path / "data", "x", config)
    for name, width in (("a", 3), ("b", 2), ("c", 3)):
        np.savez(tmp_path / "on" / f"{name}.npz", x=random.normal(size=(30, width)))
    record = replay(fitted, tmp_path / "on")
    assert record.rejected == ((WIDTH, 30),)
    assert [(window.first, window.last) for window in record.windows] == [(1, 80)]
    assert (record.windows[0].details["rejected"], record.waiting) == (30, 10)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "other\n1\n", "a.csv has none of the columns that the detector judges: delay"),
        ("a.txt", "delay\n1\n", r"contains no \.npz"),
        ("a.jsonl", "{\n", r"a\.jsonl, line 1 is not JSON"),
    ],
)
def test_files_that_can_not_be_replayed_are_refused(
    name: str, text: str, told: str, tmp_path: Path
) -> None:
    fitted = fit(tmp_path)
    (tmp_path / "on").mkdir()
    (tmp_path / "on" / name).write_text(text)
    with pytest.raises(ArtifactError, match=told):
        replay(fitted, tmp_path / "on")


def test_answers_are_not_rows(tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = [{"data": {"ndarray": [n / 7]}} for n in range(60)]
    config = DetectorSettings("tabular", on="response")
    fitted = gather_answers(write_answers(tmp_path / "answers.jsonl", answers), config)
    with pytest.raises(ArtifactError, match="judges answers"):
        replay(fitted, flights(tmp_path / "on.csv", 0, 5))


def answers_of(random: np.random.Generator, rows: int, *, sevens: float = 0.1) -> list[Any]:
    """Classes of which a share is 7."""
    shares = np.full(10, (1 - sevens) / 9)
    shares[7] = sevens
    return [{"data": {"ndarray": [int(n)]}} for n in random.choice(10, p=shares, size=rows)]


def fit_answers(folder: Path) -> DetectorArtifact:
    config = DetectorSettings("tabular", on="response", window=100, alarm_rate=0.001)
    rehearsed = answers_of(np.random.default_rng(0), 2000)
    return gather_answers(write_answers(folder / "rehearsal.jsonl", rehearsed), config)


def test_answers_to_rows_are_judged_in_the_order_of_the_rows(tmp_path: Path) -> None:
    fitted, random = fit_answers(tmp_path), np.random.default_rng(1)
    given = [*answers_of(random, 300), *answers_of(random, 250, sevens=0.5)]
    given[400] = None
    file = tmp_path / "given.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in given))
    table = read_tables(flights(tmp_path / "on.csv", 0, 550))
    answers = read_answers(file)
    change = InjectedChange(kind="lost", column="class")
    told = replay_tables(fitted, table, ReplayOrder(rate=10.0, changes=(change,)), answers)
    assert [window.alarm for window in told.plain.windows] == [False] * 3 + [True] * 2
    words = describe_changes(read_changes(told.plain.windows[3].details), 1)
    assert words.startswith("class 7 9.7 % -> 4")
    assert told.plain.waiting == 49, "one row has no answer"
    assert told.plain.closed == (10.0, 20.0, 30.0, 40.0, 50.1)
    assert told.changed[0].windows == told.plain.windows, "of changed rows no answer is known"
    times = [{"at": 1_000_000 + 550 - n} for n in range(550)]
    (tmp_path / "on.jsonl").write_text("".join(json.dumps(each) + "\n" for each in times))
    turned = replay_tables(
        fitted, read_tables(tmp_path / "on.jsonl"), ReplayOrder(time="at"), answers[::-1]
    )
    assert [window.alarm for window in turned.plain.windows] == [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]\n", "there are 1 answers, must be one for each of the 2 rows"),
        ("[1]\nseven\n", "given.jsonl, line 2 is `seven`, must be an answer in JSON"),
    ],
)
def test_answers_that_are_not_those_of_the_rows_are_refused(
    text: str, told: str, tmp_path: Path
) -> None:
    fitted = fit_answers(tmp_path)
    (tmp_path / "given.jsonl").write_text(text)
    table = read_tables(flights(tmp_path / "on.csv", 0, 2))
    with pytest.raises(ArtifactError, match=told):
        replay_tables(fitted, table, ReplayOrder(), read_answers(tmp_path / "given.jsonl"))


def test_a_row_is_sent_as_a_caller_has_it(tmp_path: Path) -> None:
    fitted = fit(tmp_path)
    file = tmp_path / "on.csv"
    file.write_text("y,night,carrier,delay\n1,True,NA,NA\n0,false,UA,3.5\n")
    (table,) = read_tables(file)
    sent = [json.loads(row.encode())["data"] for row in build_rows(table, fitted.profile)]
    assert sent == [
        {"names": ["delay", "carrier", "night"], "ndarray": [[None, None, "True"]]},
        {"names": ["delay", "carrier", "night"], "ndarray": [[3.5, "UA", "false"]]},
    ]
