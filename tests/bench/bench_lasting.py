"""How soon a small change that lasts is acted on, and what the size of the reference allows.

    python tests/bench/bench_lasting.py [--runs N] [--shift SD] [--rows REFERENCE ...]

One of 30 normal columns moves by 0.15 standard deviations. Windows of 200 rows go through `tabular` and the decision
(two alarms in a row count, or one of windows together) until a run is asked for, 10,000 rows at most; each run has a
reference and traffic of its own. For each size of the reference and each budget it prints in how many of so many runs
that was so, after how many rows, and how many runs without a change asked for one.

Beside it the best that could be done with so many reference rows: a two-sample z test of all 10,000 rows that knows
that the columns are normal with a standard deviation of 1, is made once, and asks for a run as often by chance, all 30
columns together.
"""

import argparse
import math
import sys
from pathlib import Path
from statistics import NormalDist, median

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "pipeline"), str(ROOT / "tests")]

from support.lasting import COLUMNS, CONSECUTIVE, ROWS, find_action  # noqa: E402

from driftloop.contract.budgets import (  # noqa: E402
    AlarmBudget,
    count_windows,
    expect_alarms,
    find_rate,
)

WINDOWS = 50
"""Of a run: 10,000 rows."""
BUDGETS = {
    "alarmRate 0.01": None,
    "1/month": AlarmBudget(1.0, 1.0, least=CONSECUTIVE, of=CONSECUTIVE),
}


def find_oracle(shift: float, rows: int, budget: AlarmBudget | None) -> float:
    """Return the share of runs in which the z test sees the shift."""
    month = count_windows(1.0, ROWS, None, ROWS)
    rate = find_rate(1.0, month, CONSECUTIVE, CONSECUTIVE) if budget else 0.01
    false = expect_alarms(rate, WINDOWS, CONSECUTIVE, CONSECUTIVE)
    law, traffic = NormalDist(), WINDOWS * ROWS
    bound = -law.inv_cdf(false / COLUMNS / 2)
    return law.cdf(shift * math.sqrt(rows * traffic / (rows + traffic)) - bound)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--shift", type=float, default=0.15)
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 5000, 20_000])
    given = parser.parse_args()
    for rows in given.rows:
        for name, budget in BUDGETS.items():
            each = {"rows": rows, "windows": WINDOWS, "budget": budget}
            moved = [find_action(seed, shift=given.shift, **each) for seed in range(given.runs)]
            quiet = [find_action(seed, shift=0.0, **each) for seed in range(given.runs)]
            seen = [count for count in moved if count is not None]
            false = sum(count is not None for count in quiet)
            print(
                f"{rows} reference rows, {name}: +{given.shift} sd acted on in {len(seen)} of {given.runs} runs"
                f"{f', after {median(seen):.0f} rows' if seen else ''}; the best possible "
                f"{find_oracle(given.shift, rows, budget):.0%}; without a change {false} of {given.runs}",
                flush=True,
            )


if __name__ == "__main__":
    main()
