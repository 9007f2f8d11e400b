"""Traffic as it ordinarily comes: by itself, in sessions, by day and night, sent twice."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from support.detector import profile_rows

from driftloop.contract.budgets import AlarmBudget, count_windows, find_rate
from driftloop.contract.handovers import DetectorKind, DetectorSettings
from driftloop.services.detector.detectors import WindowDetector, fit_detector
from driftloop.services.detector.fitting.artifact import DetectorArtifact, draw_reference
from driftloop.services.detector.fitting.order import calibrate_fit

Rows = NDArray[np.float64]
Traffic = Callable[[np.random.Generator, Rows], Rows]
"""Rows of three columns at these times, in seconds."""
DAY = 86400.0
MONTH, CONSECUTIVE = 1.0, 2
"""False alarms of the budget, and alarms in a row that start a run."""
COOLDOWN = 1800.0
"""Seconds of a pause after a run."""
NAMES = ("c0", "c1", "c2")
FLOORS = {"number": 0.05, "text": 0.05, "category": 0.02, "boolean": 0.02, "missing": 0.01}


def plain(random: np.random.Generator, at: Rows) -> Rows:
    return random.normal(size=(len(at), 3))


def sessions(random: np.random.Generator, at: Rows) -> Rows:
    """Ten rows in a row of one user, with a correlation of 0.3."""
    users = np.repeat(random.normal(size=(len(at) // 10 + 1, 3)), 10, axis=0)[: len(at)]
    return np.sqrt(0.3) * users + np.sqrt(0.7) * plain(random, at)


def night(random: np.random.Generator, at: Rows) -> Rows:
    """A quarter of a standard deviation more by day and less by night, in one column."""
    rows = plain(random, at)
    rows[:, 0] += 0.25 * np.sign(np.sin(2 * np.pi * at / DAY))
    return rows


def twice(random: np.random.Generator, at: Rows) -> Rows:
    """Each row is sent again."""
    return np.repeat(plain(random, at[::2]), 2, axis=0)[: len(at)]


TRAFFIC: dict[str, Traffic] = {
    "plain": plain,
    "sessions": sessions,
    "night": night,
    "twice": twice,
}


def fit_traffic(
    kind: DetectorKind,
    make: Traffic,
    *,
    seed: int,
    alarm_rate: float,
    window: int = 200,
    times: Rows | None = None,
    budget: AlarmBudget | None = None,
) -> tuple[DetectorArtifact, WindowDetector]:
    """A detector as the training run fits it, to rows in their order (default: of four days)."""
    rows = make(np.random.default_rng(seed), np.arange(0, 4 * DAY, 20) if times is None else times)
    settings = DetectorSettings(
        kind,
        window=window,
        alarm_rate=alarm_rate,
        margin=0.1 if kind == "schema" else None,
        at_least=None if kind == "tabular" else 0.05 if kind == "mmd" else 0.01,
        at_least_by_type=FLOORS if kind == "tabular" else None,
        budget=budget,
    )
    drawn = draw_reference(settings, rows, profile_rows(rows, (), lambda _: ()))
    fitted = calibrate_fit(drawn, lambda part: fit_detector(settings, part, drawn.profile))
    return fitted, fit_detector(
        settings, fitted.reference, fitted.profile, calibration=fitted.calibration
    )


def count_runs(alarms: list[bool], pause: int) -> int:
    """Training runs of so many windows: two alarms in a row, then a cooldown."""
    runs, window = 0, 1
    while window < len(alarms):
        started = alarms[window] and alarms[window - 1]
        runs += started
        window += 1 + pause if started else 1
    return runs


def replay(
    detector: WindowDetector, traffic: str, *, seed: int, windows: int, rows: int, rate: float
) -> int:
    """The runs of windows after the four days of the reference."""
    random = np.random.default_rng([seed, 1])
    starts = 4 * DAY + np.arange(windows) * rows / rate
    alarms = [
        detector.score_window(TRAFFIC[traffic](random, start + np.arange(rows) / rate)).alarm
        for start in starts
    ]
    return count_runs(alarms, round(COOLDOWN * rate / rows))


def fit_budget(
    traffic: str, *, seed: int, rows: int, rate: float, reference: int
) -> WindowDetector:
    """A detector that shares in a budget of one false alarm a month, of four days of traffic."""
    windows = count_windows(rate, rows, None, rows)
    budget = AlarmBudget(MONTH, rate, least=CONSECUTIVE, of=CONSECUTIVE)
    _, detector = fit_traffic(
        "tabular",
        TRAFFIC[traffic],
        seed=seed,
        alarm_rate=find_rate(MONTH, windows, CONSECUTIVE, CONSECUTIVE),
        window=rows,
        times=np.linspace(0, 4 * DAY, reference, endpoint=False),
        budget=budget,
    )
    return detector


def fit_uncalibrated(traffic: str, *, seed: int, rows: int, reference: int) -> WindowDetector:
    """A detector with an `alarmRate` of 0.01 a window, fitted to rows as if they had no order."""
    random = np.random.default_rng(seed)
    table = TRAFFIC[traffic](random, np.linspace(0, 4 * DAY, reference, endpoint=False))
    settings = DetectorSettings("tabular", window=rows, alarm_rate=0.01)
    drawn = draw_reference(settings, table, profile_rows(table, (), lambda _: ()))
    return fit_detector(settings, drawn.reference, drawn.profile)
