"""Monitors of labelled answers: what they are fitted on, that clean windows are quiet, and what a loss is said to be."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.verdicts import describe_changes, read_changes, read_small
from driftloop.services.detector.detectors import WindowDetector, fit_detector
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.fitting.artifact import ArtifactError, DetectorArtifact
from driftloop.services.detector.fitting.labelled_learning import gather_labelled
from driftloop.services.detector.fitting.selftest import examine_fit
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.rows.values import Rows

Random = np.random.Generator
RATE, WINDOWS, RELEASES = 0.02, 600, 10


def config(window: int = 200, rate: float = 0.01, least: float = 0.0) -> DetectorSettings:
    return DetectorSettings(
        "quality", on="label", window=window, alarm_rate=rate, at_least=least, wait=3600.0
    )


def write(
    file: Path, answers: Sequence[Any], labels: Sequence[Any], names: Sequence[str] = ()
) -> Path:
    """answers.jsonl of a rehearsal."""
    with file.open("w") as stream:
        for number, (answer, label) in enumerate(zip(answers, labels, strict=True)):
            values = answer if isinstance(answer, list) else [answer]
            response = {"data": {"names": list(names), "ndarray": [values]}}
            reply = {"status": 200, "seconds": 0.01, "answer": 0, "response": response}
            line = {"row": number, "recent": True, "label": label, "candidate": reply}
            stream.write(json.dumps({**line, "production": None}) + "\n")
    return file


def fit(
    folder: Path, *rehearsed: Any, settings: DetectorSettings | None = None
) -> DetectorArtifact:
    """What a run fits, and a service reads back."""
    settings = settings or config()
    found = gather_labelled(write(folder / "answers.jsonl", *rehearsed), settings)
    artifact.save_artifact(found, folder / "detector")
    return artifact.load_artifact(folder / "detector")


def guess(random: Random, rows: int, accuracy: float, classes: int = 10) -> tuple[Any, Any]:
    labels = random.integers(0, classes, rows)
    wrong = (labels + random.integers(1, classes, rows)) % classes
    return np.where(random.random(rows) < accuracy, labels, wrong), labels


def encode(fitted: DetectorArtifact, answers: Any, labels: Any) -> Rows:
    reader = LabelledReader(fitted.profile)
    texts = [str(each) for each in answers] if reader.classes else [float(a) for a in answers]
    read = reader.read_label([each.item() for each in labels], len(texts))
    return reader.encode_rows(tuple(texts), read)


def build(fitted: DetectorArtifact) -> WindowDetector:
    return fit_detector(fitted.config, fitted.reference, fitted.profile)


def shares(random: Random, rows: int) -> tuple[Any, Any]:
    return guess(random, rows, 0.95)


def coin(random: Random, rows: int) -> tuple[Any, Any]:
    return guess(random, rows, 0.5, classes=2)


def perfect(random: Random, rows: int) -> tuple[Any, Any]:
    return guess(random, rows, 1.0)


def skewed(random: Random, rows: int) -> tuple[Any, Any]:
    labels = random.lognormal(0, 1, rows)
    return labels * random.lognormal(0, 0.5, rows), labels


def tied(random: Random, rows: int) -> tuple[Any, Any]:
    """Stars: most answers are exact, the others one off."""
    labels = random.integers(1, 6, rows).astype(float) + 0.5
    return labels + random.choice([0, 0, 0, 1, -1, 2], rows), labels


def halved(random: Random, rows: int) -> tuple[Any, Any]:
    """A fifth of errors is 0."""
    labels = random.normal(size=rows)
    return labels + random.normal(size=rows) * (random.random(rows) > 0.2), labels


CLEAN: dict[str, Callable[[Random, int], tuple[Any, Any]]] = {
    "shares": shares,
    "coin": coin,
    "perfect": perfect,
    "skewed": skewed,
    "tied": tied,
    "halved": halved,
}


@pytest.mark.parametrize("name", CLEAN)
def test_clean_windows_alarm_no_oftener_than_asked(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    alarms = []
    for release in range(RELEASES):
        answers, labels = CLEAN[name](random, (200, 2000)[release % 2])
        settings = config(rate=RATE)
        fitted = fit(tmp_path, answers.tolist(), labels.tolist(), settings=settings)
        detector = build(fitted)
        windows = (encode(fitted, *CLEAN[name](random, 200)) for _ in range(WINDOWS // RELEASES))
        alarms.append(sum(detector.score_window(window).alarm for window in windows))
    # of 60 windows at 0.02 more than 6 come up once in a thousand times; one release of 20 may alarm oftener
    assert sum(count > 6 for count in alarms) <= 2, alarms


@pytest.mark.parametrize(("accuracy", "least"), [(0.8, 19), (0.88, 12)])
def test_a_loss_is_seen(accuracy: float, least: int, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    answers, labels = guess(random, 1000, 0.95)
    fitted = fit(tmp_path, answers.tolist(), labels.tolist())
    detector = build(fitted)
    windows = (encode(fitted, *guess(random, 200, accuracy)) for _ in range(20))
    assert sum(detector.score_window(window).alarm for window in windows) >= least


def test_a_gain_is_no_alarm(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    answers, labels = guess(random, 1000, 0.8)
    fitted = fit(tmp_path, answers.tolist(), labels.tolist())
    verdict = build(fitted).score_window(encode(fitted, *guess(random, 200, 1.0)))
    assert (verdict.alarm, verdict.score) == (False, 0.0)


def test_an_alarm_names_the_measure_and_the_classes_that_lost_most(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    answers, labels = guess(random, 2000, 0.95)
    fitted = fit(tmp_path, answers.tolist(), labels.tolist())
    answers, labels = guess(random, 400, 0.95)
    answers = np.where(labels == 3, 8, answers)
    verdict = build(fitted).score_window(encode(fitted, answers, labels))
    assert verdict.alarm
    changes = read_changes(verdict.details)
    assert [change.column for change in changes] == ["accuracy", "class 3", "class 8"]
    assert changes[1].after == 0.0
    said = describe_changes(changes, 2)
    right = float((answers == labels).mean())
    assert f"-> {right:.4g} over 400 labelled rows; class 3 F1 0.9" in said
    assert said.endswith("-> 0; 1 more")
    assert verdict.details["quality"]["accuracy"][1] == right


def test_a_certain_loss_below_the_least_is_no_alarm_and_is_told(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    settings = config(window=20_000, least=0.05)
    rehearsed = guess(random, 20_000, 0.95)
    fitted = fit(tmp_path, *(each.tolist() for each in rehearsed), settings=settings)
    verdict = build(fitted).score_window(encode(fitted, *guess(random, 20_000, 0.92)))
    assert not verdict.alarm
    assert [change.column for change in read_small(verdict.details)] == ["accuracy"]


@pytest.mark.parametrize("name", ["skewed", "tied", "halved"])
def test_errors_that_grow_alarm_with_their_mean(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    answers, labels = CLEAN[name](random, 1000)
    fitted = fit(tmp_path, answers.tolist(), labels.tolist())
    answers, labels = CLEAN[name](random, 200)
    verdict = build(fitted).score_window(encode(fitted, 3 * answers, labels))
    assert verdict.alarm
    mean = np.abs(3 * answers - labels).mean()
    assert f"-> {mean:.4g} over 200 labelled rows" in read_changes(verdict.details)[0].text


LEARNT: dict[str, tuple[list[Any], list[Any], list[str], str, str]] = {
    "places": ([[0.9, 0.1], [0.2, 0.8]], [0, 1], ["t:0", "t:1"], "right", "places"),
    "names": ([[0.9, 0.1], [0.2, 0.8]], ["cat", "dog"], ["cat", "dog"], "right", "names"),
    "names that are numbers": ([[0.9, 0.1], [0.2, 0.8]], [3, 7.0], ["3", "7"], "right", "names"),
    "texts": ([["cat"], ["dog"]], ["cat", "cat"], ["t:0"], "right", ""),
    "classes": ([0, 1.0], [0, 1], [], "right", ""),
    "numbers": ([0.5, 3], [1, 3], [], "error", ""),
    "chances": ([0.5, 0.9], [0, 1], [], "error", ""),
    "booleans": ([[True], [False]], [True, True], [], "right", ""),
}


@pytest.mark.parametrize("name", LEARNT)
def test_what_answers_and_labels_are_is_learnt(name: str, tmp_path: Path) -> None:
    answers, labels, names, measure, chosen = LEARNT[name]
    fitted = fit(tmp_path, answers * 30, labels * 30, names)
    assert (fitted.profile.columns[0].name, fitted.profile.chosen) == (measure, chosen)
    assert fitted.profile.of == "labelled"
    if measure == "right":
        assert fitted.reference[:, 0].any()
    else:
        assert fitted.reference[0].tolist()[1:] == [answers[0], labels[0]]


@pytest.mark.parametrize(
    ("answers", "labels", "says"),
    [
        ([0.5] * 40, [None] * 40, "none of 40 answered rows has a label"),
        (
            [[0.9, 0.1]] * 40,
            ["cat"] * 40,
            "no answer is right: the labels are `cat`, the answers `0`",
        ),
        ([0.5] * 40, [1.5] * 39 + ["x"], "line 40: the answer is `0.5` and the label `x`"),
    ],
)
def test_labels_that_fit_no_answer_are_refused(
    answers: list[Any], labels: list[Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=says.replace("(", r"\(")) as refused:
        fit(tmp_path, answers, labels)
    assert refused.value.hint


def test_a_fit_tests_itself(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    answers, labels = guess(random, 1000, 0.9)
    fitted = fit(tmp_path, answers.tolist(), labels.tolist())
    said = "\n".join(
        examine_fit(
            fitted, lambda rows: fit_detector(fitted.config, rows, fitted.profile)
        ).describe()
    )
    assert "reference rows drawn at random alarm" in said
    assert "of 200 rows are answered wrong" in said
    # too few rows to see anything
    few = fit(tmp_path, answers.tolist(), labels.tolist(), settings=config(window=2, rate=1e-6))
    with pytest.raises(FitError, match="can't alarm"):
        examine_fit(few, lambda rows: fit_detector(few.config, rows, few.profile))
