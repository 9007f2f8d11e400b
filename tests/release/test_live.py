"""Bounds on live quality: beyond chance, and never silent."""

import math

import numpy as np
import pytest

from driftloop.contract.handovers import QualityLimit, RolloutLimits
from driftloop.release.judgement import Answers, Fail, Limits, Measured, Pass, Wait, analyze_step
from driftloop.release.live import LabelledFigures, LiveQuality, find_broken, score_label


def figures(rows: int, right: int) -> LabelledFigures:
    return LabelledFigures(rows=rows, right=right)


def errors(values: np.ndarray) -> LabelledFigures:
    squares = values**2
    return LabelledFigures(
        rows=len(values),
        numbers=len(values),
        absolute=float(np.abs(values).sum()),
        squares=float(squares.sum()),
        fourths=float((squares**2).sum()),
    )


def measured(quality: LiveQuality | None, seconds: float = 60) -> Measured:
    answered = Answers(100, 0, {0.1: 100, math.inf: 100})
    return Measured(seconds, answered, answered, quality=quality)


def limits(**quality: object) -> Limits:
    limit = QualityLimit(labels=200, **quality)  # type: ignore[arg-type]
    return Limits.of(RolloutLimits(seconds=30, requests=50, quality=limit))


GOOD, BAD = figures(400, 360), figures(300, 200)


@pytest.mark.parametrize(
    ("production", "candidate", "quality", "kind", "says"),
    [
        (GOOD, GOOD, {"production_minus": 0.0}, Pass, "accuracy 0.9 of 400 labelled rows, production's 0.9 of 400"),
        (GOOD, BAD, {"production_minus": 0.02}, Fail, "must be at most 0.02 below production's"),
        (GOOD, BAD, {"min": 0.8}, Fail, "accuracy 0.6667 of 300 labelled rows"),
        (GOOD, BAD, {"min": 0.7}, Pass, "0.6667"),
        (GOOD, figures(31, 1), {"min": 0.8}, Pass, "accuracy not judged: 31 of 200 labelled rows of the candidate"),
        (GOOD, figures(31, 1), {"min": 0.8, "waits": True}, Wait, "31 of 200 labelled rows of the candidate"),
        (figures(8, 8), BAD, {"min": 0.8}, Pass, "8 of 200 labelled rows of production"),
    ],
)  # fmt: skip
def test_verdicts(
    production: LabelledFigures, candidate: LabelledFigures, quality: dict, kind: type, says: str
) -> None:
    verdict = analyze_step(
        measured(LiveQuality("accuracy", 200, production, candidate)), limits(**quality)
    )
    assert isinstance(verdict, kind), verdict
    assert says in "; ".join(verdict.reasons)


def test_an_analysis_that_knows_nothing_of_labels_is_told() -> None:
    verdict = analyze_step(measured(None), limits(min=0.8))
    assert isinstance(verdict, Pass)
    assert "accuracy not judged: 0 of 200 labelled rows of the candidate" in verdict.reasons[-1]


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_errors_of_numbers(metric: str) -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=400)
    found = LiveQuality(metric, 200, errors(values), errors(values * 2))  # type: ignore[arg-type]
    mean, spread = found.candidate.measure(found.metric)
    expected = np.abs(2 * values).mean() if metric == "mae" else math.sqrt((4 * values**2).mean())
    assert mean == pytest.approx(expected)
    assert 0 < spread < 0.2
    assert "above production's" in find_broken(found, QualityLimit(production_plus=0.2))
    assert find_broken(found, QualityLimit(max=2.0)) == ""
    assert "at most 1" in find_broken(found, QualityLimit(max=1.0))


def test_an_equal_candidate_is_hardly_ever_rejected_however_often_one_looks() -> None:
    random = np.random.default_rng(2)
    rejected = 0
    for _ in range(200):
        right = random.random((2, 2000)) < 0.9
        counts = right.cumsum(axis=1)
        rejected += any(
            find_broken(
                LiveQuality(
                    "accuracy",
                    200,
                    *(figures(rows, int(counts[side, rows - 1])) for side in (0, 1)),
                ),
                QualityLimit(production_minus=0.0),
            )
            for rows in range(200, 2001, 50)
        )
    assert rejected <= 6


@pytest.mark.parametrize(
    ("answers", "names", "label", "rows", "right"),
    [
        ((1,), ("no", "yes"), "yes", 1, 1),
        ((1,), ("no", "yes"), 1, 1, 1),
        ((1,), ("7", "3"), 3, 1, 1),
        ((1,), (), "1.0", 1, 1),
        (("cat", "dog"), (), ["cat", "cat"], 2, 1),
        ((3,), (), True, 1, 0),
        ((0.5,), (), 0.25, 1, 0),
    ],
)
def test_what_a_label_says(
    answers: tuple, names: tuple, label: object, rows: int, right: int
) -> None:
    found = score_label(answers, names, label)  # type: ignore[arg-type]
    assert found is not None
    assert (found.rows, found.right) == (rows, right)


def test_a_label_that_fits_no_answer_says_nothing() -> None:
    assert score_label((1, 2), (), [1, 2, 3]) is None


def test_measured_survives_json() -> None:
    found = measured(LiveQuality("accuracy", 200, GOOD, BAD))
    assert Measured.from_json(found.to_json()) == found
    assert "accuracy 0.6667 of 300 labelled rows" in found.said
