"""What a detector takes to fit, to test itself and to judge a window, and the memory it has then.

    python tests/bench/bench_detectors.py [--only KIND ...]

2000 reference rows of numbers and windows of 200, each kind in a process of its own in the monitor environment; processor time.
Prints seconds, milliseconds a window and the largest memory of the process, without the NATS client that a served one has.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import monitor  # noqa: E402

COLUMNS = {"tabular": 64, "schema": 64, "ks": 64, "iforest": 64, "mahalanobis": 784, "mmd": 10}
"""Columns by kind; 784 are those of MNIST."""
INSIDE = """
import os, resource, statistics, sys, time
# as driftloop-detector does, before numpy is imported
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
import numpy as np
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.fitting.selftest import examine_fit

kind, width, random = sys.argv[1], int(sys.argv[2]), np.random.default_rng(0)
rows = random.normal(size=(2000, width))
columns = tuple(
    ColumnProfile(name=f"c{n}", type="number", rows=len(rows), missing=0, distinct=len(rows), quantiles=(-5.0, 5.0))
    for n in range(width)
)
profile = TableProfile(columns=columns, order=tuple(c.name for c in columns))
config = DetectorSettings(kind)


def took(call, *arguments):
    began = time.process_time()
    return call(*arguments), time.process_time() - began


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


detector, fitting = took(fit_detector, config, rows, profile)
windows = [random.normal(size=(200, width)) for _ in range(5)]
judging = 1000 * statistics.median(took(detector.score_window, window)[1] for window in windows)
memory = peak()
_, testing = took(examine_fit, DetectorArtifact(config, rows, profile), lambda r: fit_detector(config, r, profile))
print(
    f"{kind}, {width} columns: fit {fitting:.1f} s, window {judging:.0f} ms, {memory} MB; "
    f"self-test {testing:.1f} s, {peak()} MB"
)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    for kind in parser.parse_args().only:
        subprocess.run(
            [str(monitor.python()), "-c", INSIDE, kind, str(COLUMNS[kind])],
            env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline")},
            check=True,
        )


if __name__ == "__main__":
    main()
