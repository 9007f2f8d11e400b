"""`driftloop backtest`: rows of files through the monitors of a spec."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from driftloop.contract.budgets import read_traffic
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.replays import INJECTED_KINDS, InjectedChange
from driftloop.operations.backtests.backtest import choose_changes, read_change
from tests.local.conftest import envs

__all__ = ["envs"]

WIDTH = 4
SPEC = "pipeline.yaml"


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/s", 1.0),
        ("90/min", 1.5),
        ("1800/h", 0.5),
        ("43200/day", 0.5),
        ("0.5/s", 0.5),
        ("0/s", None),
        ("1", None),
        ("1/week", None),
        ("-1/s", None),
    ],
)
def test_a_rate_has_a_unit(text: str, rate: float | None) -> None:
    assert read_traffic(text) == rate


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("shift:fare", ("shift", "fare", 1.0, None)),
        ("shift:fare:-0.5@3000", ("shift", "fare", -0.5, 3000)),
        ("noise:a:b:2", ("noise", "a:b", 2.0, None)),
        ("category:carrier:0.03@12", ("category", "carrier", 0.03, 12)),
        ("lost:x[3]@7", ("lost", "x[3]", 0.0, 7)),
        ("shift:fare:0", None),
        ("noise:fare:-1", None),
        ("category:carrier:2", None),
        ("lost:fare:1", None),
        ("lost:", None),
        ("drop:fare", None),
    ],
)
def test_a_change_has_a_kind_a_column_a_size_and_a_row(text: str, change: Any) -> None:
    read = read_change(text)
    assert (read and (read.kind, read.column, read.size, read.row)) == change


@given(
    st.sampled_from(INJECTED_KINDS),
    st.text(st.characters(blacklist_characters="@\n"), min_size=1).filter(lambda t: ":" not in t),
    st.integers(1, 10**6),
)
def test_every_column_can_be_named(kind: Any, column: str, row: int) -> None:
    read = read_change(f"{kind}:{column}@{row}")
    assert read is not None
    assert (read.kind, read.column, read.row) == (kind, column, row)


def test_changes_are_chosen_of_the_columns_with_the_most_values() -> None:
    def column(name: str, type_: Any, distinct: int) -> ColumnProfile:
        return ColumnProfile(name=name, type=type_, rows=100, missing=0, distinct=distinct)

    first = TableProfile(columns=(column("id", "text", 9), column("n", "number", 3)))
    second = TableProfile(columns=(column("m", "number", 50), column("c", "category", 4)))
    chosen = choose_changes((first, second))
    assert [(each.kind, each.column) for each in chosen] == [
        ("shift", "m"),
        ("noise", "m"),
        ("category", "c"),
        ("lost", "id"),
    ]
    only = choose_changes((TableProfile(columns=(column("t", "time", 9),)),))
    assert only == (InjectedChange(kind="lost", column="t"),)


def rows(file: Path, seed: int, count: int, *, moved: float = 0.0) -> Path:
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, WIDTH))
    labels = (x[:, 0] > 0).astype(int)
    x[:, 1] += moved
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, x=x, y=labels)
    return file


def backtest(project: Path, envs: Path, *words: str, code: int = 0) -> Any:
    command = [sys.executable, "-m", "driftloop.cli", "backtest", "pipeline.yaml", *words]
    done = subprocess.run(
        [*command, "--envs", str(envs)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == code, done.stderr
    return done


def make_project(folder: Path, monitors: str) -> Path:
    run = [sys.executable, "-m", "driftloop.cli", "init", str(folder / "mine")]
    subprocess.run(run, check=True, capture_output=True)
    spec = folder / "mine" / "pipeline.yaml"
    lines = spec.read_text().splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("  monitors:"))
    lines[place : place + 2] = [f"  monitors: {monitors}"]
    spec.write_text("\n".join(lines) + "\n")
    return spec.parent


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_change_alarms_where_it_is_and_rows_as_before_do_not(tmp_path: Path, envs: Path) -> None:
    project = make_project(tmp_path, "{drift: {detector: tabular, window: 100, alarmRate: 0.001}}")
    rows(tmp_path / "batches" / "one.npz", 0, 2000)
    rows(tmp_path / "on" / "1.npz", 1, 300)
    rows(tmp_path / "on" / "2.npz", 2, 150, moved=2.0)
    words = ("--data", "../batches", "--on", "../on", "--rate", "1000/h")
    first, again = (backtest(project, envs, *words).stdout for _ in range(2))
    assert first == again
    lines = first.splitlines()
    assert lines[:2] == ["450 rows in 27 min", "drift (tabular): 4 windows, 1 alarm"]
    assert lines[2].startswith("  window 4, rows 301-400: score ")
    assert "x[1] median " in lines[2]
    assert lines[3] == "  the last 50 rows fill no window"
    assert "25 % of windows (19 of 20: 0.63 % to 81 %); alarmRate says 0.1 %" in lines[4]
    assert lines[5].startswith("  alarms of a month: 1.6e+03 (19 of 20: 40.5 to ")
    assert lines[6].startswith("decision (drift 2 alarms in a row; runs of 30 min, cooldown 30 min")
    assert lines[6].endswith(": 0 runs")
    told = json.loads(backtest(project, envs, *words, "--output", "json").stdout)
    (monitor,) = told["monitors"]
    assert [window["alarm"] for window in monitor["windows"]] == [False] * 3 + [True]
    shift, noise, lost = told["changes"]
    assert [change["row"] for change in (shift, noise, lost)] == [226] * 3
    assert lost["name"] == "x[0] lost"
    (seen,) = lost["monitors"]
    assert (seen["rows"], seen["alarms"], seen["windows"]) == (75, 2, 2)
    assert seen["words"].startswith("x[0] missing 0 % -> 7")
    assert lost["runRows"] == 175, "two alarms in a row"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rows_that_repeat_are_known_whichever_side_they_are_held_out_to(
    tmp_path: Path, envs: Path
) -> None:
    """1000 rows of twelve kinds, of which the training side lacks some."""
    project = make_project(tmp_path, "{drift: {detector: tabular, window: 200}}")
    random = np.random.default_rng(3)
    for file in ("batches/one.npz", "on/1.npz"):
        x = np.repeat(random.integers(0, 12, (1000, 1)), WIDTH, axis=1).astype(float)
        (tmp_path / file).parent.mkdir()
        np.savez(tmp_path / file, x=x, y=(x[:, 0] > 5).astype(int))
    done = backtest(
        project,
        envs,
        "--data",
        "../batches",
        "--on",
        "../on",
        "--rate",
        "1000/h",
        "--output",
        "json",
    )
    (monitor,) = json.loads(done.stdout)["monitors"]
    assert [window["alarm"] for window in monitor["windows"]] == [False] * 5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_change_that_the_rows_have_parts_false_alarms_from_delay(
    tmp_path: Path, envs: Path
) -> None:
    project = make_project(tmp_path, "{drift: {detector: tabular, window: 100, alarmRate: 0.001}}")
    rows(tmp_path / "batches" / "one.npz", 0, 2000)
    rows(tmp_path / "on" / "1.npz", 1, 350)
    rows(tmp_path / "on" / "2.npz", 2, 350, moved=2.0)
    words = ("--data", "../batches", "--on", "../on", "--inject", "none", "--changed-at", "351")
    lines = backtest(project, envs, *words).stdout.splitlines()
    assert lines[1] == "drift (tabular): 7 windows, 4 alarms"
    assert lines[6].startswith(
        "  false alarms before the change: 0 % of windows (19 of 20: 0 % to "
    )
    assert "none seen, most likely below 2.7" in lines[7]
    assert lines[8].endswith(": 1 run")
    assert lines[9].startswith("  run after row 500 (8.33 min), drift windows 4-5: x[1] median ")
    assert lines[-2] == "the rows' own change from row 351 on: a run after 150 rows (2.48 min)"
    assert lines[-1].startswith("  drift alarms after 50 rows (49 s), 4 of 4 windows: x[1] median ")
    refused = (
        (("--inject", "lost:y"), "no monitor looks at a column `y`"),
        (("--inject", "category:x[1]"), "column `x[1]`, which is of type number: must be of type"),
        (("--inject", "lost:x[1]@701"), "begins at row 701, must be one of the 700 rows"),
        (("--time", "at"), "has no column `at` with times; its columns: `x`, `y`"),
    )
    for more, told in refused:
        assert told in backtest(project, envs, *words[:4], *more, code=1).stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_monitors_of_answers_and_labels_judge_what_is_given(tmp_path: Path, envs: Path) -> None:
    each = "window: 100, alarmRate: 0.001"
    project = make_project(
        tmp_path,
        f"{{drift: {{{each}}}, answers: {{on: response, {each}}}, quality: {{on: label, {each}}}}}",
    )
    rows(tmp_path / "batches" / "one.npz", 0, 2000)
    rows(tmp_path / "on.npz", 1, 400)
    random = np.random.default_rng(0)

    def write(name: str, classes: Any, *, rehearsed: bool) -> str:
        responses = [{"data": {"ndarray": [int(each)]}} for each in classes]
        wrong = random.random(len(responses)) < 0.1
        lines = (
            {
                "recent": True,
                "label": int(answer) ^ int(other),
                "candidate": {"answer": [1], "response": each},
            }
            if rehearsed
            else each
            for each, answer, other in zip(responses, classes, wrong, strict=True)
        )
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return f"../{name}"

    rehearsal = write("rehearsal.jsonl", random.random(1000) < 0.5, rehearsed=True)
    share = np.repeat([0.5, 0.95], 200)
    given = random.random(400) < share
    answers = write("answers.jsonl", given, rehearsed=False)
    words = ("--data", "../batches", "--on", "../on.npz", "--inject", "lost:x[0]")
    done = backtest(project, envs, *words)
    assert "answers is not replayed: its reference are the answers of a rehearsal" in done.stderr
    assert "quality is not replayed: its reference are the labelled answers" in done.stderr
    lines = backtest(
        project, envs, *words, "--rehearsal", rehearsal, "--answers", answers
    ).stdout.splitlines()
    assert "drift (tabular): 4 windows, 0 alarms" in lines
    assert "answers (tabular): 4 windows, 2 alarms" in lines
    assert any(line.startswith("  window 3, rows 201-300: score ") for line in lines)
    assert "  answers does not look at the column" in lines
    assert "quality (quality): 4 windows, 4 alarms" in lines, "half of the answers are wrong"
    labels = capture_traffic(tmp_path / "on.npz", tmp_path / "traffic.parquet", given.tolist())
    traffic = ("--data", "../batches", "--on", "../traffic.parquet", *words[4:])
    done = backtest(project, envs, *traffic, "--rehearsal", rehearsal, "--labels", labels)
    captured = done.stdout.splitlines()
    assert captured[0].startswith("400 rows from 2026-05-28T")
    for name in ("drift (tabular)", "answers (tabular)", "quality (quality)"):
        (told,) = (line for line in captured if line.startswith(name))
        assert told in lines
    done = backtest(project, envs, *traffic, "--rehearsal", rehearsal)
    assert "quality is not replayed: " in done.stderr
    assert "which captured traffic does not have" in done.stderr
    assert "answers (tabular): 4 windows, 2 alarms" in done.stdout


def capture_traffic(rows: Path, out: Path, answers: list[bool]) -> str:
    """An export of captured traffic, and the file of its labels."""
    with np.load(rows) as arrays:
        x, y = arrays["x"].tolist(), arrays["y"].tolist()
    count = len(x)
    began = 1_780_000_000
    columns: dict[str, Any] = {
        "time": [datetime.fromtimestamp(began + 60 * n, UTC) for n in range(count)],
        "request_id": [f"r{n}" for n in range(count)],
        "row": [0] * count,
        "role": ["production"] * count,
        "status": [200] * count,
        "latency_ms": [1.0] * count,
        "x": x,
        "answer": list(map(int, answers)),
    }
    parquet.write_table(pyarrow.table(columns), out)
    labels = out.with_name("labels.csv")
    lines = (f"r{n},{label}\n" for n, label in enumerate(y))
    labels.write_text("request,label\n" + "".join(lines))
    return f"../{labels.name}"


@pytest.mark.parametrize(
    ("monitors", "words", "told"),
    [
        (
            "{drift: {detector: tabular, on: response}}",
            ("--on", "pipeline.yaml"),
            "has no monitor of requests",
        ),
        (
            "{drift: {detector: tabular}}",
            ("--on", SPEC, "--rehearsal", SPEC),
            "--rehearsal and --answers go together",
        ),
        (
            "{drift: {detector: tabular}}",
            ("--on", SPEC, "--labels", SPEC),
            "--answers and --labels need --rehearsal",
        ),
        (
            "{drift: {detector: tabular}}",
            ("--on", SPEC, "--labels", SPEC, "--rehearsal", SPEC, "--answers", SPEC),
            "--labels goes with captured traffic",
        ),
        (
            "{drift: {detector: tabular}}",
            ("--on", SPEC, "--answers", SPEC, "--rehearsal", SPEC),
            "has no monitor of answers",
        ),
        ("{drift: {detector: tabular}}", ("--on", "gone"), "does not exist"),
        (
            "{drift: {detector: tabular}}",
            ("--on", "pipeline.yaml", "--rate", "often"),
            "`often` must be a number of rows by s, min, h or day",
        ),
        (
            "{drift: {detector: tabular}}",
            ("--on", "pipeline.yaml", "--inject", "shift"),
            "`shift` must be KIND:COLUMN[:SIZE][@ROW]",
        ),
        (
            "{drift: {detector: tabular}}",
            ("--on", "pipeline.yaml", "--inject", "none", "--inject", "lost:x"),
            "`none` goes with no other change",
        ),
        (
            "{drift: {detector: tabular}}",
            ("--on", "pipeline.yaml", "--rate", "1/s", "--time", "at"),
            "--rate and --time exclude each other",
        ),
        (
            "{drift: {detector: tabular}}",
            ("--on", "pipeline.yaml", "--run", "soon"),
            "`soon` must be a number with a unit",
        ),
    ],
)
def test_what_can_not_be_replayed_is_refused_at_once(
    monitors: str, words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    project = make_project(tmp_path, monitors)
    code = 1 if "has no monitor of" in told else 2
    assert told in backtest(project, tmp_path / "envs", *words, code=code).stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_other_windows_are_tried_and_proposed(tmp_path: Path, envs: Path) -> None:
    """Of captured traffic with its answers, and labels to it."""
    monitors = "{drift: {detector: tabular, window: 400}, answers: {on: response, window: 400}, quality: {on: label, window: 400}}"
    project = make_project(tmp_path, monitors)
    rows(tmp_path / "batches" / "one.npz", 0, 2000)
    random = np.random.default_rng(2)
    truth = np.load(rows(tmp_path / "on" / "1.npz", 1, 1000))["y"]
    labels = capture_traffic(
        tmp_path / "on" / "1.npz",
        tmp_path / "traffic.parquet",
        list(truth ^ (random.random(1000) < 0.1)),
    )
    with (tmp_path / "rehearsal.jsonl").open("w") as stream:
        for label in map(int, random.random(1000) < 0.5):
            answer = label ^ int(random.random() < 0.1)
            reply = {"answer": [answer], "response": {"data": {"ndarray": [answer]}}}
            stream.write(json.dumps({"recent": True, "label": label, "candidate": reply}) + "\n")
    words = (
        "--data",
        "../batches",
        "--on",
        "../traffic.parquet",
        "--rehearsal",
        "../rehearsal.jsonl",
    )
    words += (
        "--labels",
        labels,
        "--label-delay",
        "1h",
        "--inject",
        "shift:x[1]:2@501",
        "--suggest",
    )
    lines = backtest(project, envs, *words).stdout.splitlines()
    assert lines[0].startswith("1000 rows from 2026-05-28T")
    place = lines.index("# 2 settings of each monitor tried on these rows")
    spec = yaml.safe_load("\n".join(lines[place:]))["spec"]
    assert spec["traffic"] == "1/min"
    assert spec["monitors"]["drift"] == {
        "detector": "tabular", "window": 100, "alarms": {"least": 1, "of": 1},
    }  # fmt: skip
    said = "\n".join(lines[place:])
    assert "sees 1 of 1 change, the last after 99 min" in said
    for name in ("answers", "quality"):
        (now,) = (line for line in lines if line.startswith(f"    # {name} now, window 400"))
        assert now.endswith(
            "the changes are made in requests, and leave answers and labels as they are"
        )
