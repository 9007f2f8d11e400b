"""Labelled answers by slices of a column: a loss of one slice is seen within the budget of all, what is in no slice is
counted, and the figures are the usual ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.detector import write_answers

from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.quality import describe_quality, read_figures, read_slices
from driftloop.contract.verdicts import read_changes, read_small
from driftloop.services.detector.detectors import WindowDetector, fit_detector
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.fitting.artifact import ArtifactError, DetectorArtifact
from driftloop.services.detector.fitting.asked_rows import read_asked
from driftloop.services.detector.fitting.labelled_learning import gather_labelled
from driftloop.services.detector.fitting.selftest import examine_fit
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.rows.values import Rows

Random = np.random.Generator
CARRIERS = ("UA", "AA", "DL", "B6", "WN", "MQ", "EV", "9E", "US", "VX")
SHARES = (0.25, 0.2, 0.15, 0.1, 0.1, 0.08, 0.06, 0.04, 0.015, 0.005)
NAMES = ("hour", "carrier", "x")
RATE = 0.02


class World:
    """Flights that a model answers with the probabilities of two classes, mostly right."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def draw(self, rows: int, lost: str = "") -> tuple[list[list[Any]], Rows, list[str]]:
        """Requests, probabilities and labels; the answers to one carrier are guesses."""
        carriers = self.random.choice(CARRIERS, p=SHARES, size=rows)
        chances = self.random.beta(0.3, 0.3, size=rows)
        late = self.random.random(rows) < chances
        late = np.where(carriers == lost, self.random.random(rows) < 0.5, late)
        hours = self.random.integers(5, 8, rows)
        requests = [[int(h), str(c), 0.5] for h, c in zip(hours, carriers, strict=True)]
        answers = np.stack([1 - chances, chances], axis=1)
        return requests, answers, ["late" if each else "punctual" for each in late]


def settings(slices: Sequence[str] = ("carrier",), least: float = 0.0) -> DetectorSettings:
    return DetectorSettings(
        *("quality", "label"), alarm_rate=RATE, at_least=least, wait=3600.0, slices=tuple(slices)
    )


def fit(
    folder: Path,
    requests: Sequence[Any],
    answers: Any,
    labels: Sequence[Any],
    config: DetectorSettings | None = None,
    names: Sequence[str] | None = NAMES,
) -> DetectorArtifact:
    """What a run fits, and a service reads back."""
    responses = [
        {"data": {"names": ["punctual", "late"], "ndarray": [list(each)]}}
        if np.ndim(each)
        else {"data": {"ndarray": [each]}}
        for each in answers
    ]
    file = write_answers(folder / "answers.jsonl", responses, labels=list(labels))
    rows = [
        {"features": row, "label": label, "recent": True}
        for row, label in zip(requests, labels, strict=True)
    ]
    asked = folder / "rows.json"
    asked.write_text(
        json.dumps({"rows": rows, "names": None if names is None else list(names), "note": ""})
    )
    found = gather_labelled(file, config or settings(), read_asked(asked))
    artifact.save_artifact(found, folder / "detector")
    return artifact.load_artifact(folder / "detector")


def encode(
    fitted: DetectorArtifact, requests: Sequence[Any], answers: Any, labels: Sequence[Any]
) -> Rows:
    """A window's rows, as the service reads them."""
    reader = LabelledReader(fitted.profile)
    body = {"data": {"names": list(NAMES), "ndarray": list(requests)}}
    read = reader.read_response(
        json.dumps({"data": {"ndarray": np.asarray(answers).tolist()}}).encode()
    )
    asked = reader.read_request(json.dumps(body).encode())
    return reader.encode_rows(
        read.answers, reader.read_label(list(labels), len(labels)), read.chances, asked
    )


def build(fitted: DetectorArtifact) -> WindowDetector:
    return fit_detector(fitted.config, fitted.reference, fitted.profile)


