"""Shapes of columns in the reference data and in a window: shares of rows, few enough to be kept with an
alarm. They decide nothing; tests are made of the rows themselves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.distributions import MOST_BINS, MOST_COLUMNS, StoredDistribution
from driftloop.contract.profiles import TRUTHS, ColumnProfile, TableProfile
from driftloop.services.detector.rows.values import LONGEST_NAME, Rows

REST, UNSEEN = "others", "not in the training data"
_OUTER = (0.01, 0.99)
"""Quantiles between which bins are as wide as each other; the first and the last one take what is beyond."""
_DIGITS = 5


class ColumnShapes:
    """The reference rows (n x columns) of a table."""

    def __init__(self, profile: TableProfile, reference: Rows) -> None:
        self._reference = reference
        self._columns = {column.name: n for n, column in enumerate(profile.columns)}
        self._profile = profile

    def compare(self, names: Sequence[str], rows: Rows) -> tuple[StoredDistribution, ...]:
        """Return the shapes of columns in the reference and in the rows of a window; the first `MOST_COLUMNS`
        that have one."""
        found = []
        for name in dict.fromkeys(names):
            number = self._columns.get(name)
            column = self._profile.columns[number] if number is not None else None
            if number is None or column is None or column.type == "time" or not len(rows):
                continue
            found.append(_compare_column(column, self._reference[:, number], rows[:, number]))
            if len(found) == MOST_COLUMNS:
                break
        return tuple(found)


def _compare_column(column: ColumnProfile, before: Rows, after: Rows) -> StoredDistribution:
    there = [values[~np.isnan(values)] for values in (before, after)]
    if column.type in ("category", "boolean"):
        labels, shares = _share_categories(column, there, (len(before), len(after)))
        upper = ""
    else:
        labels, shares, upper = _share_bins(there, (len(before), len(after)))
    return StoredDistribution(
        column=column.name,
        type=column.type,
        labels=labels,
        upper=upper,
        before=shares[0],
        after=shares[1],
        missing_before=_round(1 - len(there[0]) / max(1, len(before))),
        missing_after=_round(1 - len(there[1]) / max(1, len(after))),
    )


def _share_bins(
    there: list[Rows], rows: tuple[int, int]
) -> tuple[tuple[str, ...], list[tuple[float, ...]], str]:
    ends = [np.quantile(values, _OUTER) for values in there if len(values)]
    low = min((float(end[0]) for end in ends), default=0.0)
    high = max((float(end[1]) for end in ends), default=1.0)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, MOST_BINS + 1)
    shares = []
    for values, total in zip(there, rows, strict=True):
        places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, MOST_BINS - 1)
        shares.append(_make_shares(np.bincount(places, minlength=MOST_BINS), total))
    labels = tuple(f"{edge:.4g}" for edge in edges[:-1].tolist())
    return labels, shares, f"{high:.4g}"


def _share_categories(
    column: ColumnProfile, there: list[Rows], rows: tuple[int, int]
) -> tuple[tuple[str, ...], list[tuple[float, ...]]]:
    names = TRUTHS if column.type == "boolean" else tuple(name for name, _ in column.categories)
    # beyond the last one are categories that the training data do not have
    counts = [
        np.bincount(np.clip(values, 0, len(names)).astype(np.int64), minlength=len(names) + 1)
        for values in there
    ]
    parts = np.stack([each / max(1, total) for each, total in zip(counts, rows, strict=True)])
    order = np.argsort(-parts[:, :-1].max(axis=0), kind="stable")
    shown = order[: MOST_BINS - 2].tolist()
    rest = order[MOST_BINS - 2 :]
    labels = [names[n][:LONGEST_NAME] or " " for n in shown]
    shares = [[float(part[n]) for n in shown] for part in parts]
    for label, column_parts in ((REST, parts[:, rest].sum(axis=1)), (UNSEEN, parts[:, -1])):
        if column_parts.max() > 0:
            labels.append(label)
            for side, part in zip(shares, column_parts.tolist(), strict=True):
                side.append(part)
    return tuple(labels), [tuple(map(_round, side)) for side in shares]


def _make_shares(counts: NDArray[Any], total: int) -> tuple[float, ...]:
    return tuple(_round(count / max(1, total)) for count in counts.tolist())


def _round(share: float) -> float:
    return round(max(0.0, share), _DIGITS)
