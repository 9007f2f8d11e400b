"""Run in an environment with alibi-detect by test_adapted.py: classes by name on recorded windows, as JSON."""

import json
import sys

import numpy as np

from driftloop.contract.alibi import ALIBI_CLASSES, AlibiSettings
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, ColumnType, TableProfile
from driftloop.contract.verdicts import read_changes
from driftloop.services.detector.detectors import WindowDetector, fit_detector
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.fitting.selftest import examine_fit

CATEGORIES = {
    "category": (("a", 400), ("b", 300), ("c", 300)),
    "boolean": (("false", 800), ("true", 200)),
}
SETTINGS = {
    "MMDDrift": {"n_permutations": 100},
    "ClassifierDrift": {"epochs": 5, "learning_rate": 0.01, "hidden": [8]},
    "SpotTheDiffDrift": {"epochs": 5, "learning_rate": 0.05},
    "OutlierAE": {"epochs": 5},
    "OutlierVAE": {"epochs": 5},
}
"""Small ones, where a class has some."""


def profile(types: tuple[ColumnType, ...], rows: np.ndarray) -> TableProfile:
    columns = tuple(
        ColumnProfile(
            name=f"c{n}",
            type=type_,
            rows=len(rows),
            missing=int(np.isnan(rows[:, n]).sum()),
            distinct=len(np.unique(rows[:, n])),
            categories=CATEGORIES.get(type_, ()),
        )
        for n, type_ in enumerate(types)
    )
    return TableProfile(columns=columns, order=tuple(column.name for column in columns))


def draw(
    name: str, count: int, seed: int, *, moved: bool
) -> tuple[tuple[ColumnType, ...], np.ndarray]:
    """Rows that a class takes; when they moved, in the last column."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(count, 3))
    shares = (0.1, 0.1, 0.8) if moved else (0.4, 0.3, 0.3)
    levels = random.choice(3, p=shares, size=count).astype(float)
    truths = (random.random(size=(count, 2)) < 0.2).astype(float)
    match name:
        case "ChiSquareDrift":
            return ("category", "category"), np.stack([truths[:, 0], levels], axis=1)
        case "FETDrift":
            truths[:, 1] = random.random(count) < (0.7 if moved else 0.2)
            return ("boolean", "boolean"), truths
        case "TabularDrift":
            return ("number", "category"), np.stack([numbers[:, 0], levels], axis=1)
        case "SpectralResidual":
            series = np.sin(np.arange(count) / 5)[:, None] + 0.05 * numbers[:, :1]
            series[10::20] += 3.0 * moved
            return ("number",), series
        case _:
            numbers[:, 2] += 2.0 * moved
            return ("number",) * 3, numbers


def judge(name: str) -> dict[str, object]:
    """What a class says of clean windows, and of one that moved."""
    types, reference = draw(name, 1000, 0, moved=False)
    alibi = AlibiSettings(name, SETTINGS.get(name, {}))  # type: ignore[arg-type]
    config = DetectorSettings("alibi", window=200, alarm_rate=0.01, alibi=alibi)
    detector = fit_detector(config, reference, profile(types, reference))
    count = 2 if ALIBI_CLASSES[name].framework else 10  # type: ignore[index]
    clean = [detector.score_window(draw(name, 200, 1 + n, moved=False)[1]) for n in range(count)]
    _, window = draw(name, 200, 99, moved=True)
    moved, again = detector.score_window(window), detector.score_window(window)
    return {
        "clean": sum(each.alarm for each in clean),
        "failure": next((each.failure for each in [*clean, moved] if each.failure), ""),
        "moved": moved.alarm,
        "columns": [change.column for change in read_changes(moved.details)],
        "same": (moved.score, moved.alarm) == (again.score, again.alarm),
    }


def refuse() -> list[str]:
    """Why fits are refused, and windows not judged."""
    told = []
    rows = draw("KSDrift", 100, 0, moved=False)[1]
    for name, types, settings in (
        ("KSDrift", ("number", "number", "text"), {}),
        ("KSDrift", ("number",) * 3, {"correction": "none"}),
        ("SpectralResidual", ("number",) * 3, {}),
    ):
        config = DetectorSettings("alibi", alibi=AlibiSettings(name, settings))  # type: ignore[arg-type]
        try:
            detector = fit_detector(config, rows, profile(types, rows))  # type: ignore[arg-type]
            told.append(detector.score_window(np.full((50, 3), np.nan)).failure)
        except FitError as error:
            told.append(error.message)
    config = DetectorSettings("alibi", alibi=AlibiSettings("KSDrift", {}))
    detector = fit_detector(config, rows, profile(("number",) * 3, rows))
    told.append(detector.score_window(np.full((50, 3), np.nan)).failure)
    _, detector = fit_smooth()
    told.append(detector.score_window(np.full((100, 1), 2.0)).failure)
    return told


def draw_smooth(count: int, seed: int) -> np.ndarray:
    """A day's swing of hardly any noise, from any hour on."""
    random = np.random.default_rng(seed)
    times = random.integers(0, 24) + np.arange(count)
    return (2 * np.sin(times / 24 * 2 * np.pi) + 0.01 * random.normal(size=count))[:, None]


def fit_smooth() -> tuple[DetectorSettings, WindowDetector]:
    config = DetectorSettings(
        "alibi", window=100, alarm_rate=0.05, alibi=AlibiSettings("SpectralResidual", {})
    )
    rows = draw_smooth(1000, 0)
    return config, fit_detector(config, rows, profile(("number",), rows))


def count_smooth() -> dict[str, object]:
    """Alarms of windows of a series that is longer than they are, and what the self-test says of it."""
    config, detector = fit_smooth()
    rows = draw_smooth(1000, 0)
    artifact = DetectorArtifact(config, rows, profile(("number",), rows), ordered=rows)
    tested = examine_fit(artifact, lambda each: fit_detector(config, each, artifact.profile))
    windows = [draw_smooth(100, 1 + number) for number in range(60)]
    return {
        "alarms": sum(detector.score_window(window).alarm for window in windows),
        "told": list(tested.describe()),
    }


def main() -> None:
    names = sys.argv[1:]
    found: dict[str, object] = {name: judge(name) for name in names}
    found["refused"] = refuse()
    found["smooth"] = count_smooth()
    found["frameworks"] = [name for name in ("tensorflow", "torch") if name in sys.modules]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
