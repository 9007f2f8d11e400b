"""What the order of the training data says of windows of traffic: sessions, seasons, repeats, sorted files."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.detector import profile_rows
from support.traffic import NAMES, TRAFFIC, fit_traffic

from driftloop.contract.handovers import DetectorKind, DetectorSettings
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.detectors.calibration import Calibration, temper_scores
from driftloop.services.detector.detectors.statistics import convert_scores, restore_scores
from driftloop.services.detector.fitting.artifact import (
    DetectorArtifact,
    load_artifact,
    save_artifact,
)
from driftloop.services.detector.fitting.order import calibrate_fit, learn_order

Rows = NDArray[np.float64]


def learn(rows: Rows, window: int = 200) -> Calibration:
    return learn_order(rows, profile_rows(rows, (), lambda _: ()), window)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "least", "most"), [("sessions", 2.5, 6), ("twice", 1.7, 4)])
def test_rows_that_come_together_inflate_a_window(
    name: str, least: float, most: float, seed: int
) -> None:
    found = learn(TRAFFIC[name](np.random.default_rng(seed), np.arange(20_000.0)))
    assert set(found.effects) == set(NAMES)
    for effect in found.effects.values():
        assert least < effect.inflation < most
        # the next session is another one
        assert not effect.lasting
    (line,) = found.describe()
    assert "move further than random ones" in line


@pytest.mark.parametrize("seed", range(3))
def test_a_season_inflates_its_column_and_lasts(seed: int) -> None:
    at = np.arange(0, 4 * 86400.0, 20)
    found = learn(TRAFFIC["night"](np.random.default_rng(seed), at))
    assert list(found.effects) == ["c0"]
    effect = found.effects["c0"]
    # 1 + 200 rows * a quarter of a standard deviation squared
    assert 9 < effect.inflation < 18
    assert effect.lasting
    assert found.find_effect("c0", 1000).inflation == pytest.approx(1 + (effect.inflation - 1) * 5)


def test_independent_rows_have_no_order_and_it_is_said() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        rows = np.stack(
            [
                random.normal(size=2000),
                (random.random(2000) < 0.004) * 1.0,
                random.integers(0, 5, 2000),
            ],
            axis=1,
        )
        found = learn(rows)
        assert found.effects == {}
    line, longer = found.describe()
    assert longer.startswith("order: windows of 200 rows are longer than these blocks")
    assert (
        "nothing can be learnt of sessions and seasons: write batches in the order of time" in line
    )


def test_a_sorted_file_is_told_and_not_allowed_for() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(4000, 3))
    found = learn(rows[np.argsort(rows[:, 0])])
    assert (found.usable, found.sorted, dict(found.effects)) == (True, ("c0",), {})
    (line,) = found.describe()
    assert line.startswith("warning: `c0` moves too far in the files' order")
    sorted_ = learn(np.sort(rows, axis=0))
    assert (sorted_.usable, dict(sorted_.effects)) == (False, {})
    (line,) = sorted_.describe()
    assert "differ as those of a sorted file do (`c0`, `c1`, `c2`): nothing is learnt" in line


def test_few_rows_have_no_order() -> None:
    assert list(learn(np.random.default_rng(0).normal(size=(20, 2))).describe()) == [
        "order: 20 rows are too few to learn from their order"
    ]


def test_scores_and_distances_are_the_two_tails_of_a_normal_variable() -> None:
    assert convert_scores(np.array([-np.log10(0.05), 4.0])) == pytest.approx(
        [1.96, 3.8906], abs=1e-3
    )
    scores = np.array([0.0, 0.3, 2.0, 30.0, 1000.0, 90_000.0])
    assert restore_scores(convert_scores(scores)) == pytest.approx(scores, rel=1e-3, abs=1e-9)


def test_no_score_is_tempered_to_a_larger_one() -> None:
    scores = np.linspace(0, 50, 100)
    same, more = temper_scores(scores, 1.0), temper_scores(scores, 4.0)
    assert same == pytest.approx(scores, abs=1e-3)
    assert (more <= same + 1e-9).all()
    assert (np.diff(more) >= -1e-9).all()


def test_the_artifact_keeps_what_was_learnt(tmp_path: Path) -> None:
    fitted, _ = fit_traffic("tabular", TRAFFIC["night"], seed=0, alarm_rate=0.01)
    assert fitted.calibration is not None
    save_artifact(fitted, tmp_path)
    assert load_artifact(tmp_path).calibration == fitted.calibration
    # and one of an earlier version has none
    file = tmp_path / "detector.json"
    document = json.loads(file.read_text())
    del document["calibration"]
    file.write_text(json.dumps(document))
    assert load_artifact(tmp_path).calibration is None


@pytest.mark.parametrize("kind", ["tabular", "mmd", "mahalanobis", "schema"])
def test_every_kind_sees_what_moves_in_traffic_of_sessions(kind: DetectorKind) -> None:
    _, detector = fit_traffic(kind, TRAFFIC["sessions"], seed=1, alarm_rate=0.01)
    random = np.random.default_rng(5)
    windows = [TRAFFIC["sessions"](random, np.arange(200.0)) for _ in range(60)]
    assert sum(detector.score_window(rows).alarm for rows in windows) <= 4
    assert all(detector.score_window(rows + np.array([9.0, 0, 0])).alarm for rows in windows[:5])


def test_outliers_that_come_together_count_as_few() -> None:
    """A user of a hundred has only outliers, ten rows in a row."""

    def bursts(random: np.random.Generator, at: Rows) -> Rows:
        rows = random.normal(size=(len(at), 3))
        odd = np.repeat(random.random(len(at) // 10 + 1) < 0.01, 10)[: len(at)]
        rows[odd] += 12
        return rows

    def count(calibrated: bool) -> int:
        random = np.random.default_rng(3)
        fitted, detector = fit_traffic("mahalanobis", bursts, seed=0, alarm_rate=0.001)
        if not calibrated:
            detector = fit_detector(fitted.config, fitted.reference, fitted.profile)
        return sum(
            detector.score_window(bursts(random, np.arange(200.0))).alarm for _ in range(300)
        )

    assert count(calibrated=True) <= 3
    assert count(calibrated=False) > 10


def test_without_an_order_nothing_is_calibrated() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 2))
    profile = profile_rows(rows, (), lambda _: ())
    artifact = DetectorArtifact(DetectorSettings("tabular"), rows, profile)
    same = calibrate_fit(artifact, lambda part: fit_detector(artifact.config, part, profile))
    assert same is artifact
