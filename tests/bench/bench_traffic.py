"""What ordinary traffic, in which nothing is wrong, does to a monitor: with a rate and with a budget of false alarms.

    python tests/bench/bench_traffic.py [--windows N] [--seed N]

Three columns, windows of 200 rows, a row a second, a reference of 20,000 rows of four days; two alarms in a row start
a run, with a pause of 30 minutes. Prints for each kind of traffic (`tests/support/traffic.py`) the runs of so many
windows with `alarmRate` 0.01 and no calibration, and with `falseAlarms: 1/month`, calibrated; and the share of
windows that alarm with the latter when a column without a season moves by half and by a quarter of a standard deviation.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.traffic import DAY, TRAFFIC, fit_budget, fit_uncalibrated, replay  # noqa: E402

from driftloop.services.detector.detectors import WindowDetector  # noqa: E402

ROWS, RATE, REFERENCE = 200, 1.0, 20_000


def measure_power(detector: WindowDetector, traffic: str, shift: float, *, seed: int) -> float:
    """The share of 200 windows that alarm."""
    random = np.random.default_rng([seed, 2])
    moved = np.array([0, shift, 0])
    starts = 4 * DAY + np.arange(200) * ROWS / RATE
    windows = [TRAFFIC[traffic](random, start + np.arange(ROWS) / RATE) for start in starts]
    return float(np.mean([detector.score_window(rows + moved).alarm for rows in windows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=1296)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    played = {"seed": given.seed, "windows": given.windows, "rows": ROWS, "rate": RATE}
    for traffic in TRAFFIC:
        plain = fit_uncalibrated(traffic, seed=given.seed, rows=ROWS, reference=REFERENCE)
        ours = fit_budget(traffic, seed=given.seed, rows=ROWS, rate=RATE, reference=REFERENCE)
        before, after = (replay(each, traffic, **played) for each in (plain, ours))
        seen = [measure_power(ours, traffic, shift, seed=given.seed) for shift in (0.5, 0.25)]
        print(
            f"{traffic}: {before} runs in {given.windows} windows at alarmRate 0.01, {after} at 1/month; "
            f"+0.5 sd seen in {seen[0]:.0%} of windows, +0.25 sd in {seen[1]:.0%}"
        )


if __name__ == "__main__":
    main()
