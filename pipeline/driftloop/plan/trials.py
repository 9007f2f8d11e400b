"""The trials of a search: every combination of a grid, or so many drawn at random."""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from driftloop.spec.train import Between, Search, Train
from driftloop.spec.values import Scalar

MOST = 100
"""Trials of one search at most."""

PATIENCE = 100
"""Draws for each trial before a search counts as having no more different points."""


@dataclass(frozen=True)
class Trial:
    """One point of the search; without a search there is exactly one."""

    number: int
    parameters: Mapping[str, Scalar]

    @property
    def text(self) -> str:
        """The parameters as JSON, keys in the spec's order."""
        return json.dumps(dict(self.parameters))


def plan_trials(train: Train) -> tuple[Trial, ...]:
    """The same ones for the same spec on every machine; fewer than asked for when there are no
    more different ones."""
    if train.search is None:
        return (Trial(0, dict(train.parameters)),)
    points = (
        _grid_points(train.search) if train.search.random is None else _draw_points(train.search)
    )
    return tuple(
        Trial(number, {**train.parameters, **point}) for number, point in enumerate(points)
    )


def _grid_points(search: Search) -> Iterator[dict[str, Scalar]]:
    for values in itertools.product(*search.over.values()):
        yield dict(zip(search.over, values, strict=True))


def _draw_points(search: Search) -> Iterator[dict[str, Scalar]]:
    """Different points, in the order they are drawn."""
    assert search.random is not None  # noqa: S101 - the caller asked
    count, between = search.random.trials, search.random.between
    source = random.Random(search.random.seed)  # noqa: S311 - a search wants a seed, not a secret
    seen: set[str] = set()
    for _ in range(count * PATIENCE):
        if len(seen) == count:
            return
        # only `random()` is promised to give the same numbers in every Python
        point: dict[str, Scalar] = {
            name: values[int(source.random() * len(values))] for name, values in search.over.items()
        }
        point |= {
            name: _value_within(interval, source.random()) for name, interval in between.items()
        }
        text = json.dumps(point)
        if text not in seen:
            seen.add(text)
            yield point


def _value_within(interval: Between, share: float) -> int | float:
    """The value at `share` (0 to 1) of an interval; four digits, so that no platform's logarithm
    shows."""
    low, high = interval.low, interval.high
    if interval.whole:
        return min(int(low + share * (high - low + 1)), int(high))
    if interval.scale == "log":
        low_log, high_log = math.log(low), math.log(high)
        return _round_within(math.exp(low_log + share * (high_log - low_log)), low, high)
    return _round_within(low + share * (high - low), low, high)


def _round_within(value: float, low: float, high: float) -> float:
    return min(max(float(f"{value:.4g}"), low), high)
