"""Changes of single columns in a window's rows, or in its outliers, for detectors that look at whole rows."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from driftloop.contract.profiles import TableProfile
from driftloop.contract.verdicts import ColumnChange
from driftloop.services.detector.detectors.column_tests import ColumnReference, TestBatch
from driftloop.services.detector.rows.values import Rows

MOST_NAMED = 5
"""Columns that are named."""
ENOUGH = 0.8
"""Part that the named columns explain, if so many do."""


def choose_columns(parts: NDArray[np.float64]) -> dict[int, float]:
    """Return the columns with the largest parts, until they explain enough, and their parts of all."""
    total = float(parts.sum())
    named: dict[int, float] = {}
    for column in np.argsort(-parts, kind="stable")[:MOST_NAMED].tolist():
        if named and (sum(named.values()) >= ENOUGH or parts[column] <= 0):
            break
        named[column] = float(parts[column]) / total if total > 0 else 0.0
    return named


def describe_columns(
    parts: Mapping[int, float], profile: TableProfile, reference: Rows, rows: Rows, *, alarm: bool
) -> tuple[ColumnChange, ...]:
    """Return how the rows differ from the reference in each of these columns, by the test that is the
    most certain of it."""
    columns = [ColumnReference(profile.columns[n], reference[:, n]) for n in parts]
    tests = TestBatch(columns).test_window(rows[:, list(parts)])
    changes = []
    for column, part, results in zip(columns, parts.values(), tests, strict=True):
        best = max(results, key=lambda result: (result.kind != "mix", result.score))
        score = max(0.0, best.score - math.log10(len(results)))
        changes.append(column.describe_change(best, score, alarm=alarm, part=part))
    return tuple(changes)
