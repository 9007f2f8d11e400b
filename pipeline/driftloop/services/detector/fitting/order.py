"""Learning what the order of the training data says of windows of traffic, which come in an order, too.

The inflation of each column is estimated on blocks of the training data in their own order, of 2, 4, 8, ...
rows up to twice a window, and counts only where chance explains it in fewer than one of 10,000 columns. What
still grows from a window to two is alike from one window to the next, and goes on growing. Where a fifth of a
column's variance lies between blocks the file is sorted by it, or it never stays: no allowance would
leave anything to see, so there is none, and the fit says so.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from driftloop.contract.handovers import OWN_KINDS
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.services.detector.detectors import WindowDetector
from driftloop.services.detector.detectors.calibration import ROWS, Calibration, OrderEffect
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.fitting.bounds import learn_bound
from driftloop.services.detector.rows.values import Rows

FEWEST_BLOCKS = 16
"""Blocks that a variance is estimated from."""
DOUBT = 1e-4
"""Probability that a column of independent rows has an inflation."""
MOST_VALUES = 10_000_000
"""Values that are looked at, of the last rows."""
MOST_LEVELS = 8
"""Commonest categories of a column that are looked at."""
SORTED = 0.2
"""Part of a column's variance that lies between windows from which on its order is not that of traffic: the
file is sorted, or the column moves all the time."""
FEW_SORTED = 1 / 3
"""Part of the columns that may be so; with more the files' order is taken for none at all."""
LASTING = 1.4
"""Growth of the inflation with twice the rows from which on windows next to each other are alike."""
MOST_SCORED, AT_ONCE = 20_000, 5_000
"""Rows that a detector of single rows scores to learn from, and how many at once."""
ROW_KINDS = ("iforest", "mahalanobis")
NO_ORDER = Calibration(rows=0, longest=0, window=1, effects={}, sorted=(), usable=True)
"""Of rows without an order, as the answers of a rehearsal are."""


@dataclass(frozen=True)
class OrderEstimate:
    """Estimate of the order in one column."""

    effect: OrderEffect
    share: float
    """Part of the variance that lies between blocks."""


def calibrate_fit(
    artifact: DetectorArtifact, fit: Callable[[Rows], WindowDetector]
) -> DetectorArtifact:
    """Return the artifact with what the order of its rows says; of a detector of single rows, the order
    of its outliers; of one whose threshold is not ours, how far beyond it a window must be."""
    rows, config = artifact.ordered, artifact.config
    known = config.alibi_class
    scores_rows = config.kind in ROW_KINDS or (known is not None and known.scores_rows)
    if config.kind == "quality":
        return artifact
    if config.kind not in OWN_KINDS and not scores_rows:
        order = NO_ORDER if rows is None else learn_order(rows, artifact.profile, config.window)
        return replace(artifact, calibration=learn_bound(artifact, fit, order))
    if rows is None:
        return artifact
    if scores_rows:
        return replace(artifact, calibration=_learn_outliers(artifact, fit, rows))
    return replace(artifact, calibration=learn_order(rows, artifact.profile, config.window))


def _learn_outliers(
    artifact: DetectorArtifact, fit: Callable[[Rows], WindowDetector], rows: Rows
) -> Calibration:
    """Learn from the order of the outliers that a detector of single rows finds."""
    window = artifact.config.window
    kept = rows[-MOST_SCORED:]
    detector = fit(artifact.reference)
    flags = np.zeros(len(kept))
    for start in range(0, len(kept), AT_ONCE):
        found = detector.score_window(kept[start : start + AT_ONCE]).outliers
        flags[start + np.array(found, dtype=np.int64)] = 1
    estimate = estimate_inflation(flags, window, DOUBT)
    sizes = _list_sizes(len(kept), window)
    return Calibration(
        rows=len(kept),
        longest=sizes[-1] if sizes else 0,
        window=window,
        effects={ROWS: estimate.effect} if estimate else {},
        sorted=(),
        usable=True,
    )


