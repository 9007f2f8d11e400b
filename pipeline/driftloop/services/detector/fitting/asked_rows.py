"""The held-out rows that a rehearsal asked, beside its answers: what detectors of answers learn of requests.

A slice are the rows with one value of a column. Values are told apart by their texts, `3.0` is `3`; those with at least 20
answered rows are slices, the commonest first, 20 of all columns together. What a column of many values has in none (times,
lengths) is no slice: make a category of it in a data step.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.contract.columns import EVERYTHING
from driftloop.contract.documents import LONGEST_FILE, DocumentError, parse_json
from driftloop.contract.profiles import ColumnProfile
from driftloop.contract.quality import MOST_SLICES
from driftloop.contract.records import HeldOutRows
from driftloop.contract.suggestions import suggest_closest
from driftloop.release.values import category_key
from driftloop.services.detector.fitting.artifact import ArtifactError
from driftloop.services.detector.rows.values import ColumnEncoder, RowFaults, Rows

LEAST_OF_SLICE = 20
"""Answered held-out rows of a slice."""


@dataclass(frozen=True)
class AskedRows:
    """Rows of requests, as they were asked."""

    file: str
    names: tuple[str, ...]
    """Their columns, in order; empty for arrays, whose values have no names."""
    rows: tuple[Any, ...]
    """Values of each row, in the order of the names."""
    features: tuple[str, ...] | None = None
    """Columns that a request without names may have alone; None: it has all."""


@dataclass(frozen=True)
class LearntSlices:
    """Columns by whose values rows are judged apart."""

    columns: tuple[ColumnProfile, ...]
    codes: Rows
    """Slice of each row by each column (n x columns): the place of its category, beyond the last one for other
    values, NaN without a value."""


def read_asked(file: Path, features: str = EVERYTHING) -> AskedRows:
    """Read rows.json; ArtifactError when it can't be read. `features` are the columns of `data.features`."""
    try:
        document = parse_json(file.read_text(), label=file.name, longest=LONGEST_FILE)
        sample = HeldOutRows.read(document)
    except OSError as error:
        raise ArtifactError(
            f"{file} can't be read: {error.strerror}", hint="the evaluation writes it"
        ) from error
    except DocumentError as error:
        raise ArtifactError(error.message, hint="the evaluation writes it") from error
    names = sample.names or ()
    chosen = tuple(features.split(","))
    known = features != EVERYTHING and set(chosen) <= set(names)
    return AskedRows(
        file.name, names, tuple(row.features for row in sample.rows), chosen if known else None
    )


def learn_slices(asked: AskedRows, columns: Sequence[str], places: Sequence[int]) -> LearntSlices:
    """Learn the slices of rows, by their places; ArtifactError for a column that has none."""
    most = MOST_SLICES // len(columns)
    learnt: list[ColumnProfile] = []
    codes: list[Rows] = []
    for name in columns:
        if name not in asked.names:
            raise ArtifactError(
                f"{asked.file}: `slices` names `{name}`, must be of the columns of requests: {_list_names(asked)}",
                hint=suggest_closest(name, asked.names, fold=True),
            )
        place = asked.names.index(name)
        values = [asked.rows[row][place] for row in places]
        column = _profile_slices(name, values, most)
        if not column.categories:
            raise ArtifactError(
                f"{asked.file}: no value of `{name}` has {LEAST_OF_SLICE} of {len(values)} answered rows: it has no slice",
                hint="make a column of few values of it in a data step, or hold more rows out with `data.heldout`",
            )
        learnt.append(column)
        codes.append(ColumnEncoder.from_profile(column).encode_values(values, RowFaults()))
    return LearntSlices(tuple(learnt), np.stack(codes, axis=1))


def _list_names(asked: AskedRows) -> str:
    if not asked.names:
        return "they are arrays, and have no names"
    return ", ".join(f"`{name}`" for name in asked.names)


def _profile_slices(name: str, values: Sequence[Any], most: int) -> ColumnProfile:
    keys = [category_key(value) for value in values]
    counts = Counter(key for key in keys if key is not None)
    chosen = [(key, n) for key, n in counts.most_common(most) if n >= LEAST_OF_SLICE]
    present = sum(counts.values())
    return ColumnProfile(
        name=name,
        type="category",
        rows=len(values),
        missing=len(values) - present,
        distinct=len(counts),
        categories=tuple(chosen),
    )
