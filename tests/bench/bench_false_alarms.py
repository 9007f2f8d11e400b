"""False alarms of monitors whose threshold is not ours: functions of a person's, and classes of alibi-detect by name.

    python tests/bench/bench_false_alarms.py [--worlds digits flights] [--windows 100] [--releases 3] [--rate 0.05] [--trained]

Each is fitted as a run fits it, with calibration and self-test, in several releases, and judges clean windows, which
are drawn like its reference. The functions run in their own program, as in a container. The verdict is binomial: of
each release, and of all together, no more alarms than chance explains at the stated rate. What a fit refuses is said
with the reason. Beside it stand the windows beyond the monitor's own threshold, which the fit moves, and the processor time of
a fit and of a window.

`--trained` counts classes that need TensorFlow instead, in the environment of their image, on one processor. Those that train a
network or permute rows for each window are counted with settings that are told; of 500 rows of training (`--reference 500`) a
release takes about half a minute of a processor each, of 2000 rows with their own settings two to six minutes.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "bench")]

from bench_power import DOUBT, follow_monitor  # noqa: E402
from power.judges import REFERENCE  # noqa: E402
from support import functions  # noqa: E402

from driftloop.services.detector.detectors.statistics import find_most  # noqa: E402

WORLDS = ("digits", "flights", "penguins", "zeros")
CLASSES = ("KSDrift", "CVMDrift", "ChiSquareDrift", "TabularDrift", "SpectralResidual")
"""Those that need no framework."""
TRAINED = ("MMDDrift", "LSDDDrift", "ClassifierDrift", "SpotTheDiffDrift", "LearnedKernelDrift")
TRAINED += ("OutlierAE", "OutlierVAE")
FUNCTIONS = {
    "means": "the furthest mean of a column in standard errors, a score alone",
    "worst": "how far the worst value lies beyond the reference's last thousandth: often 0, heavy beyond",
    "guess": "the smallest p-value of the columns' means against a guessed 0.05",
}
WATCH = """\
import math

import numpy as np


def _columns(reference, window):
    for name in window:
        one, other = reference[name], window[name]
        if one.dtype.kind not in "biuf":
            usual = one.mode()
            one, other = one.isin(usual), other.isin(usual)
        one, other = one.dropna().to_numpy(float), other.dropna().to_numpy(float)
        if len(one) and len(other) and one.std() > 0:
            yield one, other


def _far(reference, window):
    columns = _columns(reference, window)
    return max(abs(b.mean() - a.mean()) / a.std() * math.sqrt(len(b)) for a, b in columns)


def means(reference, window):
    return {"score": float(_far(reference, window))}


def worst(reference, window):
    beyond = ((b.max() - np.quantile(a, 0.999)) / a.std() for a, b in _columns(reference, window))
    return {"score": float(max([0.0, *beyond]))}


def guess(reference, window):
    p = math.erfc(_far(reference, window) / math.sqrt(2))
    return {"score": p, "threshold": 0.05, "alarm": p < 0.05}
