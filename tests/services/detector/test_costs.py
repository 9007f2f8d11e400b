"""What the fit of a class of alibi-detect says of the time that it takes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from driftloop.contract.alibi import AlibiName, AlibiSettings
from driftloop.contract.budgets import AlarmBudget
from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.detectors import WindowVerdict
from driftloop.services.detector.fitting.costs import FitCosts

Rows = NDArray[np.float64]


class Clock:
    """Seconds that pass when something says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowDetector:
    """A fit takes half a second, a window as long as is said."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        clock.now += 0.5
        self._clock, self._seconds = clock, seconds

    def score_window(self, rows: Rows) -> WindowVerdict:
        self._clock.now += self._seconds
        return WindowVerdict(alarm=False, score=0, threshold=0)


def judge(
    seconds: float,
    windows: int,
    name: AlibiName | None = "ClassifierDrift",
    traffic: float = 1.0,
) -> tuple[list[str], list[str]]:
    """What is said while so many windows are judged, and in the end."""
    clock, told = Clock(), list[str]()
    config = DetectorSettings(
        "tabular" if name is None else "alibi",
        window=100,
        alibi=None if name is None else AlibiSettings(name, {}),
        budget=AlarmBudget(month=1, traffic=traffic),
    )
    costs = FitCosts(config, (2000, 8), told.append, clock)
    fit = costs.time(lambda rows: SlowDetector(clock, seconds))
    for _ in range(windows):
        fit(np.zeros((2000, 8))).score_window(np.zeros((100, 8)))
    return told, list(costs.describe())


def test_a_fit_of_minutes_says_so_before_and_each_minute() -> None:
    told, described = judge(2.0, 50)
    assert told == [
        "ClassifierDrift: a fit takes 0.5 s here, and a window of 100 rows 2.0 s; calibration and self-test judge at most "
        "55, about 2 minutes",
        "ClassifierDrift: 24 windows are judged, of at most 55, in 60 s",
        "ClassifierDrift: 48 windows are judged, of at most 55, in 120 s",
    ]
    assert described == [
        "a window of 100 rows takes 2 s to judge here: above 50/s the detector falls behind"
    ]


def test_windows_that_take_longer_than_they_take_to_come_are_warned_of() -> None:
    _, (_, warning) = judge(2.0, 10, traffic=80.0)
    assert warning.startswith("warning: at the spec's traffic of 80/s it does: use a longer")


@pytest.mark.parametrize(("name", "seconds"), [("MMDDrift", 0.01), (None, 2.0)])
def test_fits_of_seconds_and_of_our_own_detectors_say_nothing(
    name: AlibiName | None, seconds: float
) -> None:
    assert judge(seconds, 50, name) == ([], [])
