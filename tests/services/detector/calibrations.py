"""Run in an environment with alibi-detect by test_bounds.py: how often classes by name alarm on clean windows, fitted
as a run fits them, in each of several releases, as JSON."""

import json
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.alibi import ALIBI_CLASSES, AlibiSettings
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, ColumnType, TableProfile
from driftloop.services.detector.detectors import WindowDetector, fit_detector
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.fitting.order import calibrate_fit

Rows = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Rows]
ROWS, WINDOW, RATE = 1000, 50, 0.05
SETTINGS = {
    "MMDDrift": {"n_permutations": 40},
    "LSDDDrift": {"n_permutations": 40, "n_kernel_centers": 50},
}


def draw_normal(random: np.random.Generator, rows: int) -> Rows:
    return random.normal(size=(rows, 3))


def draw_digits(random: np.random.Generator, rows: int) -> Rows:
    """Few levels, of which the test of Cramer and von Mises takes none."""
    return random.binomial(16, (0.1, 0.5, 0.02), size=(rows, 3)).astype(float)


def draw_categories(random: np.random.Generator, rows: int) -> Rows:
    shares = ((0.5, 0.3, 0.2), (0.94, 0.04, 0.02))
    columns = [random.choice(3, p=each, size=rows) for each in shares]
    return np.stack(columns, axis=1).astype(float)


def draw_sessions(random: np.random.Generator, rows: int) -> Rows:
    """Ten rows in a row of one user, with a correlation of 0.3."""
    users = np.repeat(random.normal(size=(rows // 10 + 1, 3)), 10, axis=0)[:rows]
    return np.sqrt(0.3) * users + np.sqrt(0.7) * draw_normal(random, rows)


TABLES: dict[str, tuple[ColumnType, Draw]] = {
    "normal": ("number", draw_normal),
    "digits": ("number", draw_digits),
    "categories": ("category", draw_categories),
    "sessions": ("number", draw_sessions),
}


def profile(type_: ColumnType, rows: Rows) -> TableProfile:
    def list_categories(values: Rows) -> tuple[tuple[str, int], ...]:
        if type_ != "category":
            return ()
        return tuple(zip("abc", np.bincount(values.astype(int), minlength=3).tolist(), strict=True))

    columns = tuple(
        ColumnProfile(
            name=f"c{n}",
            type=type_,
            rows=len(rows),
            missing=0,
            distinct=len(np.unique(rows[:, n])),
            categories=list_categories(rows[:, n]),
        )
        for n in range(rows.shape[1])
    )
    return TableProfile(columns=columns, order=tuple(column.name for column in columns))


def fit(name: str, type_: ColumnType, rows: Rows) -> tuple[WindowDetector, float | None]:
    """A detector as the training run fits it, and the bound that it learnt."""
    alibi = AlibiSettings(name, SETTINGS.get(name, {}))  # type: ignore[arg-type]
    config = DetectorSettings("alibi", window=WINDOW, alarm_rate=RATE, alibi=alibi)
    learnt = profile(type_, rows)
    artifact = DetectorArtifact(config, rows, learnt, ordered=rows)
    fitted = calibrate_fit(artifact, lambda part: fit_detector(config, part, learnt))
    assert fitted.calibration is not None
    detector = fit_detector(config, rows, learnt, calibration=fitted.calibration)
    return detector, fitted.calibration.bound


def judge(name: str, table: str, releases: int, windows: int) -> dict[str, object]:
    """The alarms of a class in each release, and on a window that moved."""
    type_, draw = TABLES[table]
    alarms, bounds, seen = [], [], 0
    rows = ROWS // 2 if ALIBI_CLASSES[name].framework else ROWS  # type: ignore[index]
    for release in range(releases):
        detector, bound = fit(name, type_, draw(np.random.default_rng([release, 0]), rows))
        random = np.random.default_rng([release, 1])
        verdicts = [detector.score_window(draw(random, WINDOW)) for _ in range(windows)]
        assert not any(each.failure for each in verdicts)
        alarms.append(sum(each.alarm for each in verdicts))
        bounds.append(bound)
        moved = draw(random, WINDOW)
        moved[:, 0] = 2.0 if type_ == "category" else moved[:, 0] + 3 * moved[:, 0].std()
        seen += detector.score_window(moved).alarm
    return {"alarms": alarms, "bounds": bounds, "seen": seen}


def main() -> None:
    releases, windows, *pairs = sys.argv[1:]
    found = {pair: judge(*pair.split(":"), int(releases), int(windows)) for pair in pairs}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
