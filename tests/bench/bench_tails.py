"""Thresholds of a function's scores on tails of every kind: in how many releases more clean windows alarm than stated.

    python tests/bench/bench_tails.py [--releases 200]

Windows have 50 rows. `laws`: of 2000 training rows, as fits of so few have it. `ranks`: of as many rows as the rate needs to
be shown by ranks alone. Clean windows are counted by the scores of 200,000 of them; `far` is how many times the threshold is the
true quantile, in the median and in one release of ten.
"""

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from driftloop.services.detector.detectors.statistics import correct_sharing
from driftloop.services.detector.fitting.tails import (
    bound_heavy_tail,
    bound_ranks,
    bound_tail,
    count_ranked,
)

Rows = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Rows]
ROWS, SIZE, RATES = 2000, 50, (0.05, 0.01)


def draw_power(index: float) -> Draw:
    """Return what draws values of a power law."""
    return lambda random, shape: (1 - random.random(shape)) ** (-1 / index)


def find_largest(windows: Rows) -> Rows:
    return np.asarray(windows.max(axis=-1))


def find_mean(windows: Rows) -> Rows:
    return np.asarray(windows.mean(axis=-1))


def find_distance(windows: Rows) -> Rows:
    return np.abs(windows.mean(axis=-1)) * math.sqrt(SIZE)


LAWS: dict[str, tuple[Draw, Callable[[Rows], Rows]]] = {
    **{f"largest of a power law of index {n:g}": (draw_power(n), find_largest) for n in (1, 1.5, 3)},
    **{f"mean of a power law of index {n:g}": (draw_power(n), find_mean) for n in (1, 1.5, 3)},
    "largest of exponential values": (lambda random, shape: random.exponential(size=shape), find_largest),
    "largest of lognormal values": (lambda random, shape: random.lognormal(size=shape), find_largest),
    "mean of lognormal values": (lambda random, shape: random.lognormal(size=shape), find_mean),
    "mean of normal values": (lambda random, shape: random.normal(size=shape), find_distance),
    "square of it": (lambda random, shape: random.normal(size=shape), lambda w: find_distance(w) ** 2),
}  # fmt: skip


def bound_by_laws(draw: Draw, score: Callable[[Rows], Rows], rate: float, seed: int) -> float:
    """Return the threshold of a fit: 40 windows of random rows, and 40 as they lie."""
    random = np.random.default_rng([7, seed])
    rows = draw(random, (1, ROWS))[0]
    chosen = [random.permutation(ROWS)[:SIZE] for _ in range(40)]
    scores = score(np.concatenate([rows.reshape(-1, SIZE), rows[np.stack(chosen)]]))
    return max(bound_tail(scores, rate), bound_heavy_tail(scores, rate, ROWS // SIZE))


def bound_by_ranks(draw: Draw, score: Callable[[Rows], Rows], rate: float, seed: int) -> float:
    """Return the threshold of a fit that has windows side by side enough."""
    scores = score(draw(np.random.default_rng([8, seed]), (count_ranked(rate), SIZE)))
    bound = bound_ranks(scores, rate)
    assert bound is not None
    return bound


def count_releases(releases: int) -> Iterator[str]:
    for name, (draw, score) in LAWS.items():
        random = np.random.default_rng(99)
        clean = np.sort(np.concatenate([score(draw(random, (20_000, SIZE))) for _ in range(10)]))
        for rate in RATES:
            stated = rate / 10 ** correct_sharing(rate, 1, SIZE, ROWS)
            for way, bound in (("laws", bound_by_laws), ("ranks", bound_by_ranks)):
                bounds = np.array([bound(draw, score, stated, seed) for seed in range(releases)])
                shares = 1 - np.searchsorted(clean, bounds, side="right") / len(clean)
                far = bounds / np.quantile(clean, 1 - rate)
                yield (
                    f"{name}, {rate:.0%}, {way}: {(shares > rate).mean():.1%} of releases alarm on more, the worst on "
                    f"{shares.max():.1%}, all on {shares.mean():.2%}; far {np.median(far):.2f}, {np.quantile(far, 0.9):.2f}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--releases", type=int, default=200)
    for line in count_releases(parser.parse_args().releases):
        print(line, flush=True)


if __name__ == "__main__":
    main()
