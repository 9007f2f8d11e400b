"""How the tests prepare and start a detector."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.processes import Process, free_port, url

from driftloop.contract.profiles import ColumnProfile, ColumnType, TableProfile
from driftloop.contract.streams import DETECTOR_BYTES

ROOT = Path(__file__).parents[2]
WIDTH = 6


@dataclass(frozen=True)
class Settings:
    """Arguments that a detector of the tests is started with."""

    namespace: str = "n"
    pipeline: str = "digits"
    detector: str = "drift"
    release: str = "r1"
    kind: str = "ks"
    window: int = 50
    broker: str = "http://127.0.0.1:9/n/default"
    stream_bytes: int = DETECTOR_BYTES
    run: str = ""
    """Run that the artifact is fitted in; an artifact of earlier versions knows none."""
    at_most: float | None = None
    least: int | None = None
    on: str = "request"
    wait: float = 3600.0
    """Seconds for which answers wait; of labels."""
    function: str = ""
    """URL of the program of the user's function; of kind `function`."""
    by: str = ""
    """How answers are estimated; of kind `estimate`."""

    @property
    def json(self) -> str:
        settings = {"kind": self.kind, "window": self.window, "alarmRate": 0.001, "on": self.on}
        timed = {} if self.at_most is None else {"atMost": self.at_most, "least": self.least}
        run = {"function": {"run": "watch:judge", "timeout": 2.0}} if self.function else {}
        wait = {"wait": self.wait} if self.on == "label" else {}
        by = {"by": self.by} if self.by else {}
        return json.dumps({**settings, **timed, **run, **wait, **by})

    @property
    def function_options(self) -> tuple[str, ...]:
        return ("--function", self.function) if self.function else ()


def reference(folder: Path, rows: int = 600) -> Path:
    """A training run's reference data: standard normal rows."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "part.npz", x=np.random.default_rng(0).normal(size=(rows, WIDTH)), y=np.zeros(rows)
    )
    return folder


def profile_rows(
    rows: np.ndarray,
    types: Sequence[ColumnType],
    categories: Callable[[np.ndarray], Sequence[tuple[str, int]]],
) -> TableProfile:
    """The profile of rows with columns `c0`, `c1`, ... (all numbers without types); `categories`
    tells those of a column."""
    columns = tuple(
        ColumnProfile(
            name=f"c{n}",
            type=type_,
            rows=len(rows),
            missing=int(np.isnan(rows[:, n]).sum()),
            distinct=len(np.unique(rows[:, n])),
            categories=tuple(categories(rows[:, n])) if type_ == "category" else (),
        )
        for n, type_ in enumerate(types or ("number",) * rows.shape[1])
    )
    return TableProfile(columns=columns, order=tuple(column.name for column in columns))


def write_answers(
    file: Path,
    responses: list[dict[str, Any]],
    *,
    recent: int | None = None,
    labels: Sequence[Any] = (),
) -> Path:
    """answers.jsonl of a rehearsal, whose first rows are recent (default: all)."""
    recent = len(responses) if recent is None else recent
    with file.open("w") as stream:
        for number, response in enumerate(responses):
            reply = {"status": 200, "seconds": 0.01, "answer": 0, "response": response}
            label = labels[number] if labels else None
            line = {"row": number, "recent": number < recent, "label": label}
            stream.write(json.dumps({**line, "candidate": reply, "production": None}) + "\n")
    return file


def start_detector(python: Path, folder: Path, server: Process, **settings: Any) -> Process:
    """Fit a detector, unless it was fitted before, and start it; of anything but requests it learns from
    answers.jsonl in the folder."""
    chosen = Settings(**settings)
    artifact = folder / f"artifact-{chosen.kind}{chosen.run}"
    if not artifact.exists():
        answers = folder / "answers.jsonl"
        source = ("--answers", str(answers))
        if (rows := folder / "rows.json").exists():
            source += ("--rows", str(rows))
        if chosen.on == "request":
            source = ("--reference", str(reference(folder / "reference")), "--features", "x")
        fitted = run(
            python,
            *("fit", "--detector", chosen.json, *source, "--out", str(artifact)),
            *(("--run", chosen.run) if chosen.run else ()),
            *chosen.function_options,
        )
        assert fitted.returncode == 0, fitted.stderr
    port = free_port()
    argv = [str(python), "-m", "driftloop.services.detector", "serve", "--port", str(port)]
    argv += ["--namespace", chosen.namespace, "--pipeline", chosen.pipeline]
    argv += ["--detector", chosen.detector, "--release", chosen.release, "--config", chosen.json]
    argv += ["--artifact", str(artifact), "--broker", chosen.broker]
    argv += ["--stream-bytes", str(chosen.stream_bytes), *chosen.function_options]
    environment = {
        "NATS_URL": url(server),
        "PYTHONPATH": str(ROOT / "pipeline"),
        "NO_PROXY": "127.0.0.1",
    }
    log = folder / f"detector-{port}.log"
    return Process(argv, log, port, "/healthz", environment).start(100)


def run(python: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`driftloop-detector` with these arguments."""
    return subprocess.run(
        [str(python), "-m", "driftloop.services.detector", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
