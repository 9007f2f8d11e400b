"""The held-out rows that a rehearsal asked, beside its answers: what detectors of answers learn of requests.

Errors are estimated from all columns of `data.features`, whose types are learnt as those of the training data (`learning`).

A slice are the rows with one value of a column. Values are told apart by their texts, `3.0` is `3`; those with at least 20
answered rows are slices, the commonest first, 20 of all columns together. What a column of many values has in none (times,
lengths) is no slice: make a category of it in a data step.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from driftloop.contract.columns import (
    EVERYTHING,
    NO_USES,
    ColumnError,
    ColumnUses,
    FileColumns,
)
from driftloop.contract.documents import LONGEST_FILE, DocumentError, parse_json
from driftloop.contract.profiles import ColumnProfile
from driftloop.contract.quality import MOST_SLICES
from driftloop.contract.records import HeldOutRows
from driftloop.contract.suggestions import suggest_closest
from driftloop.release.values import category_key
from driftloop.services.detector.fitting.artifact import ArtifactError
from driftloop.services.detector.fitting.learning import LearntTable, learn_columns
from driftloop.services.detector.rows.tables import TableFile, Values
from driftloop.services.detector.rows.values import ColumnEncoder, RowFaults, Rows

MOST_INPUTS = 200
"""Columns that errors are estimated from."""
ARRAY = "x"
"""Name of arrays, whose values have none."""
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
    uses: ColumnUses = field(default_factory=dict)
    """What columns are where they are learnt wrong."""


@dataclass(frozen=True)
class LearntSlices:
    """Columns by whose values rows are judged apart."""

    columns: tuple[ColumnProfile, ...]
    codes: Rows
    """Slice of each row by each column (n x columns): the place of its category, beyond the last one for other
    values, NaN without a value."""


def read_asked(file: Path, features: str = EVERYTHING, uses: ColumnUses = NO_USES) -> AskedRows:
    """Read rows.json; ArtifactError when it can't be read. `features` are the columns of `data.features`, `uses` what
    `data.columns` says of them."""
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
        file.name,
        names,
        tuple(row.features for row in sample.rows),
        chosen if known else None,
        uses,
    )


def learn_inputs(asked: AskedRows, places: Sequence[int]) -> LearntTable:
    """Learn the columns that errors are estimated from, of rows by their places; ArtifactError when they are no
    table, or too many."""
    rows = [asked.rows[row] for row in places]
    names = asked.names or (ARRAY,)
    columns = zip(*rows, strict=False) if asked.names else (rows,)
    values = {name: _list_values(each) for name, each in zip(names, columns, strict=True)}
    kind: Literal["array", "column"] = "column" if asked.names else "array"
    table = TableFile(asked.file, FileColumns(asked.file, kind, names), values)
    chosen = tuple(name for name in asked.features or names if asked.uses.get(name) != "ignore")
    uses = {name: use for name, use in asked.uses.items() if name in chosen}
    try:
        learnt = learn_columns((table,), chosen, names, uses=uses)
    except ColumnError as error:
        raise ArtifactError(error.message, hint=error.hint) from error
    width = len(learnt.profile.columns)
    if width > MOST_INPUTS:
        raise ArtifactError(
            f"{asked.file}: requests have {width} columns, and errors can be estimated from {MOST_INPUTS} at most",
            hint="name fewer columns in `data.features`, or leave the monitor out",
        )
    return learnt


def _list_values(values: Sequence[Any]) -> Values:
    return np.fromiter(values, dtype=object, count=len(values))


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
