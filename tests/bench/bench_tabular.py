"""What judging a window costs with `tabular`, beside alibi-detect's KSDrift called directly.

    python tests/bench/bench_tabular.py [--rounds 10]

64 columns of numbers, in turns in one process of the monitor environment; medians of processor time. Prints ms a window and
the ratio for windows of 200 and 2000 rows, against 2000 and 100,000 reference rows.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import monitor  # noqa: E402

INSIDE = """
import statistics, sys, time
import numpy as np
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.detectors.alibi import load_class

rounds, width, random = int(sys.argv[1]), 64, np.random.default_rng(0)


def took(call, rows):
    began = time.process_time()
    call(rows)
    return time.process_time() - began


for reference in (2000, 100_000):
    rows = random.normal(size=(reference, width))
    columns = tuple(
        ColumnProfile(name=f"c{n}", type="number", rows=reference, missing=0, distinct=reference)
        for n in range(width)
    )
    profile = TableProfile(columns=columns, order=tuple(c.name for c in columns))
    ours = fit_detector(DetectorSettings("tabular"), rows, profile)
    theirs = load_class("cd.ks", "KSDrift")(rows, p_val=0.01)
    for size in (200, 2000):
        windows = [random.normal(size=(size, width)) for _ in range(rounds)]
        times = [(took(ours.score_window, w), took(theirs.predict, w)) for w in windows]
        mine, alibi = (1000 * statistics.median(each) for each in zip(*times))
        print(f"window {size}, reference {reference}: tabular {mine:.1f} ms, KSDrift {alibi:.1f} ms, {alibi / mine:.1f} times")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = str(parser.parse_args().rounds)
    subprocess.run(
        [str(monitor.python()), "-c", INSIDE, rounds],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline")},
        check=True,
    )


if __name__ == "__main__":
    main()