def test_windows_with_slices_alarm_no_oftener_than_asked(tmp_path: Path) -> None:
    alarms = []
    for release in range(6):
        world = World(release)
        fitted = fit(tmp_path, *world.draw((500, 2000)[release % 2]))
        detector = build(fitted)
        windows = (encode(fitted, *world.draw(200)) for _ in range(60))
        alarms.append(sum(detector.score_window(window).alarm for window in windows))
    # of 60 windows at 0.02 more than 6 come up once in a thousand times; one release of 20 may alarm oftener
    assert sum(count > 6 for count in alarms) <= 1, alarms
    assert sum(alarms) <= 14, alarms


def test_a_loss_of_one_slice_is_seen_and_named(tmp_path: Path) -> None:
    world = World(1)
    fitted = fit(tmp_path, *world.draw(2000))
    detector = build(fitted)
    verdicts = [detector.score_window(encode(fitted, *world.draw(400, "AA"))) for _ in range(10)]
    named = [
        change
        for verdict in verdicts
        for change in read_changes(verdict.details)
        if change.column == "carrier = AA"
    ]
    assert len(named) >= 9
    assert all(change.of == "accuracy" and change.before > change.after for change in named)
    assert (
        f"carrier = AA accuracy {named[0].before:.4g} -> {named[0].after:.4g} over" in named[0].text
    )
    slices = read_slices(verdicts[0].details)
    assert slices is not None
    assert (slices.slices[0].value, slices.slices[0].alarm) == ("AA", True)
    said = describe_quality(verdicts[0].details)
    assert "ECE" in said
    assert f"carrier = AA {slices.slices[0].text.split(' = AA ')[1]}" in said


def test_a_small_certain_loss_of_a_slice_is_told_and_no_alarm(tmp_path: Path) -> None:
    world = World(2)
    fitted = fit(tmp_path, *world.draw(3000), settings(least=0.9))
    verdict = build(fitted).score_window(encode(fitted, *world.draw(1000, "UA")))
    assert not verdict.alarm
    assert "carrier = UA" in [change.column for change in read_small(verdict.details)]


def test_what_is_in_no_slice_is_counted(tmp_path: Path) -> None:
    world = World(3)
    fitted = fit(tmp_path, *world.draw(1000), settings(("carrier", "hour")))
    rare = [name for name, share in zip(CARRIERS, SHARES, strict=True) if share < 0.01]
    known = {name for name, _ in fitted.profile.columns[5].categories}
    assert known.isdisjoint(rare)
    requests, answers, labels = world.draw(200)
    requests[:30] = [[6, "a new one", 1.0]] * 30
    requests[30:35] = [[6, None, 1.0]] * 5
    verdict = build(fitted).score_window(encode(fitted, requests, answers, labels))
    slices = read_slices(verdict.details)
    assert slices is not None
    carriers = [row[1] for row in requests]
    others = sum(each is not None and each not in known for each in carriers)
    assert (slices.other_rows, slices.unknown_rows) == (others, 5)
    few = [name for name in known if 0 < carriers.count(name) < 10]
    assert (slices.few, slices.few_rows) == (len(few), sum(map(carriers.count, few)))
    rows = {(each.column, each.value): each.rows for each in slices.slices}
    assert rows["hour", "6"] == sum(row[0] == 6 for row in requests)
    assert rows["carrier", "UA"] == carriers.count("UA")


def test_a_request_that_did_not_come_leaves_its_rows_in_no_slice(tmp_path: Path) -> None:
    world = World(4)
    fitted = fit(tmp_path, *world.draw(500))
    _, answers, labels = world.draw(100)
    reader = LabelledReader(fitted.profile)
    read = reader.read_response(json.dumps({"data": {"ndarray": answers.tolist()}}).encode())
    rows = reader.encode_rows(read.answers, reader.read_label(labels, 100), read.chances)
    slices = read_slices(build(fitted).score_window(rows).details)
    assert slices is not None
    assert (slices.slices, slices.unknown_rows) == ((), 100)


