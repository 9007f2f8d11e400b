"""What a fit finds out about itself: detectors that cry wolf, that can't alarm, references in an order."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.detector import run

from driftloop.contract.alibi import AlibiSettings
from driftloop.contract.handovers import DetectorKind, DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.services.detector.detectors import WindowVerdict, fit_detector
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.fitting.artifact import DetectorArtifact, load_artifact
from driftloop.services.detector.fitting.selftest import SelfTest, examine_fit

Rows = NDArray[np.float64]


class FakeDetector:
    """Alarms as a function of the rows says."""

    def __init__(self, alarms: Callable[[Rows], bool]) -> None:
        self._alarms = alarms

    def score_window(self, rows: Rows) -> WindowVerdict:
        return WindowVerdict(alarm=self._alarms(rows), score=0, threshold=0)


def store(
    rows: Rows, kind: DetectorKind = "tabular", window: int = 100, rate: float = 0.01
) -> DetectorArtifact:
    columns = tuple(
        ColumnProfile(name=f"c{n}", type="number", rows=len(rows), missing=0, distinct=len(rows))
        for n in range(rows.shape[1])
    )
    profile = TableProfile(columns=columns, order=tuple(column.name for column in columns))
    return DetectorArtifact(DetectorSettings(kind, window=window, alarm_rate=rate), rows, profile)


def examine(artifact: DetectorArtifact) -> SelfTest:
    return examine_fit(artifact, lambda rows: fit_detector(artifact.config, rows, artifact.profile))


def normal(rows: int = 1000, columns: int = 3, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).normal(size=(rows, columns))


@pytest.mark.parametrize("kind", ["tabular", "mahalanobis"])
@pytest.mark.parametrize("seed", range(3))
def test_a_good_fit_passes_and_says_what_it_sees(kind: DetectorKind, seed: int) -> None:
    tested = examine(store(normal(seed=seed), kind))
    assert tested.random is not None
    assert tested.ordered is not None
    assert (tested.random.failed, tested.ordered.failed, tested.blind) == (False, False, ())
    assert 1 <= tested.changed <= 40
    first, second = tested.describe()
    assert first.endswith(
        f"in the order of the files (no more than {tested.random.most} by chance)"
    )
    assert f"alarms when {tested.changed} of 100 rows leave the range of" in second


def test_the_same_fit_sees_the_same() -> None:
    assert examine(store(normal())) == examine(store(normal()))


def test_the_changed_rows_are_the_smallest_kolmogorov_distance_that_alarms() -> None:
    reference = normal(4000, 1)
    tested = examine(store(reference, window=200))
    detector = fit_detector(DetectorSettings("tabular"), reference, store(reference).profile)
    alarms = []
    for changed in (tested.changed + 2, tested.changed - 2):
        window = np.quantile(reference[:, 0], np.linspace(0.001, 0.999, 200))[:, None]
        window[:changed] = np.quantile(reference, np.linspace(0, 1, changed))[:, None] + 100
        alarms.append(detector.score_window(window).alarm)
    assert alarms[0] or alarms == [False, False]
    assert tested.changed / 200 < 0.2


def test_a_detector_that_cries_wolf_is_refused() -> None:
    with pytest.raises(FitError) as refused:
        examine_fit(store(normal()), lambda rows: FakeDetector(lambda window: True))
    assert refused.value.message == (
        "tabular alarms on 60 of 60 windows of 100 rows of its own reference, drawn at random; "
        "at alarmRate 0.01 chance explains 5"
    )


def test_a_detector_that_cant_alarm_is_refused() -> None:
    with pytest.raises(FitError, match="tabular can't alarm: a window of 100 rows stays quiet"):
        examine_fit(store(normal()), lambda rows: FakeDetector(lambda window: False))


def test_windows_that_see_no_column_are_refused() -> None:
    with pytest.raises(FitError, match="windows of 100 rows are too small for tabular: no change"):
        examine_fit(
            store(normal()), lambda rows: FakeDetector(lambda window: bool((window > 4).all()))
        )


def store_series(rows: Rows) -> DetectorArtifact:
    kept = store(rows)
    settings = AlibiSettings("SpectralResidual", {})
    config = DetectorSettings("alibi", window=100, alarm_rate=0.01, alibi=settings)
    return replace(kept, config=config, ordered=rows)


def test_a_series_is_tried_with_values_apart_from_each_other_and_not_with_a_level() -> None:
    tested = examine_fit(
        store_series(normal(columns=1)),
        lambda rows: FakeDetector(lambda window: 3 <= int((np.diff(window[:, 0]) > 6).sum()) <= 20),
    )
    assert (tested.random, tested.changed, tested.blind) == (None, 3, ())
    first, second, third = tested.describe()
    assert first.startswith("self-test: 0 of 10 windows of 100 reference rows in the order of")
    assert "alarms when 3 of 100 rows apart from each other leave the range" in second
    assert third.startswith("warning: values that stand out of those beside them are seen, a level")


@pytest.mark.parametrize(
    ("alarms", "message"),
    [
        (False, "SpectralResidual can't alarm: a window of 100 rows stays quiet although up to 25"),
        (True, "SpectralResidual alarms on 10 of 10 windows of 100 rows of its own reference, in"),
    ],
)
def test_a_series_that_is_never_or_always_loud_is_refused(alarms: bool, message: str) -> None:
    with pytest.raises(FitError, match=message):
        examine_fit(
            store_series(normal(columns=1)), lambda rows: FakeDetector(lambda window: alarms)
        )


def test_columns_that_are_not_seen_are_named() -> None:
    tested = examine_fit(
        store(normal()), lambda rows: FakeDetector(lambda window: bool((window[:, 1:] > 4).any()))
    )
    assert tested.blind == ("c0",)
    assert tested.changed == 1
    assert list(tested.describe())[-1] == (
        "warning: no change of `c0` alone can alarm: use a longer `window`"
    )


def test_so_few_rows_that_nothing_could_alarm_are_refused() -> None:
    with pytest.raises(FitError, match="beyond those of the 2 reference rows"):
        examine(store(normal(2, 60)))


@pytest.mark.parametrize("rows", [3, 30, 70])
def test_few_rows_are_tested_as_far_as_they_go(rows: int) -> None:
    tested = examine(store(normal(rows, 2)))
    assert tested.rows == rows // 2
    assert list(tested.describe())


def test_a_sorted_reference_is_said_and_not_refused() -> None:
    tested = examine(store(np.sort(normal(), axis=0)))
    assert tested.random is not None
    assert tested.ordered is not None
    assert not tested.random.failed
    assert tested.ordered.alarms == tested.ordered.windows == 10
    assert list(tested.describe())[-1].startswith(
        "warning: 10 of 10 windows of rows as they lie in the files alarm, of random ones"
    )


def test_the_fit_prints_what_it_saw(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = zip(random.normal(size=800), random.choice(["AA", "UA"], 800), strict=True)
    text = "".join(f"{delay:.3f},{carrier},0\n" for delay, carrier in rows)
    (tmp_path / "a.csv").write_text(f"delay,carrier,y\n{text}")
    arguments = ("--reference", str(tmp_path), "--out", str(tmp_path / "o"))
    done = run(Path(sys.executable), "fit", "--detector", '{"kind": "tabular"}', *arguments)
    assert done.returncode == 0, done.stderr
    first, order, longer, second, third, fourth = done.stdout.splitlines()
    assert order.startswith(
        "order: blocks of up to 32 of 800 rows as they lie in the files are as alike"
    )
    assert longer.startswith("order: windows of 200 rows are longer than these blocks")
    assert first == "tabular: 800 of 800 reference rows of 2 columns"
    assert "windows of 200 reference rows drawn at random alarm" in second
    assert third.startswith("self-test: alarms when ")
    assert fourth.startswith(
        "lasting changes: up to 16 windows (3200 rows) are judged together: a Kolmogorov distance of 0."
    )


def test_windows_in_order_that_alarm_are_told_by_the_detector_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    text = "".join(f"{delay:.3f},{random.normal():.3f},0\n" for delay in np.linspace(0, 9, 800))
    (tmp_path / "a.csv").write_text(f"delay,wind,y\n{text}")
    out = tmp_path / "o"
    arguments = ("--reference", str(tmp_path), "--out", str(out))
    detector = '{"kind": "tabular", "window": 100}'
    done = run(Path(sys.executable), "fit", "--detector", detector, *arguments)
    assert done.returncode == 0, done.stderr
    assert "warning: 8 of 8 windows of rows as they lie in the files alarm" in done.stdout
    calibration = load_artifact(out).calibration
    assert calibration is not None
    assert calibration.summary.endswith(
        "; 8 of 8 windows of training rows in their order alarm, and so will traffic in such an order"
    )
