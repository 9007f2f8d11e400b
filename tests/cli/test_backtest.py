"""`driftloop backtest`: rows of files through the monitors of a spec."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftloop.operations.backtest import read_rate
from tests.local.conftest import envs

__all__ = ["envs"]

WIDTH = 4


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
    assert read_rate(text) == rate


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
    assert lines[0] == "drift (tabular): 450 rows, 4 windows, 1 alarm"
    assert lines[1].startswith("  window 4, rows 301-400: score ")
    assert "x[1] median " in lines[1]
    assert lines[2] == "  the last 50 rows fill no window"
    assert lines[3] == "  a month of such traffic has 7200 windows; alarms: 1.8e+03"
    told = json.loads(backtest(project, envs, *words, "--output", "json").stdout)
    assert [window["alarm"] for window in told[0]["windows"]] == [False] * 3 + [True]
    quiet = backtest(project, envs, "--data", "../batches", "--on", "../on/1.npz").stdout
    assert "3 windows, 0 alarms" in quiet
    assert "alarms: most likely below 2.59e+04" in quiet


@pytest.mark.parametrize(
    ("monitors", "words", "told"),
    [
        (
            "{drift: {detector: tabular, on: response}}",
            ("--on", "pipeline.yaml"),
            "has no monitor of requests",
        ),
        ("{drift: {detector: tabular}}", ("--on", "gone"), "does not exist"),
        (
            "{drift: {detector: tabular}}",
            ("--on", "pipeline.yaml", "--rate", "often"),
            "`often` must be a number of rows by s, min, h or day",
        ),
    ],
)
def test_what_can_not_be_replayed_is_refused_at_once(
    monitors: str, words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    project = make_project(tmp_path, monitors)
    code = 2 if "--rate" in words or "gone" in words else 1
    assert told in backtest(project, tmp_path / "envs", *words, code=code).stderr
