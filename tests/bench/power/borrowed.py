"""Run by bench_false_alarms.py in the environment of an image: clean windows of monitors whose threshold is not ours, fitted
as a run fits them, a JSON object a line."""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.contract.alibi import AlibiSettings
from driftloop.contract.functions import FunctionSettings
from driftloop.contract.handovers import DetectorSettings
from driftloop.errors import PipelineError
from driftloop.services.detector.detectors import WindowDetector, fit_detector
from driftloop.services.detector.detectors.function import FunctionProgram
from driftloop.services.detector.fitting.artifact import DetectorArtifact, draw_reference
from driftloop.services.detector.fitting.order import calibrate_fit
from driftloop.services.detector.fitting.selftest import examine_fit
from driftloop.services.detector.rows.values import Rows
from power.judges import Release
from power.shifts import World, list_worlds
from power.tables import encode_rows

TAUGHT = {"epochs": 5, "batch_size": 128, "learning_rate": 0.01}
"""Settings of the classes that train a network for each window: by their own they learn little of so few rows, and
slowly."""
SETTINGS: dict[str, dict[str, Any]] = {
    "ClassifierDrift": TAUGHT,
    "SpotTheDiffDrift": TAUGHT,
    "LearnedKernelDrift": TAUGHT,
    "MMDDrift": {"n_permutations": 40},
}
"""Of classes that are not counted with their own."""


def list_settings(functions: list[str], classes: list[str]) -> dict[str, DetectorSettings]:
    """Return the settings of functions (MODULE-FUNCTION=URL) and of classes of alibi-detect, by name."""
    own = {
        name: DetectorSettings(
            "function", function=FunctionSettings(f"watch:{name}", form="pandas")
        )
        for name in (text.partition("=")[0] for text in functions)
    }
    theirs = {
        name: DetectorSettings(
            "alibi",
            alibi=AlibiSettings(name, SETTINGS.get(name, {})),  # type: ignore[arg-type]
        )
        for name in classes
    }
    return {**own, **theirs}


def list_taken(settings: DetectorSettings, release: Release) -> list[int]:
    """Return the columns that a monitor would be given: those of the types that a class takes."""
    columns = release.learnt.profile.columns
    if settings.alibi is None:
        return list(range(len(columns)))
    if settings.alibi.name == "SpectralResidual":
        return [next(n for n, column in enumerate(columns) if column.type == "number")]
    types = {
        "KSDrift": ("number",),
        "CVMDrift": ("number",),
        "ChiSquareDrift": ("category", "boolean"),
    }
    taken = types.get(settings.alibi.name, ("number", "category", "boolean"))
    return [number for number, column in enumerate(columns) if column.type in taken]


def fit_released(
    settings: DetectorSettings, release: Release, program: FunctionProgram | None
) -> WindowDetector:
    """Return a detector as a release has it; PipelineError when its fit refuses it."""
    learnt = release.learnt
    columns = list_taken(settings, release)
    profile = replace(learnt.profile, columns=tuple(learnt.profile.columns[n] for n in columns))
    drawn = draw_reference(settings, learnt.rows[:, columns], profile)
    artifact = DetectorArtifact(settings, drawn.reference, drawn.profile, ordered=drawn.ordered)
    fitted = calibrate_fit(
        artifact, lambda rows: fit_detector(settings, rows, drawn.profile, program)
    )

    def fit(rows: Rows) -> WindowDetector:
        return fit_detector(settings, rows, drawn.profile, program, fitted.calibration)

    examine_fit(fitted, fit)
    return fit(drawn.reference)


def count_clean(
    world: World,
    settings: DetectorSettings,
    url: str | None,
    releases: int,
    windows: int,
    reference: int,
) -> Iterator[dict[str, Any]]:
    """Yield the alarms of each release on clean windows, or why its fit is refused, and the seconds of processor of the
    fit and of all windows; `own` are the windows beyond the monitor's own threshold, before the fit moves it."""
    program = None if url is None else FunctionProgram(url, strict=True)
    for number in range(releases):
        release = Release(world, np.random.default_rng([5, number]), reference)
        columns = list_taken(settings, release)
        if not columns:
            return
        cell: dict[str, Any] = {"world": world.name, "release": number, "windows": windows}
        if settings.alibi is not None and settings.alibi.settings:
            cell["settings"] = settings.alibi.settings
        began = time.process_time()
        try:
            detector = fit_released(settings, release, program)
        except PipelineError as error:
            fitting = time.process_time() - began
            yield {**cell, "alarms": None, "refused": error.message, "fitting": fitting}
            continue
        fitted, alarms, own = time.process_time(), 0, 0
        for window in range(windows):
            random = np.random.default_rng([6, number, window])
            rows = encode_rows(release.learnt, world.clean(random, settings.window))[:, columns]
            verdict = detector.score_window(rows)
            alarms += verdict.alarm
            own += verdict.severity is not None and verdict.severity > 1
        judging = time.process_time() - fitted
        yield {**cell, "alarms": alarms, "own": own, "fitting": fitted - began, "judging": judging}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world")
    parser.add_argument("--functions", nargs="*", default=[])
    parser.add_argument("--classes", nargs="*", default=[])
    parser.add_argument("--releases", type=int, required=True)
    parser.add_argument("--windows", type=int, required=True)
    parser.add_argument("--reference", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--data", type=Path, required=True)
    chosen = parser.parse_args()
    urls = dict(text.partition("=")[::2] for text in chosen.functions)
    with tempfile.TemporaryDirectory() as folder:
        world = list_worlds(chosen.data, Path(folder))[chosen.world]()
        for name, settings in list_settings(chosen.functions, chosen.classes).items():
            stated = replace(settings, window=chosen.size, alarm_rate=chosen.rate)
            url, counts = urls.get(name), (chosen.releases, chosen.windows, chosen.reference)
            for cell in count_clean(world, stated, url, *counts):
                print(json.dumps({"monitor": name, **cell}), flush=True)


if __name__ == "__main__":
    main()
