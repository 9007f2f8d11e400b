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
from driftloop.contract.replays import ReplayRecord
from driftloop.contract.verdicts import describe_changes, read_changes
from driftloop.services.detector import artifact
from driftloop.services.detector.answer_learning import gather_answers
from driftloop.services.detector.artifact import ArtifactError, DetectorArtifact
from driftloop.services.detector.judging import fit_judge
from driftloop.services.detector.payload import GAPS
from driftloop.services.detector.replay import build_requests, read_tables, replay_tables

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


def fit(folder: Path, kind: DetectorKind = "tabular", *, gap: bool = True) -> DetectorArtifact:
    flights(folder / "data" / "a.csv", 0, 3000, gap=gap)
    config = DetectorSettings(kind, window=100, alarm_rate=0.001)
    features = "delay" if kind == "ks" else "x"
    return artifact.gather_reference(folder / "data", features, config)


def replay(fitted: DetectorArtifact, rows: Path) -> ReplayRecord:
    judge = fit_judge(fitted.config, fitted.reference, fitted.profile)
    return replay_tables(fitted, judge, read_tables(rows))


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
    judge = fit_judge(config, fitted.reference, fitted.profile)
    tables = read_tables(flights(tmp_path / "on.csv", 1, 150))
    slow = replay_tables(fitted, judge, tables, rate=1 / 120)
    assert [window.size for window in slow.windows] == [30] * 4
    assert slow.waiting == 30
    assert slow.windows[0].details["closedBy"] == "time"
    assert "from" not in slow.windows[0].details
    assert replay_tables(fitted, judge, tables, rate=1 / 120) == slow
    assert [window.size for window in replay_tables(fitted, judge, tables, rate=5).windows] == [100]
    assert [window.size for window in replay_tables(fitted, judge, tables).windows] == [100]


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
    fitted = fit(tmp_path, "ks", gap=False)
    file = tmp_path / "on.csv"
    file.write_text("delay,carrier,y\n" + "3.5,UA,0\nNA,UA,0\n" * 10)
    config = DetectorSettings("tabular", window=5)
    judged = DetectorArtifact(config, fitted.reference, fitted.profile)
    assert replay(judged, file).rejected == ()
    judge = fit_judge(config, fitted.reference, fitted.profile)
    record = replay_tables(fitted, judge, read_tables(file))
    assert record.rejected == ((f"{GAPS} `delay`", 10),)
    assert record.waiting == 10


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


def test_a_row_is_sent_as_a_caller_has_it(tmp_path: Path) -> None:
    fitted = fit(tmp_path)
    file = tmp_path / "on.csv"
    file.write_text("y,night,carrier,delay\n1,True,NA,NA\n0,false,UA,3.5\n")
    (table,) = read_tables(file)
    sent = [json.loads(body)["data"] for body in build_requests(table, fitted.profile)]
    assert sent == [
        {"names": ["delay", "carrier", "night"], "ndarray": [[None, "NA", "True"]]},
        {"names": ["delay", "carrier", "night"], "ndarray": [[3.5, "UA", "false"]]},
    ]
