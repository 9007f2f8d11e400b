"""What judging a window costs with `tabular`, beside alibi-detect's KSDrift called directly.

    python tests/bench/bench_tabular.py [--rounds 32]

64 columns of numbers, in turns in one process of the monitor environment; means of processor time but for the first window of
each, with the windows that are judged together. Prints ms a window and the ratio for windows of 200 and 2000 rows, against 2000 and 100,000
reference rows, and the memory that the process had at most before KSDrift was loaded.
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
import resource, statistics, sys, time
import numpy as np
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.detectors.alibi import load_class
from driftloop.services.detector.stream.judging import build_judge
from driftloop.services.detector.rows.values import RowFaults
from driftloop.services.detector.stream.windows import EventWindow

rounds, width, random = int(sys.argv[1]), 64, np.random.default_rng(0)


def took(call, rows):
    began = time.process_time()
    call(rows)
    return time.process_time() - began


def window(number, rows):
    size = len(rows)
    return EventWindow(number, 1, size, rows, ("",) * size, size, RowFaults(), 0, 0, "rows", size, 0)


for reference in (2000, 100_000):
    rows = random.normal(size=(reference, width))
    columns = tuple(
        ColumnProfile(name=f"c{n}", type="number", rows=reference, missing=0, distinct=reference)
        for n in range(width)
    )
    profile = TableProfile(columns=columns, order=tuple(c.name for c in columns))
    for size in (200, 2000):
        config = DetectorSettings("tabular", window=size)
        ours = build_judge(fit_detector(config, rows, profile), config, rows)
        windows = [random.normal(size=(size, width)) for _ in range(rounds + 1)]
        mine = [took(ours.judge_window, window(n, w)) for n, w in enumerate(windows, 1)]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"reference {reference}, window {size}: {memory:.0f} MiB", file=sys.stderr)
        theirs = load_class("cd.ks", "KSDrift")(rows, p_val=0.01)
        alibi = [took(theirs.predict, w) for w in windows[: max(1, rounds // 4) + 1]]
        mine, alibi = 1000 * statistics.mean(mine[1:]), 1000 * statistics.mean(alibi[1:])
        print(f"window {size}, reference {reference}: tabular {mine:.1f} ms, KSDrift {alibi:.1f} ms, {alibi / mine:.1f} times")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=32)
    rounds = str(parser.parse_args().rounds)
    subprocess.run(
        [str(monitor.python()), "-c", INSIDE, rounds],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline")},
        check=True,
    )


if __name__ == "__main__":
    main()
