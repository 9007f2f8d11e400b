"""Thresholds that are not ours: how far beyond them a window must be for the stated rate."""

import json
import math
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import functions, monitor
from support.detector import ROOT, profile_rows
from support.processes import Process

from driftloop.contract.functions import FunctionSettings
from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import WindowDetector, WindowVerdict, fit_detector
from driftloop.services.detector.detectors.function import FunctionProgram
from driftloop.services.detector.detectors.statistics import find_most
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.fitting.order import calibrate_fit
from driftloop.services.detector.fitting.selftest import examine_fit
from driftloop.services.detector.fitting.tails import (
    bound_heavy_tail,
    bound_ranks,
    bound_tail,
    count_ranked,
    looks_heavy,
)

Rows = NDArray[np.float64]
RATE, WINDOW, RELEASES, WINDOWS = 0.05, 50, 3, 100
DOUBT = 1e-4


def normal(random: np.random.Generator, rows: int) -> Rows:
    return random.normal(size=(rows, 2))


def sessions(random: np.random.Generator, rows: int) -> Rows:
    users = np.repeat(random.normal(size=(rows // 10 + 1, 2)), 10, axis=0)[:rows]
    return np.sqrt(0.3) * users + np.sqrt(0.7) * normal(random, rows)


def zeros(random: np.random.Generator, rows: int) -> Rows:
    """Nine of ten values are 0; and a constant column."""
    values = random.exponential(size=rows) * (random.random(rows) < 0.1)
    return np.stack([values, np.zeros(rows)], axis=1)


def heavy_zeros(random: np.random.Generator, rows: int) -> Rows:
    """One value of a hundred is not 0, and may be any number."""
    values = random.pareto(1, rows) * (random.random(rows) < 0.01)
    return np.stack([values, np.zeros(rows)], axis=1)


class LargestDetector:
    """The largest value of the first column, a score alone: 0 in every other window."""

    def __init__(self, bound: float | None) -> None:
        self._bound = bound or 0.0

    def score_window(self, rows: Rows) -> WindowVerdict:
        largest = float(rows[:, 0].max())
        return WindowVerdict(largest > self._bound, largest, self._bound, severity=largest)


class GuessedDetector:
    """The mean of the first column, against a guess of how far it may move."""

    def __init__(self, reference: Rows, bound: float | None) -> None:
        self._mean = float(reference[:, 0].mean())
        self._bound = max(1.0, bound or 1.0)

    def score_window(self, rows: Rows) -> WindowVerdict:
        far = abs(float(rows[:, 0].mean()) - self._mean) / 0.05
        return WindowVerdict(far > self._bound, far, self._bound, severity=far)


@pytest.mark.parametrize("draw", [normal, sessions, zeros])
def test_a_guess_holds_the_rate_in_each_release(
    draw: Callable[[np.random.Generator, int], Rows],
) -> None:
    config = DetectorSettings(
        "function", window=WINDOW, alarm_rate=RATE, function=FunctionSettings("watch:judge")
    )
    alarms = []
    for release in range(RELEASES):
        rows = draw(np.random.default_rng([release, 0]), 2000)
        profile = profile_rows(rows, (), lambda values: ())
        fitted = calibrate_fit(
            DetectorArtifact(config, rows, profile, ordered=rows),
            lambda part: GuessedDetector(part, None),
        )
        assert fitted.calibration is not None
        assert fitted.calibration.bound is not None
        assert fitted.calibration.bound > 1
        detector = GuessedDetector(rows, fitted.calibration.bound)
        random = np.random.default_rng([release, 1])
        alarms.append(
            sum(detector.score_window(draw(random, WINDOW)).alarm for _ in range(WINDOWS))
        )
        (line,) = [each for each in fitted.calibration.describe() if "threshold: " in each]
        assert "times as far as the threshold for the stated rate" in line
        moved = draw(random, WINDOW) + 10 * rows[:, 0].std()
        assert detector.score_window(moved).alarm
    assert max(alarms) <= find_most(WINDOWS, RATE, DOUBT)
    assert sum(alarms) <= find_most(RELEASES * WINDOWS, RATE, DOUBT)


def test_scores_that_are_mostly_0_and_else_of_any_size_hold_the_rate() -> None:
    config = DetectorSettings(
        "function", window=WINDOW, alarm_rate=RATE, function=FunctionSettings("watch:judge")
    )
    alarms = []
    for release in range(10):
        rows = heavy_zeros(np.random.default_rng([release, 0]), 2000)
        fitted = calibrate_fit(
            DetectorArtifact(config, rows, profile_rows(rows, (), lambda values: ()), ordered=rows),
            lambda part: LargestDetector(None),
        )
        assert fitted.calibration is not None
        assert any("have a heavy tail" in line for line in fitted.calibration.describe())
        detector = LargestDetector(fitted.calibration.bound)
        random = np.random.default_rng([release, 1])
        windows = (detector.score_window(heavy_zeros(random, WINDOW)) for _ in range(WINDOWS))
        alarms.append(sum(each.alarm for each in windows))
    assert max(alarms) <= find_most(WINDOWS, RATE, 0.01)
    assert sum(alarms) <= RATE * len(alarms) * WINDOWS


def test_what_can_t_alarm_for_its_heavy_tail_is_refused_with_the_reason() -> None:
    config = DetectorSettings(
        "function", window=WINDOW, alarm_rate=1e-4, function=FunctionSettings("watch:judge")
    )
    rows = heavy_zeros(np.random.default_rng(0), 2000)
    profile = profile_rows(rows, (), lambda values: ())
    artifact = DetectorArtifact(config, rows, profile, ordered=rows)
    fitted = calibrate_fit(artifact, lambda part: LargestDetector(None))
    assert fitted.calibration is not None
    bound = fitted.calibration.bound
    with pytest.raises(FitError, match="can't alarm") as caught:
        examine_fit(fitted, lambda part: LargestDetector(bound))
    assert "return their logarithm, a rank or a share of rows" in str(caught.value.hint)


@pytest.mark.parametrize("index", [1.0, 1.5, 3.0, None])
@pytest.mark.parametrize("rate", [0.05, 0.01])
def test_scores_of_any_tail_exceed_their_bound_no_oftener_in_19_of_20_cases(
    index: float | None, rate: float
) -> None:
    """Power laws without zeros, which by chance may look exponential; and exponential scores."""
    random = np.random.default_rng(0)
    count = 300
    if index is None:
        draws, beyond = random.exponential(size=(count, 80)), -math.log(rate)
    else:
        draws, beyond = random.pareto(index, (count, 80)), rate ** (-1 / index) - 1
    bounds = [max(bound_tail(scores, rate), bound_heavy_tail(scores, rate, 80)) for scores in draws]
    assert sum(bound < beyond for bound in bounds) <= find_most(count, 0.05, DOUBT)
    heavy = sum(looks_heavy(scores) for scores in draws)
    assert heavy <= find_most(count, 0.2, DOUBT) if index is None else heavy > 0.7 * count


@pytest.mark.parametrize("index", [1.5, 3.0, None])
@pytest.mark.parametrize("rate", [0.05, 0.01])
def test_ranks_alone_hold_the_rate_of_any_tail(index: float | None, rate: float) -> None:
    random = np.random.default_rng([int(index or 0), int(1 / rate)])
    count, size = 300, count_ranked(rate)
    assert bound_ranks(np.zeros(size - 1), rate) is None
    uniform = random.random((count, size))
    scores = -np.log(uniform) if index is None else uniform ** (-1 / index)
    beyond = -math.log(rate) if index is None else rate ** (-1 / index)
    bounds = [bound_ranks(each, rate) for each in scores]
    assert sum(bound is None or bound < beyond for bound in bounds) <= find_most(count, 0.05, DOUBT)
    # more windows than the least bring the bound nearer
    more = bound_ranks(-np.log(random.random(10 * size)), rate)
    assert more is not None
    assert more < -math.log(rate) * 1.5


def test_a_function_that_has_too_few_rows_says_what_is_shown_of_its_rate() -> None:
    config = DetectorSettings(
        "function", window=WINDOW, alarm_rate=RATE, function=FunctionSettings("watch:judge")
    )
    for rows, judged, said in ((2000, 80, True), (3600, 69, False)):
        values = normal(np.random.default_rng(3), rows)
        fitted = calibrate_fit(
            DetectorArtifact(
                config, values, profile_rows(values, (), lambda each: ()), ordered=values
            ),
            lambda part: GuessedDetector(part, None),
        )
        assert fitted.calibration is not None
        assert fitted.calibration.judged == judged
        lines = [line for line in fitted.calibration.describe() if "goes on as it looks" in line]
        assert bool(lines) is said
        if said:
            assert "at most 7.2% of clean windows alarm in 19 of 20 releases" in lines[0]
            assert "3450 training rows would show the stated rate" in lines[0]


def test_light_scores_are_no_reason_for_a_threshold_that_nothing_reaches() -> None:
    """One fit in eight had one, of means of normal values at a rate of one alarm a month."""
    config = DetectorSettings(
        "function", window=100, alarm_rate=2e-5, function=FunctionSettings("watch:judge")
    )
    for seed in range(24):
        values = normal(np.random.default_rng(seed), 1500)
        artifact = DetectorArtifact(
            config, values, profile_rows(values, (), lambda each: ()), ordered=values
        )
        fitted = calibrate_fit(artifact, lambda part: GuessedDetector(part, None))
        assert fitted.calibration is not None
        far = GuessedDetector(values, None).score_window(values[:100] + 10).severity
        assert far is not None
        assert fitted.calibration.bound is not None
        assert fitted.calibration.bound < far, seed


def test_light_tails_and_scores_that_say_nothing_have_no_heavy_bound() -> None:
    random = np.random.default_rng(0)
    light = [bound_heavy_tail(random.random(80), 0.01, 80) for _ in range(50)]
    assert sum(bound > 0 for bound in light) <= 2
    assert bound_heavy_tail(np.zeros(40), 0.01, 40) == 0
    assert np.isfinite(bound_heavy_tail(np.repeat([0.0, 1e300], 20), 1e-9, 40))


def test_the_tail_is_beyond_what_it_should_exceed_in_19_of_20_cases() -> None:
    random = np.random.default_rng(0)
    for rate in (0.01, 0.0001):
        draws = (-np.log10(random.random(40)) for _ in range(400))
        low = sum(bound_tail(draw, rate) < -np.log10(rate) for draw in draws)
        assert low <= find_most(400, 0.08, DOUBT)
    assert bound_tail(np.ones(20), 0.01) == 1


MEANS = """\
def judge(reference, window):
    far = max(abs(sum(window[name]) / len(window[name]) - sum(reference[name]) / len(reference[name]))
              for name in window)
    return {"score": far}
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(text: str) -> Process:
        started.append(functions.serve(tmp_path / f"code{len(started)}", text))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.mark.parametrize(
    ("returns", "threshold"),
    [
        ('{"score": far}', lambda bound: bound),
        ('{"score": far, "threshold": 0.05}', lambda bound: 0.05 * bound),
        (
            '{"score": 10 ** (-9 * far), "threshold": 0.4, "alarm": 10 ** (-9 * far) < 0.4}',
            lambda bound: 0.4**bound,
        ),
        ('{"score": far, "threshold": 3}', lambda bound: 3),
    ],
    ids=["a score alone", "a low guess", "a p-value", "a high guess"],
)
def test_a_function_s_threshold_is_learnt_or_raised(
    serve: Callable[..., Process], returns: str, threshold: Callable[[float], float]
) -> None:
    port = serve(MEANS.replace('{"score": far}', returns)).port
    program = FunctionProgram(f"http://127.0.0.1:{port}", strict=True)
    config = DetectorSettings("function", window=100, function=FunctionSettings("watch:judge"))
    table = np.random.default_rng(0).normal(size=(600, 2))
    profile = profile_rows(table, (), lambda values: ())
    artifact = DetectorArtifact(config, table, profile, ordered=table)
    fitted = calibrate_fit(artifact, lambda rows: fit_detector(config, rows, profile, program))
    learnt = fitted.calibration

    def fit(rows: Rows) -> WindowDetector:
        return fit_detector(config, rows, profile, program, learnt)

    examine_fit(fitted, fit)
    assert learnt is not None
    assert learnt.bound is not None
    verdict = fit(table).score_window(table[:100] + 4)
    assert verdict.alarm
    assert verdict.threshold == pytest.approx(threshold(learnt.bound))
    quiet = fit(table).score_window(table[:100])
    assert not quiet.alarm
    assert replace(fitted, calibration=None) == replace(artifact, calibration=None)


def count(python: Path, *words: str, timeout: int) -> Any:
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name("calibrations.py")), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline"), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(found: Any, releases: int, windows: int, *, blind: tuple[str, ...] = ()) -> None:
    for pair, said in found.items():
        assert max(said["alarms"]) <= find_most(windows, RATE, DOUBT), pair
        assert sum(said["alarms"]) <= find_most(releases * windows, RATE, DOUBT), pair
        assert said["seen"] == (0 if pair in blind else releases), pair


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_classes_of_alibi_detect_hold_the_rate_in_each_release(monitor_python: Path) -> None:
    pairs = ("KSDrift:normal", "KSDrift:sessions", "KSDrift:digits", "CVMDrift:normal")
    pairs += ("CVMDrift:digits", "ChiSquareDrift:categories", "TabularDrift:categories")
    found = count(monitor_python, "2", "60", *pairs, timeout=300)
    check(found, 2, 60, blind=("CVMDrift:digits",))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_tests_by_permutation_hold_the_rate_in_each_release() -> None:
    python = monitor.python("alibi")
    found = count(python, "1", "20", "MMDDrift:normal", "LSDDDrift:normal", timeout=1500)
    check(found, 1, 20)