def learn_order(rows: Rows, profile: TableProfile, window: int) -> Calibration:
    """Learn from rows in the order of the files (n x columns)."""
    kept = rows[-max(1, MOST_VALUES // rows.shape[1]) :]
    longest = _list_sizes(len(kept), window)[-1:]
    estimates = {
        column.name: estimate
        for number, column in enumerate(profile.columns)
        if (estimate := _estimate_column(column, kept[:, number], window, rows.shape[1]))
    }
    moving = tuple(name for name, each in estimates.items() if each.share > SORTED)
    usable = len(moving) <= FEW_SORTED * len(profile.columns)
    return Calibration(
        rows=len(kept),
        longest=longest[0] if longest else 0,
        window=window,
        effects={
            name: each.effect for name, each in estimates.items() if usable and name not in moving
        },
        sorted=moving,
        usable=usable,
    )


def _estimate_column(
    column: ColumnProfile, values: Rows, window: int, columns: int
) -> OrderEstimate | None:
    """Return what the order does to a column; None when it does nothing that chance does not."""
    series = list(_list_series(column, values))
    found = [
        estimate
        for each in series
        if (estimate := estimate_inflation(each, window, DOUBT / len(series)))
    ]
    if not found:
        return None
    worst = max(found, key=lambda each: each.effect.inflation)
    lasting = any(each.effect.lasting for each in found)
    return OrderEstimate(
        OrderEffect(worst.effect.inflation, lasting=lasting), max(each.share for each in found)
    )


def _list_series(column: ColumnProfile, values: Rows) -> Iterator[Rows]:
    """Yield functions of the values whose means a change moves: ranks and their distance from the middle,
    shares of categories, gaps."""
    missing = np.isnan(values)
    if missing.any():
        yield missing.astype(np.float64)
    present = values[~missing]
    if not len(present) or column.type == "time":
        return
    if column.type in ("category", "boolean"):
        levels, counts = np.unique(present, return_counts=True)
        for level in levels[np.argsort(-counts, kind="stable")][:MOST_LEVELS]:
            yield (values == level).astype(np.float64)
        return
    levels, places, counts = np.unique(present, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / len(present)
    for score in (ranks, np.abs(ranks - 0.5)):
        series = np.full(len(values), float(score[places].mean()))
        series[~missing] = score[places]
        yield series


def _list_sizes(rows: int, window: int) -> list[int]:
    """Return the rows of blocks: 2, 4, 8, ... up to twice a window, as far as there are enough of them."""
    most = min(2 * window, rows // FEWEST_BLOCKS)
    return [2**power for power in range(1, 40) if 2**power <= most]


def estimate_inflation(series: Rows, window: int, doubt: float) -> OrderEstimate | None:
    """Return the inflation of the mean of a window; None when chance explains it."""
    centred = series - series.mean()
    variance = float((centred**2).mean())
    sizes = _list_sizes(len(series), window)
    if not sizes or variance <= 1e-12:
        return None
    tails = max(0.0, float((centred**4).mean()) / variance**2 - 3) / len(series)
    bound = NormalDist().inv_cdf(1 - doubt / len(sizes))
    ratios = []
    certain = False
    for size in sizes:
        blocks = len(series) // size
        means = centred[: blocks * size].reshape(blocks, size).mean(axis=1)
        ratio = float(size * means.var(ddof=1) / variance)
        ratios.append(ratio)
        # Wilson and Hilferty's cube root of chi-squared
        spread = 2 / 9 * (1 / (blocks - 1) + tails / 2)
        certain = certain or (ratio ** (1 / 3) - (1 - spread)) / math.sqrt(spread) > bound
    if not certain:
        return None
    growth = ratios[-1] / max(ratios[-2], 1e-9) if len(ratios) > 1 else 1.0
    lasting = growth > LASTING and ratios[-1] > LASTING
    within = [size for size in sizes if size <= window]
    inflation = max(1.0, *ratios[: len(within)])
    if lasting:
        # what still grows is taken to go on
        inflation = 1 + (inflation - 1) * window / within[-1]
    share = (ratios[-1] - 1) / sizes[-1]
    return OrderEstimate(OrderEffect(round(inflation, 3), lasting=lasting), share)
