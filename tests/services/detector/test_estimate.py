"""Estimates without labels: NannyML's numbers on public data, clean windows that are quiet, a loss that is seen, and one that
no estimate can see."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.detector import write_answers

from driftloop.contract.alibi import AlibiSettings
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.quality import describe_quality, read_estimate, read_figures
from driftloop.contract.verdicts import read_changes
from driftloop.services.detector.detectors import WindowDetector, fit_detector
from driftloop.services.detector.detectors.chances import (
    ChanceCalibration,
    expect_f1,
    expect_quality,
    measure_area,
)
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.fitting import artifact
from driftloop.services.detector.fitting.artifact import ArtifactError, DetectorArtifact
from driftloop.services.detector.fitting.labelled_learning import gather_labelled
from driftloop.services.detector.fitting.selftest import examine_fit
from driftloop.services.detector.rows.decoding import choose_decoder, keep_side
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.rows.values import Rows

GOLDEN = json.loads((Path(__file__).parent / "nannyml" / "golden.json").read_text())
Random = np.random.Generator
RATE = 0.02


@pytest.fixture(scope="module")
def public() -> Any:
    with np.load(Path(__file__).parent / "nannyml" / "rows.npz") as rows:
        return {name: rows[name] for name in rows.files}


def both(chances: Rows) -> Rows:
    """Probabilities of both classes, of those of the second."""
    return chances if chances.ndim > 1 else np.stack([1 - chances, chances], axis=1)


@pytest.mark.parametrize("name", ["loans", "cards", "houses"])
def test_estimates_are_nannymls(name: str, public: Any) -> None:
    reference = both(public[f"{name}_reference"])
    calibration = ChanceCalibration.fit(reference, public[f"{name}_labels"].astype(np.int64))
    analysis = both(public[f"{name}_analysis"])
    for number, golden in enumerate(GOLDEN[name]):
        chances = analysis[number * GOLDEN["chunk"] :][: GOLDEN["chunk"]]
        calibrated = calibration.calibrate(chances)
        figures = expect_quality(calibrated, chances)
        # its F1 of two classes is the second's
        f1 = figures["F1"] if chances.shape[1] > 2 else expect_f1(calibrated, chances)[1]
        assert figures["accuracy"] == pytest.approx(golden["accuracy"], abs=1e-9)
        assert f1 == pytest.approx(golden["f1"], abs=1e-9)
        # it takes rows with the same score in any order
        assert figures["AUC"] == pytest.approx(golden["roc_auc"], abs=2e-4)


def test_the_error_by_chance_is_nannymls(public: Any) -> None:
    reference, labels = both(public["loans_reference"]), public["loans_labels"]
    spread = (reference.argmax(axis=1) == labels).std() / GOLDEN["chunk"] ** 0.5
    assert spread == pytest.approx(GOLDEN["loans"][0]["error"], abs=1e-12)


def test_estimates_are_near_the_truth_where_labels_mean_what_they_did(public: Any) -> None:
    # the cards' labels do not: 0.64 is estimated of answers of which 0.56 are right
    for name in ("loans", "houses"):
        calibration = ChanceCalibration.fit(
            both(public[f"{name}_reference"]), public[f"{name}_labels"].astype(np.int64)
        )
        chances = both(public[f"{name}_analysis"])
        truth = public[f"{name}_truth"]
        figures = expect_quality(calibration.calibrate(chances), chances)
        real = float((chances.argmax(axis=1) == truth).mean())
        assert figures["accuracy"] == pytest.approx(real, abs=0.03), name


def test_the_area_counts_equal_scores_half() -> None:
    hits = np.array([1.0, 0.0, 1.0, 0.0])
    assert measure_area(np.array([0.9, 0.1, 0.8, 0.2]), hits) == 1.0
    assert measure_area(np.array([0.5, 0.5, 0.5, 0.5]), hits) == 0.5
    assert np.isnan(measure_area(hits, np.ones(4)))


def draw(random: Random, rows: int, *, sure: float = 0.4, classes: int = 3) -> tuple[Rows, Any]:
    """Overconfident probabilities, and labels."""
    scores = random.normal(size=(rows, classes)) / sure
    likely = np.exp(scores)
    likely /= likely.sum(axis=1, keepdims=True)
    labels = (likely.cumsum(axis=1) < random.random(rows)[:, None]).sum(axis=1)
    said = np.exp(2 * scores)
    return said / said.sum(axis=1, keepdims=True), np.minimum(labels, classes - 1)


def settings(kind: str = "estimate", **more: Any) -> DetectorSettings:
    on = {"estimate": "response", "quality": "label"}[kind]
    wait = 3600.0 if kind == "quality" else None
    document = {"kind": kind, "on": on, "alarmRate": RATE, "by": "cbpe", "atLeast": 0.0, **more}
    return DetectorSettings.read(document | ({"wait": wait} if wait else {}))


def fit(
    folder: Path, answers: Any, labels: Sequence[Any], config: DetectorSettings | None = None
) -> DetectorArtifact:
    """What a run fits, and a service reads back."""
    responses = [{"data": {"ndarray": [np.atleast_1d(each).tolist()]}} for each in answers]
    plain = np.asarray(labels).tolist()
    file = write_answers(folder / "answers.jsonl", responses, labels=plain)
    artifact.save_artifact(gather_labelled(file, config or settings()), folder / "detector")
    return artifact.load_artifact(folder / "detector")


def read(fitted: DetectorArtifact, answers: Rows) -> Rows:
    """A window's rows, as the service reads them."""
    body = json.dumps({"data": {"ndarray": answers.tolist()}}).encode()
    return choose_decoder(fitted, fitted.config).decode_rows(body).rows


