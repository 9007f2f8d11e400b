"""Quality of two versions by labels that have come: figures of labelled rows, and the bound on one of them.

A bound is broken when what was measured lies beyond it by more than chance: three standard deviations, of both versions where
they are compared. So a candidate that is as good as production is hardly ever rejected, however often one looks.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from driftloop.contract.handovers import QualityLimit
from driftloop.contract.labels import Label, Scalar
from driftloop.release.answers import Answer
from driftloop.release.values import category_key

SIGMAS = 3.0
"""Standard deviations that count as chance."""


@dataclass(frozen=True)
class LabelledFigures:
    """Sums over the labelled rows of a version."""

    rows: int = 0
    """Rows whose answer and label are there."""
    right: int = 0
    """Those that were answered right."""
    numbers: int = 0
    """Rows whose answer and label are numbers."""
    absolute: float = 0.0
    """Sum of the absolute errors of these."""
    squares: float = 0.0
    """Sum of their squares."""
    fourths: float = 0.0
    """Sum of the squares of their squares."""

    def __add__(self, other: "LabelledFigures") -> "LabelledFigures":
        return LabelledFigures(
            self.rows + other.rows,
            self.right + other.right,
            self.numbers + other.numbers,
            self.absolute + other.absolute,
            self.squares + other.squares,
            self.fourths + other.fourths,
        )

    def count_rows(self, metric: "LiveMetric") -> int:
        """Return the rows that a metric is of."""
        return self.rows if metric == "accuracy" else self.numbers

    def measure(self, metric: "LiveMetric") -> tuple[float, float]:
        """Return the value of a metric and its standard deviation by chance; there must be rows."""
        match metric:
            case "accuracy":
                likely = (self.right + 2) / (self.rows + 4)
                return self.right / self.rows, math.sqrt(likely * (1 - likely) / self.rows)
            case "mae":
                mean, square = self.absolute / self.numbers, self.squares / self.numbers
                return mean, math.sqrt(max(square - mean**2, 0.0) / self.numbers)
            case "rmse":
                square, fourth = self.squares / self.numbers, self.fourths / self.numbers
                root = math.sqrt(square)
                spread = math.sqrt(max(fourth - square**2, 0.0) / self.numbers)
                return root, spread / (2 * root) if root else 0.0
            case _:
                assert_never(metric)


LiveMetric = Literal["accuracy", "mae", "rmse"]


@dataclass(frozen=True)
class LiveQuality:
    """Quality of both versions by labels, for a bound that needs so many of them."""

    metric: LiveMetric
    needed: int
    """Labelled rows of each version that it needs."""
    production: LabelledFigures = LabelledFigures()
    candidate: LabelledFigures = LabelledFigures()

    @property
    def few(self) -> str:
        """Return the labels that are missing, in words; empty when none are."""
        parts = (
            f"{count} of {self.needed} labelled rows of {name}"
            for name, count in (
                ("the candidate", self.candidate.count_rows(self.metric)),
                ("production", self.production.count_rows(self.metric)),
            )
            if count < self.needed
        )
        return " and ".join(parts)

    @property
    def text(self) -> str:
        """The figures in words; that of a version without labelled rows is left out."""
        if self.few:
            return f"{self.metric} not judged: {self.few}"
        (ours, _), (theirs, _) = (
            side.measure(self.metric) for side in (self.candidate, self.production)
        )
        return (
            f"{self.metric} {ours:.4g} of {self.candidate.count_rows(self.metric)} labelled rows, "
            f"production's {theirs:.4g} of {self.production.count_rows(self.metric)}"
        )


def find_broken(quality: LiveQuality, limit: QualityLimit) -> str:
    """Return the first bound that is broken beyond chance, in words; empty when none is. There must be enough
    rows."""
    ours, own = quality.candidate.measure(quality.metric)
    theirs, other = quality.production.measure(quality.metric)
    both = SIGMAS * math.hypot(own, other)
    for broken, words in (
        (limit.min is not None and ours + SIGMAS * own < limit.min, f"at least {limit.min}"),
        (limit.max is not None and ours - SIGMAS * own > limit.max, f"at most {limit.max}"),
        (
            limit.production_minus is not None and ours + both < theirs - limit.production_minus,
            f"at most {limit.production_minus} below production's",
        ),
        (
            limit.production_plus is not None and ours - both > theirs + limit.production_plus,
            f"at most {limit.production_plus} above production's",
        ),
    ):
        if broken:
            return f"{quality.text}: must be {words}"
    return ""


def score_label(
    answers: Sequence[Answer], names: Sequence[str], label: Label
) -> LabelledFigures | None:
    """Return the figures of a request's rows by its label; None for one that fits no answer. `names` are those of the
    classes whose places the answers are, if they have any."""
    values = label if isinstance(label, list) else [label]
    if len(values) != len(answers):
        return None
    figures = LabelledFigures()
    for answer, value in zip(answers, values, strict=True):
        figures += _score_row(answer, tuple(names), value)
    return figures


def _score_row(answer: Answer, names: tuple[str, ...], label: Scalar) -> LabelledFigures:
    keys = tuple(_list_keys(label))
    said = _list_keys(answer)
    named = any(key in names for key in keys)
    if named and isinstance(answer, int) and 0 <= answer < len(names):
        # else the label is a class's place
        said = iter((names[answer],))
    figures = LabelledFigures(rows=1, right=int(any(key in keys for key in said)))
    if isinstance(answer, str) or isinstance(label, bool):
        return figures
    try:
        error = abs(float(answer) - float(label))
    except (ValueError, OverflowError):
        return figures
    if not math.isfinite(error):
        return figures
    return replace(figures, numbers=1, absolute=error, squares=error**2, fourths=error**4)


def _list_keys(value: Scalar) -> Iterator[str]:
    """Yield the texts by which a class may be called: as it is, and a whole number without its fraction."""
    key = category_key(value)
    if key is None:
        return
    yield key
    whole, point, fraction = key.partition(".")
    if point and not fraction.strip("0") and whole.lstrip("-").isdigit():
        yield whole
