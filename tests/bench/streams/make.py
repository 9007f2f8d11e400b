"""Write public streams with a known change as .csv files: river's generators, in the environment of the `bench` group.

    python make.py FOLDER SEEDS BEFORE AFTER [NAME ...]

`NAME-SEED.csv` has the columns of the stream and the right answer `y`; the change is after BEFORE rows.
"""

import csv
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from river.datasets import synth

Rows = Iterator[tuple[dict[Any, Any], Any]]
Stream = Callable[[int, int], tuple[Rows, Rows]]
"""The stream before and after its change, of a seed; the second number is the row of the change."""


def _two(make: Callable[..., Any], before: dict[str, Any], after: dict[str, Any]) -> Stream:
    return lambda seed, _: (
        iter(make(**before, seed=seed)),
        iter(make(**after, seed=seed + 1000)),
    )


def _moving_centroids(seed: int, _: int) -> tuple[Rows, Rows]:
    """Clusters whose centres begin to move: gradually, and the inputs with them."""

    def make(sample: int, speed: float) -> Rows:
        return iter(
            synth.RandomRBFDrift(
                seed_model=seed,
                seed_sample=sample,
                n_centroids=20,
                change_speed=speed,
                n_drift_centroids=20,
            )
        )

    return make(seed, 0.0), make(seed + 1000, 0.001)


def _other_plane(seed: int, _: int) -> tuple[Rows, Rows]:
    """A plane through the same points, and another one."""
    return iter(synth.Hyperplane(seed=seed)), iter(synth.Hyperplane(seed=seed + 1000))


def _friedman(seed: int, change: int) -> tuple[Rows, Rows]:
    """Global and abrupt: the function of the same inputs is another one."""
    stream = iter(synth.FriedmanDrift("gra", position=(change, 10**9), seed=seed))
    return stream, stream


STREAMS: dict[str, Stream] = {
    "SEA": _two(synth.SEA, {"variant": 0}, {"variant": 3}),
    "STAGGER": _two(synth.STAGGER, {"classification_function": 0}, {"classification_function": 2}),
    "Hyperplane": _other_plane,
    "Sine": _two(synth.Sine, {"classification_function": 0}, {"classification_function": 1}),
    "Agrawal": _two(synth.Agrawal, {"classification_function": 0}, {"classification_function": 2}),
    "Friedman": _friedman,
    "RandomRBF": _moving_centroids,
    "LED": _two(
        synth.LEDDrift,
        {"irrelevant_features": True, "noise_percentage": 0.1},
        {"irrelevant_features": True, "noise_percentage": 0.1, "n_drift_features": 7},
    ),
}


def main() -> None:
    folder, seeds, before, after = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    for name in sys.argv[5:] or STREAMS:
        for seed in range(seeds):
            first, second = STREAMS[name](seed, before)
            rows = [*itertools.islice(first, before), *itertools.islice(second, after)]
            with (folder / f"{name}-{seed}.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow([*map(str, rows[0][0]), "y"])
                writer.writerows(
                    [*x.values(), int(y) if isinstance(y, bool) else y] for x, y in rows
                )


if __name__ == "__main__":
    main()