def build(fitted: DetectorArtifact) -> WindowDetector:
    return fit_detector(fitted.config, fitted.reference, fitted.profile)


@pytest.mark.parametrize("classes", [2, 3])
def test_clean_windows_alarm_no_oftener_than_asked(classes: int, tmp_path: Path) -> None:
    random = np.random.default_rng(classes)
    alarms = []
    for release in range(6):
        fitted = fit(tmp_path, *draw(random, (300, 1500)[release % 2], classes=classes))
        detector = build(fitted)
        windows = (read(fitted, draw(random, 200, classes=classes)[0]) for _ in range(60))
        alarms.append(sum(detector.score_window(window).alarm for window in windows))
    # of 60 windows at 0.02 more than 6 come up once in a thousand times; one release of 20 may alarm oftener
    assert sum(count > 6 for count in alarms) <= 1, alarms


def test_answers_that_get_less_sure_alarm_with_the_accuracy_that_they_have(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    fitted = fit(tmp_path, *draw(random, 1500))
    detector = build(fitted)
    chances, labels = draw(random, 2000, sure=0.8)
    windows = np.split(chances, 10)
    verdicts = [detector.score_window(read(fitted, window)) for window in windows]
    assert sum(verdict.alarm for verdict in verdicts) >= 9
    (change,) = read_changes(verdicts[0].details)
    assert change.text.startswith("estimated accuracy 0.")
    assert change.text.endswith("over 200 rows")
    estimates = [read_estimate(verdict.details) for verdict in verdicts]
    mean = np.mean([each.figures["accuracy"][1] for each in estimates if each is not None])
    real = float((chances.argmax(axis=1) == labels).mean())
    assert mean == pytest.approx(real, abs=0.03)
    assert real < change.before - 0.1
    said = describe_quality(verdicts[0].details)
    assert said.startswith("estimated accuracy 0.")
    assert "AUC" in said


def test_a_quality_monitor_shows_what_would_have_been_estimated(tmp_path: Path) -> None:
    """Labels that change their meaning are what no estimate sees."""
    random = np.random.default_rng(2)
    fitted = fit(tmp_path, *draw(random, 1500), settings("quality"))
    chances, labels = draw(random, 1000)
    reader = LabelledReader(fitted.profile)
    answers = reader.read_response(json.dumps({"data": {"ndarray": chances.tolist()}}).encode())
    turned = reader.read_label(((labels + 1) % 3).tolist(), 1000)
    rows = reader.encode_rows(answers.answers, turned, answers.chances)
    details = build(fitted).score_window(rows).details
    estimate = read_estimate(details)
    assert estimate is not None
    before, real = read_figures(details)["accuracy"]
    assert real < 0.3
    assert estimate.figures["accuracy"][1] == pytest.approx(before, abs=0.03)
    assert "estimated accuracy" in describe_quality(details)


def test_an_estimate_tests_itself(tmp_path: Path) -> None:
    fitted = fit(tmp_path, *draw(np.random.default_rng(3), 1000))
    said = "\n".join(
        examine_fit(
            fitted, lambda rows: fit_detector(fitted.config, rows, fitted.profile)
        ).describe()
    )
    assert "of 200 rows are answered with equal probabilities" in said


def test_what_can_not_be_estimated_is_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    numbers = random.normal(size=100)
    with pytest.raises(ArtifactError, match="no probabilities of classes"):
        fit(tmp_path, numbers, numbers + 0.5)
    with pytest.raises(ArtifactError, match="99 answered rows have a label, an estimate needs at"):
        fit(tmp_path, *draw(random, 99))
    fitted = fit(tmp_path, *draw(random, 100))
    with pytest.raises(FitError, match="must be at least 50"):
        fit_detector(fitted.config, fitted.reference[:49], fitted.profile)


@pytest.mark.parametrize(("recent", "used"), [(66, 308), (100, 100), (200, 200)])
def test_earlier_rows_are_learnt_from_when_few_are_recent(
    tmp_path: Path, recent: int, used: int
) -> None:
    """An estimate tests itself on halves, which must be large enough."""
    answers, labels = draw(np.random.default_rng(6), 308)
    responses = [{"data": {"ndarray": [each.tolist()]}} for each in answers]
    file = write_answers(
        tmp_path / "answers.jsonl", responses, labels=labels.tolist(), recent=recent
    )
    fitted = gather_labelled(file, settings())
    assert len(fitted.reference) == used
    examine_fit(fitted, lambda rows: fit_detector(fitted.config, rows, fitted.profile))


def test_a_monitor_that_is_of_another_kind_now_keeps_what_it_was_fitted_for(tmp_path: Path) -> None:
    fitted = fit(tmp_path, *draw(np.random.default_rng(5), 100))
    assert keep_side(fitted, settings("quality")).kind == "estimate"
    assert keep_side(fitted, DetectorSettings("tabular", "response")).kind == "estimate"
    assert keep_side(fitted, settings(window=50)).window == 50


def test_a_monitor_that_is_another_test_now_goes_on_as_it_was_fitted() -> None:
    """`cvm` refuses columns of few values: its pod would never start on what `tabular` was fitted on."""
    number = ColumnProfile(name="a", type="number", rows=2, missing=0, distinct=2)
    profile = TableProfile(columns=(number,), order=("a",))
    fitted = DetectorArtifact(DetectorSettings("tabular", window=50), np.eye(2)[:, :1], profile)
    assert keep_side(fitted, DetectorSettings("cvm", window=100)) == fitted.config
    assert keep_side(fitted, DetectorSettings("tabular", window=100)).window == 100
    # answers come by now, and it says of each that it is no row of its own
    assert keep_side(fitted, DetectorSettings("schema", "response")).on == "response"
    theirs = replace(fitted, config=DetectorSettings("alibi", alibi=AlibiSettings("MMDDrift", {})))
    assert keep_side(theirs, DetectorSettings("tabular")).kind == "tabular"