def test_the_figures_are_the_usual_ones(tmp_path: Path) -> None:
    world = World(5)
    fitted = fit(tmp_path, *world.draw(800))
    _, answers, labels = drawn = world.draw(300)
    details = build(fitted).score_window(encode(fitted, *drawn)).details
    figures = {name: after for name, (_, after) in read_figures(details).items()}
    said, are = answers.argmax(axis=1), np.array([label == "late" for label in labels]).astype(int)
    both = [(said == c) & (are == c) for c in (0, 1)]
    f1 = [2 * both[c].sum() / ((said == c).sum() + (are == c).sum()) for c in (0, 1)]
    sure = answers.max(axis=1)
    gaps = [
        abs((said == are)[bin_].mean() - sure[bin_].mean()) * bin_.mean()
        for low in np.arange(0, 1, 0.1)
        if (bin_ := (sure > low + 1e-12) & (sure <= low + 0.1 + 1e-12)).any()
    ]
    assert figures["accuracy"] == (said == are).mean()
    assert figures["F1"] == pytest.approx(np.mean(f1))
    assert figures["ECE"] == pytest.approx(sum(gaps))
    assert figures["Brier score"] == pytest.approx(
        ((answers - np.eye(2)[are]) ** 2).sum(axis=1).mean()
    )


def test_numbers_are_judged_by_slices_too(tmp_path: Path) -> None:
    world = World(6)
    requests, _, _ = world.draw(1500)
    labels = world.random.normal(size=1500)
    answers = labels + world.random.normal(size=1500)
    fitted = fit(tmp_path, requests, answers.tolist(), labels.tolist())
    requests, _, _ = world.draw(400)
    labels = world.random.normal(size=400)
    wide = np.array([row[1] == "UA" for row in requests])
    answers = labels + world.random.normal(size=400) * np.where(wide, 3, 1)
    reader = LabelledReader(fitted.profile)
    asked = reader.read_request(
        json.dumps({"data": {"names": list(NAMES), "ndarray": requests}}).encode()
    )
    rows = reader.encode_rows(tuple(answers.tolist()), tuple(labels.tolist()), None, asked)
    verdict = build(fitted).score_window(rows)
    assert verdict.alarm
    slices = read_slices(verdict.details)
    assert slices is not None
    assert slices.slices[0].value == "UA"
    errors = np.abs(answers - labels)[wide]
    assert slices.slices[0].figures["RMSE"][1] == pytest.approx(np.sqrt((errors**2).mean()))


def test_a_fit_with_slices_tests_itself(tmp_path: Path) -> None:
    fitted = fit(tmp_path, *World(7).draw(1000))
    said = "\n".join(
        examine_fit(
            fitted, lambda rows: fit_detector(fitted.config, rows, fitted.profile)
        ).describe()
    )
    assert "of 200 rows are answered wrong" in said


@pytest.mark.parametrize(
    ("slices", "names", "says"),
    [
        (("carier",), NAMES, "`slices` names `carier`, must be of the columns of requests"),
        (("x0",), None, "they are arrays, and have no names"),
        (("key",), ("hour", "key", "x"), "no value of `key` has 20 of 100 answered rows"),
    ],
)
def test_columns_without_slices_are_refused(
    slices: tuple[str, ...], names: tuple[str, ...] | None, says: str, tmp_path: Path
) -> None:
    requests, answers, labels = World(8).draw(100)
    if slices == ("key",):
        requests = [[5, f"k{n}", 0.5] for n in range(100)]
    with pytest.raises(ArtifactError, match=says):
        fit(tmp_path, requests, answers, labels, settings(slices), names)


def test_slices_need_the_rows_that_were_asked(tmp_path: Path) -> None:
    _, answers, labels = World(9).draw(100)
    file = write_answers(
        tmp_path / "answers.jsonl",
        [{"data": {"ndarray": [each.tolist()]}} for each in answers],
        labels=[int(label == "late") for label in labels],
    )
    with pytest.raises(ArtifactError, match="slices need the rows"):
        gather_labelled(file, settings())