"""


@contextmanager
def serve_functions(folder: Path, names: list[str]) -> Iterator[list[str]]:
    """Start the program of each function; NAME=URL of each."""
    with ExitStack() as stack:
        urls = []
        for name in names:
            process = functions.serve(folder / name, WATCH, run=f"watch:{name}", form="pandas")
            stack.callback(process.kill)
            urls.append(f"{name}=http://127.0.0.1:{process.port}")
        yield urls


def run_counts(world: str, *words: str, image: str) -> Iterator[dict[str, Any]]:
    """Yield the counts of one world, made in the environment of an image; each release is told as it comes."""
    for line in follow_monitor("power.borrowed", world, *words, image=image):
        if line.startswith("{"):
            print(line, end="", file=sys.stderr, flush=True)
            yield json.loads(line)


def judge_counts(cells: list[dict[str, Any]], rate: float) -> tuple[str, bool]:
    """Return what the releases of a monitor show, in words, and True when it cries wolf."""
    counted = [cell for cell in cells if cell["alarms"] is not None]
    refused = [cell["refused"] for cell in cells if cell["alarms"] is None]
    said = f"{len(refused)} of {len(cells)} fits refused: {refused[0]}" if refused else ""
    if not counted:
        return said, False
    windows = sum(cell["windows"] for cell in counted)
    alarms = sum(cell["alarms"] for cell in counted)
    worst = max(counted, key=lambda cell: cell["alarms"])
    cries = alarms > find_most(windows, rate, DOUBT) or worst["alarms"] > find_most(
        worst["windows"], rate, DOUBT
    )
    verdict = "MORE THAN CHANCE EXPLAINS" if cries else "held"
    share = f"{alarms} of {windows} windows ({alarms / windows:.1%}), worst release {worst['alarms']} of {worst['windows']}"
    own = sum(cell["own"] for cell in counted)
    beyond = f"; {own} beyond its own threshold" if own else ""
    return f"{share}: {verdict}{beyond}{f'; {said}' if said else ''}", cries


def tell_settings(cell: dict[str, Any]) -> str:
    """Return the settings of a class that are not its own, in words."""
    settings = cell.get("settings", {})
    return (
        f" ({', '.join(f'{name} {value}' for name, value in settings.items())})" if settings else ""
    )


def tell_cost(cells: list[dict[str, Any]]) -> str:
    """Return the processor time of the fits and of the windows, in words."""
    fitting = sum(cell["fitting"] for cell in cells) / len(cells)
    judged = [cell for cell in cells if cell["alarms"] is not None]
    said = f"{fitting:.0f} s of processor a fit"
    if not judged:
        return said
    windows = sum(cell["windows"] for cell in judged)
    return f"{said}, {sum(cell['judging'] for cell in judged) / windows:.2f} s a window"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    parser.add_argument("--windows", type=int, default=100, help="clean windows of each release")
    parser.add_argument("--releases", type=int, default=3)
    parser.add_argument(
        "--reference", type=int, default=REFERENCE, help="rows of the training data of each release"
    )
    parser.add_argument("--size", type=int, default=100, help="rows of a window")
    parser.add_argument("--rate", type=float, default=0.05, help="alarmRate")
    parser.add_argument("--trained", action="store_true", help="classes that need TensorFlow")
    parser.add_argument("--only", nargs="+", choices=(*FUNCTIONS, *CLASSES, *TRAINED))
    chosen = parser.parse_args()
    usual = TRAINED if chosen.trained else (*FUNCTIONS, *CLASSES)
    names = [name for name in chosen.only or usual if name in usual]
    if not names:
        parser.error(
            f"none of --only is counted {'with' if chosen.trained else 'without'} --trained"
        )
    image = "alibi" if chosen.trained else "monitor"
    began, wolves = time.perf_counter(), []
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_functions(Path(folder), [name for name in names if name in FUNCTIONS]) as urls,
    ):
        for world in chosen.worlds:
            counts = ("--windows", str(chosen.windows), "--releases", str(chosen.releases))
            settings = ("--size", str(chosen.size), "--rate", str(chosen.rate))
            settings += ("--reference", str(chosen.reference))
            classes = [name for name in names if name not in FUNCTIONS]
            chosen_monitors = ("--functions", *urls, "--classes", *classes)
            found = run_counts(world, *counts, *settings, *chosen_monitors, image=image)
            for (data, name), each in groupby(found, lambda c: (c["world"], c["monitor"])):
                cells = list(each)
                said, cries = judge_counts(cells, chosen.rate)
                label = f"{data}, {name}{tell_settings(cells[0])}"
                print(f"{label}: {said}; {tell_cost(cells)}", flush=True)
                wolves += [f"{name} of {data}"] if cries else []
    print(
        f"alarmRate {chosen.rate}, windows of {chosen.size} rows of {chosen.reference} of training, {time.perf_counter() - began:.0f} s"
    )
    print(f"more false alarms than chance explains: {len(wolves)}: {'; '.join(wolves)}")
    raise SystemExit(bool(wolves))


if __name__ == "__main__":
    main()
