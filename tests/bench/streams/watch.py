"""Watch streams with a known change by monitors, in the monitor environment; a line of JSON for each stream.

    python watch.py FOLDER TRAIN REFERENCE CLEAN WINDOW RATE

The first TRAIN rows train a model, the next REFERENCE rows are held out: monitors of answers, of labelled answers (`quality`), of
the right answers and of mistakes are fitted on these, monitors of inputs on both. CLEAN rows follow, then the change. Labels
come in groups, a window late and in another order than the answers.
"""

import csv
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from driftloop.contract.columns import FileColumns
from driftloop.contract.handovers import DetectorKind, DetectorSettings
from driftloop.contract.labels import LabelBatch, RequestLabel
from driftloop.contract.replays import ReplayOrder
from driftloop.contract.times import SECOND
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.fitting.artifact import draw_reference
from driftloop.services.detector.fitting.labelled_learning import gather_labelled
from driftloop.services.detector.fitting.learning import learn_table
from driftloop.services.detector.replays.replay import replay_tables
from driftloop.services.detector.rows.join import LabelJoin
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.rows.tables import TableFile
from driftloop.services.detector.stream.windows import WindowCutter, WindowRule

GROUP = 50
"""Labels that come together."""
Columns = dict[str, np.ndarray]
MONITORS: dict[str, tuple[str, DetectorKind]] = {
    "inputs": ("x", "tabular"),
    "together": ("x", "mmd"),
    "answers": ("answers", "tabular"),
    "labels": ("y", "tabular"),
    "mistakes": ("mistakes", "tabular"),
}
"""What each looks at, and its detector."""


@dataclass(frozen=True)
class Split:
    train: int
    held: int
    clean: int


def read(file: Path) -> tuple[Columns, np.ndarray]:
    with file.open(newline="") as stream:
        head, *lines = csv.reader(stream)
    values = np.array(lines, dtype=np.float64)
    return {name: values[:, n] for n, name in enumerate(head[:-1])}, values[:, -1]


def answer(x: Columns, y: np.ndarray, split: Split) -> tuple[Columns, np.ndarray, np.ndarray]:
    """Return the model's answers as columns, its mistakes, and how wrong it is on each row."""
    inputs = np.stack(list(x.values()), axis=1)
    train = slice(0, split.train)
    if len(np.unique(y)) > 20:
        model = RandomForestRegressor(50, min_samples_leaf=3, random_state=0)
        said = model.fit(inputs[train], y[train]).predict(inputs)
        return {"answer": said}, y - said, np.abs(y - said) / np.std(y[train])
    model = RandomForestClassifier(50, min_samples_leaf=3, random_state=0)
    shares = model.fit(inputs[train], y[train]).predict_proba(inputs)
    chosen = model.classes_[np.argmax(shares, axis=1)]
    columns = {f"class {label:g}": shares[:, n] for n, label in enumerate(model.classes_)}
    wrong = (chosen != y).astype(np.float64)
    return {**columns, "class": chosen}, wrong, wrong


def watch(columns: Columns, reference: slice, rest: slice, config: DetectorSettings) -> list[bool]:
    """Return which windows of the rest alarm."""

    def table(rows: slice) -> TableFile:
        values = {name: column[rows] for name, column in columns.items()}
        return TableFile("stream", FileColumns("stream", "column", tuple(values)), values)

    learnt = learn_table([table(reference)], ",".join(columns), "no target")
    fitted = draw_reference(config, learnt.rows, learnt.profile)
    report = replay_tables(fitted, [table(rest)], ReplayOrder())
    return [window.alarm for window in report.plain.windows]


def watch_labels(
    said: np.ndarray, y: np.ndarray, split: Split, window: int, rate: float
) -> list[bool]:
    """Return which windows of labelled answers alarm."""
    config = DetectorSettings(
        "quality", on="label", window=window, alarm_rate=rate, at_least=0.02, wait=1e6
    )
    known = split.train + split.held
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answers.jsonl"
        with file.open("w") as stream:
            for answer, label in zip(
                said[split.train : known], y[split.train : known], strict=True
            ):
                response = {"data": {"ndarray": [[answer]]}}
                reply = {"answer": answer, "response": response}
                stream.write(
                    json.dumps({"recent": True, "label": label, "candidate": reply}) + "\n"
                )
        fitted = gather_labelled(file, config)
    detector = fit_detector(config, fitted.reference, fitted.profile)
    reader = LabelledReader(fitted.profile)
    join, cutter = LabelJoin(reader, round(1e6 * SECOND)), WindowCutter(WindowRule(window, window))
    random = np.random.default_rng(0)
    alarms = []
    for start in range(known, len(y), GROUP):
        rows = range(start, min(start + GROUP, len(y)))
        for row in rows:
            join.add_answers(row, row, str(row), reader.read_response(_respond(said[row])).answers)
        labels = tuple(
            RequestLabel(request=str(row), label=float(y[row])) for row in random.permutation(rows)
        )
        decoded = join.add_labels(start, start, str(start), LabelBatch(given=start, labels=labels))
        for cut in cutter.add_event(start, start, decoded, "").windows:
            alarms.append(detector.score_window(cut.rows).alarm)
    return alarms


def _respond(answer: float) -> bytes:
    return json.dumps({"data": {"ndarray": [[float(answer)]]}}).encode()


def watch_stream(file: Path, split: Split, window: int, rate: float) -> dict[str, Any]:
    x, y = read(file)
    answers, mistakes, errors = answer(x, y, split)
    watched = {"x": x, "answers": answers, "y": {"y": y}, "mistakes": {"mistake": mistakes}}
    known, change = split.train + split.held, split.train + split.held + split.clean
    alarms = {}
    for name, (of, kind) in MONITORS.items():
        reference = slice(0 if of == "x" else split.train, known)
        config = DetectorSettings(kind, window=window, alarm_rate=rate)
        alarms[name] = watch(watched[of], reference, slice(known, None), config)
    said = answers["answer"] if "answer" in answers else answers["class"]
    alarms["quality"] = watch_labels(said, y, split, window, rate)
    return {
        "stream": file.stem.partition("-")[0],
        "error": [float(errors[known:change].mean()), float(errors[change:].mean())],
        "alarms": alarms,
    }


def watch_all(folder: Path, split: Split, window: int, rate: float) -> Iterator[str]:
    for file in sorted(folder.glob("*.csv")):
        yield json.dumps(watch_stream(file, split, window, rate))


if __name__ == "__main__":
    sizes = list(map(int, sys.argv[2:6]))
    for line in watch_all(Path(sys.argv[1]), Split(*sizes[:3]), sizes[3], float(sys.argv[6])):
        print(line, flush=True)
