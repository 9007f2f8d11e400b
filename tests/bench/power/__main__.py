"""Run by bench_power.py in the monitor environment: counts of alarms, a JSON object a line."""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from power import judges, shifts
from power.counts import WindowSource
from power.judges import Judge, Release
from power.shifts import CLEAN, World

RATE = 0.01
SIZES = (50, 200, 1000)
RELEASES = 4
CLEAN_TIMES = 5
"""Times as many clean windows for alibi-detect's detectors."""
Fit = Callable[[Release, int], Judge | None]
SET = "set"


def list_fits(world: World) -> dict[str, Fit]:
    """Return all that judge windows of a world, by name."""
    ours = {
        kind: (lambda release, window, kind=kind: judges.fit_ours(kind, release, window, RATE))
        for kind in judges.OURS
    }
    theirs = {
        name: (lambda release, window, name=name: judges.fit_theirs(name, release, RATE))
        for name in judges.THEIRS
    }
    every: dict[str, Fit] = {SET: partial(_fit_set), **ours, **theirs}
    if world.answer is not None:
        every["tabular of answers"] = lambda release, window: judges.fit_answers(
            "tabular", release, window, RATE
        )
        for name in ("KSDrift", "CVMDrift", "ChiSquareDrift"):
            every[f"{name} of answers"] = lambda release, window, name=name: judges.fit_theirs(
                name, release, RATE, answers=True
            )
    return every


def _fit_set(release: Release, window: int) -> Judge:
    return judges.fit_set(release, window, RATE)


def measure_power(
    world: World, windows: int, sizes: list[int], only: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield counts of alarms by change, size and detector; none for a world that never changes."""
    if not world.shifts:
        return
    releases = [Release(world, np.random.default_rng([1, n])) for n in range(RELEASES)]
    for size in sizes:
        fitted = {
            name: [fit(release, size) for release in releases]
            for name, fit in list_fits(world).items()
            if not only or name in only
        }
        for number, (shift, draw) in enumerate({CLEAN: world.clean, **world.shifts}.items()):
            source = WindowSource(releases, draw, size, seed=[2, number])
            for name, each in fitted.items():
                present = [judge for judge in each if judge is not None]
                if len(present) < len(each):
                    continue
                # whether what they see counts hangs on it, and they are quick
                more = CLEAN_TIMES if shift == CLEAN and name.split()[0] in judges.THEIRS else 1
                count = source.count_alarms(present, windows * more)
                cell = {"world": world.name, "shift": shift, "size": size, "judge": name}
                yield {**cell, "alarms": count.alarms, "windows": count.windows}


def measure_false_alarms(
    world: World, windows: int, sizes: list[int], releases: int, only: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield counts of alarms on clean windows, by size, detector and release."""
    for size in sizes:
        for number in range(releases):
            release = Release(world, np.random.default_rng([3, number]))
            source = WindowSource([release], world.clean, size, seed=[4, number])
            for name, fit in list_fits(world).items():
                judge = fit(release, size) if not only or name in only else None
                if judge is None:
                    continue
                count = source.count_alarms([judge], windows, early=False)
                cell = {"world": world.name, "size": size, "judge": name, "release": number}
                yield {**cell, "alarms": count.alarms, "windows": count.windows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world")
    parser.add_argument("table", choices=("power", "false-alarms"))
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--releases", type=int, default=RELEASES)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--data", type=Path, required=True)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = shifts.list_worlds(chosen.data, Path(folder))[chosen.world]()
        if chosen.table == "power":
            cells = measure_power(world, chosen.windows, chosen.sizes, chosen.only)
        else:
            cells = measure_false_alarms(
                world, chosen.windows, chosen.sizes, chosen.releases, chosen.only
            )
        for cell in cells:
            print(json.dumps(cell), flush=True)


if __name__ == "__main__":
    main()
