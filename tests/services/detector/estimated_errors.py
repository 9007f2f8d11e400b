"""Run in the monitor environment by test_estimated_errors.py, which has scikit-learn: what is estimated of NannyML's rows, of
made-up ones, and in the windows of releases of which nothing has changed; JSON on stdout."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.verdicts import read_changes
from driftloop.services.detector.detectors import WindowDetector, fit_detector
from driftloop.services.detector.detectors.expected_errors import ErrorModel
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.fitting.asked_rows import read_asked
from driftloop.services.detector.fitting.labelled_learning import gather_labelled
from driftloop.services.detector.fitting.selftest import examine_fit
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.rows.values import Rows

Random = np.random.Generator
HERE = Path(__file__).parent
RATE = 0.02
LINES = ("slow", "fast")


def settings(kind: str = "estimate") -> DetectorSettings:
    on = {"estimate": "response", "quality": "label"}[kind]
    document = {"kind": kind, "on": on, "alarmRate": RATE, "by": "dle", "atLeast": 0.0}
    return DetectorSettings.read(document | ({"wait": 3600.0} if on == "label" else {}))


def estimate_cars() -> list[dict[str, float]]:
    """Estimates of each chunk of NannyML's prices of cars."""
    with np.load(HERE / "nannyml" / "rows.npz") as rows:
        reference, labels, analysis = (
            rows[f"cars_{name}"].astype(np.float64) for name in ("reference", "labels", "analysis")
        )
    model = ErrorModel.fit(reference, abs(reference[:, -1] - labels))
    figures = (model.expect_errors(chunk).figures for chunk in np.split(analysis, 4))
    return [{"mae": each["absolute error mean"], "rmse": each["RMSE"]} for each in figures]


def draw(random: Random, rows: int, *, fast: float = 0.3) -> tuple[list[list[Any]], Rows, Rows]:
    """Requests, answers and labels; errors are larger the longer the way is, and twice as large on the fast line."""
    line = (random.random(rows) < fast).astype(int)
    way = random.gamma(2, 2, rows)
    answers = 3 * way + line
    labels = answers + random.normal(size=rows) * (0.5 + 0.3 * way) * (1 + line)
    asked = [
        [LINES[which], None if random.random() < 0.05 else float(far), bool(which)]
        for which, far in zip(line, way, strict=True)
    ]
    return asked, answers, labels


def fit(folder: Path, drawn: Any, config: DetectorSettings | None = None) -> DetectorArtifact:
    """What a run fits."""
    asked, answers, labels = drawn
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"features": each, "label": None, "recent": True} for each in asked]
    (folder / "rows.json").write_text(
        json.dumps({"names": ["line", "way", "night"], "rows": rows, "note": ""})
    )
    with (folder / "answers.jsonl").open("w") as stream:
        for row, (answer, label) in enumerate(zip(answers, labels, strict=True)):
            reply = {"answer": answer, "response": {"data": {"ndarray": [[answer]]}}}
            line = {"candidate": reply, "recent": True, "label": label, "row": row}
            stream.write(json.dumps(line) + "\n")
    return gather_labelled(
        folder / "answers.jsonl", config or settings(), read_asked(folder / "rows.json")
    )


def build(fitted: DetectorArtifact) -> WindowDetector:
    return fit_detector(fitted.config, fitted.reference, fitted.profile)


def read(fitted: DetectorArtifact, drawn: Any, *, labelled: bool = False) -> Rows:
    """A window's rows, as the service pairs them."""
    asked, answers, labels = drawn
    reader = LabelledReader(fitted.profile)
    body = json.dumps({"data": {"ndarray": [[each] for each in answers.tolist()]}})
    answered = reader.read_response(body.encode())
    # columns in another order than the file's, by their names
    request = {"names": ["way", "night", "line"], "ndarray": [[b, c, a] for a, b, c in asked]}
    columns = reader.read_request(json.dumps({"data": request}).encode())
    assert columns is not None
    if labelled:
        return reader.encode_rows(
            answered.answers, reader.read_label(labels.tolist(), len(labels)), None, columns
        )
    rows = reader.encode_answers(answered)
    reader.place_asked(rows, columns)
    return rows


def count_alarms(folder: Path) -> list[int]:
    """Alarms in 50 clean windows of each of three releases."""
    random, alarms = np.random.default_rng(0), []
    for release in range(3):
        fitted = fit(folder / str(release), draw(random, (400, 1500, 700)[release]))
        detector = build(fitted)
        windows = (read(fitted, draw(random, 200)) for _ in range(50))
        alarms.append(sum(detector.score_window(window).alarm for window in windows))
    return alarms


def judge_change(folder: Path) -> dict[str, Any]:
    """Windows of which most rows are of the line with larger errors."""
    random = np.random.default_rng(1)
    fitted = fit(folder, draw(random, 1500))
    detector = build(fitted)
    verdicts, real = [], []
    for _ in range(5):
        drawn = draw(random, 200, fast=0.9)
        real.append(float(abs(drawn[1] - drawn[2]).mean()))
        verdicts.append(detector.score_window(read(fitted, drawn)))
    tested = examine_fit(fitted, lambda rows: fit_detector(fitted.config, rows, fitted.profile))
    return {
        "alarms": [verdict.alarm for verdict in verdicts],
        "change": read_changes(verdicts[0].details)[0].text,
        "details": [verdict.details for verdict in verdicts],
        "real": real,
        "selftest": list(tested.describe()),
        "columns": [[column.name, column.type] for column in fitted.profile.columns],
    }


def judge_labelled(folder: Path) -> dict[str, Any]:
    """A window of labelled answers, and one half of whose requests did not come."""
    random = np.random.default_rng(2)
    fitted = fit(folder, draw(random, 1500), settings("quality"))
    detector = build(fitted)
    rows = read(fitted, draw(random, 200), labelled=True)
    half = rows.copy()
    half[:100, 3:] = np.nan
    none = rows.copy()
    none[:, 3:] = np.nan
    return {
        name: detector.score_window(each).details
        for name, each in (("all", rows), ("half", half), ("none", none))
    }


def refuse_noise(folder: Path) -> str:
    """Errors that nothing of a request tells."""
    random = np.random.default_rng(3)
    asked = [["slow", 1.0, False]] * 200
    drawn = asked, np.zeros(200), random.normal(size=200)
    try:
        examine_fit(
            fitted := fit(folder, drawn),
            lambda rows: fit_detector(fitted.config, rows, fitted.profile),
        )
    except FitError as error:
        return error.message
    return ""


def main(folder: Path) -> None:
    results = {
        "cars": estimate_cars(),
        "clean": count_alarms(folder / "clean"),
        "change": judge_change(folder / "change"),
        "labelled": judge_labelled(folder / "labelled"),
        "noise": refuse_noise(folder / "noise"),
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
