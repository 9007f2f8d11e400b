"""Metrics of answers that are numbers, by the names that people and libraries give them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MeasureKind = Literal["mae", "mse", "rmse", "r2"]

_NAMES: dict[str, MeasureKind] = {
    "mae": "mae",
    "meanabsoluteerror": "mae",
    "mse": "mse",
    "meansquarederror": "mse",
    "rmse": "rmse",
    "rootmeansquarederror": "rmse",
    "r2": "r2",
    "r2score": "r2",
    "rsquared": "r2",
}
_ROWS = ("test", "val", "validation", "heldout", "eval", "evaluation")
"""Words before a metric that name the rows."""


@dataclass(frozen=True)
class NumberMeasure:
    """A metric of an evaluation that can be worked out from labels and answers."""

    metric: str
    kind: MeasureKind
    sign: int = 1
    """-1 for one that is given as its negative, as scores are."""


def find_measure(metrics: Iterable[str]) -> NumberMeasure | None:
    """Return the first of some metrics that is a measure of numbers; None without one."""
    for metric in metrics:
        words = [word for word in re.split(r"[^a-z0-9]+", metric.lower()) if word]
        negative = words[:1] == ["neg"]
        name = "".join(word for word in words[int(negative) :] if word not in _ROWS)
        if name in _NAMES:
            return NumberMeasure(metric, _NAMES[name], -1 if negative else 1)
    return None
