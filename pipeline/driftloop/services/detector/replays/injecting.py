"""Changes that a replay makes in rows, from one row on: what a monitor would have said, and how soon."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan
from typing import Any, assert_never
from zlib import crc32

import numpy as np

from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.replays import InjectedChange
from driftloop.contract.suggestions import suggest_closest
from driftloop.services.detector.fitting.artifact import ArtifactError
from driftloop.services.detector.replays.asking import AskedRow, RawRow

NEW_CATEGORY = "new-category"

_Change = Callable[[Any], Any]


def change_rows(
    rows: Sequence[AskedRow | RawRow],
    start: int,
    change: InjectedChange,
    profile: TableProfile,
    seed: int,
) -> list[AskedRow | RawRow]:
    """Return the rows from `start` on, counted from 1, with a change, but for those that are asked as they came;
    ArtifactError for a change that does not fit its column.

    A standard deviation is that of the column over all rows as they are; what is drawn depends on the seed
    and the change alone.
    """
    column = _find_column(change, profile)
    after = rows[start - 1 :]
    if change.kind == "lost":
        return [
            _drop_value(row, change.column) if isinstance(row, AskedRow) else row for row in after
        ]
    random = np.random.default_rng([seed, start, crc32(f"{change.kind} {change.column}".encode())])
    plain = [row for row in rows if isinstance(row, AskedRow)]
    new = _choose_change(plain, change, column, random)
    return [
        _change_value(row, change.column, new) if isinstance(row, AskedRow) else row
        for row in after
    ]


def _find_column(change: InjectedChange, profile: TableProfile) -> ColumnProfile:
    column = next((each for each in profile.columns if each.name == change.column), None)
    if column is None:
        raise ArtifactError(
            f"a change of column `{change.column}`, which the training data do not have",
            hint=suggest_closest(change.column, profile.names, fold=True),
        )
    wanted = {"shift": "number", "noise": "number", "category": "category"}.get(change.kind)
    if wanted not in (None, column.type):
        raise ArtifactError(
            f"a change of kind {change.kind} of column `{change.column}`, which is of type {column.type}: must "
            f"be of type {wanted}"
        )
    return column


def _choose_change(
    rows: Sequence[AskedRow],
    change: InjectedChange,
    column: ColumnProfile,
    random: np.random.Generator,
) -> _Change:
    match change.kind:
        case "shift":
            step = change.size * _find_deviation(rows, change)
            return lambda value: value + step if _is_number(value) else value
        case "noise":
            step = change.size * _find_deviation(rows, change)
            return lambda value: value + random.normal(0, step) if _is_number(value) else value
        case "category":
            known = {name for name, _ in column.categories}
            name = next(
                n for n in (NEW_CATEGORY + "'" * k for k in range(len(known) + 1)) if n not in known
            )
            return lambda value: name if random.random() < change.size else value
        case "lost":
            return lambda _: None
        case _:
            assert_never(change.kind)


def _find_deviation(rows: Sequence[AskedRow], change: InjectedChange) -> float:
    values = [value for row in rows if _is_number(value := _get_value(row, change.column))]
    deviation = float(np.std(values)) if values else 0.0
    if deviation == 0.0 or not np.isfinite(deviation):
        raise ArtifactError(
            f"a change of {change.size:g} standard deviations of column `{change.column}`: its numbers have none",
            hint="choose another column, or `lost`",
        )
    return deviation


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not isnan(value)


def _split_element(column: str) -> tuple[str, int]:
    """Return the array and the place of one of its columns."""
    array, _, number = column.removesuffix("]").rpartition("[")
    return array, int(number) if number.isdigit() else -1


def _flatten(values: Any) -> list[Any]:
    if not isinstance(values, list):
        return [values]
    return [each for value in values for each in _flatten(value)]


def _set_element(values: Any, place: int, new: _Change) -> Any:
    """Return nested lists with another value at one place of the flattened ones."""
    array = np.array(values, dtype=object)
    flat = array.reshape(-1)
    if 0 <= place < len(flat):
        flat[place] = new(flat[place])
    return array.tolist()


def _get_value(row: AskedRow, column: str) -> Any:
    if column in row.names:
        return row.values[row.names.index(column)]
    array, place = _split_element(column)
    values = row.values if not row.names else None
    if array in row.names:
        values = row.values[row.names.index(array)]
    flat = [] if values is None else _flatten(values)
    return flat[place] if 0 <= place < len(flat) else None


def _change_value(row: AskedRow, column: str, new: _Change) -> AskedRow:
    if not row.names:
        return replace(row, values=_set_element(row.values, _split_element(column)[1], new))
    name, whole = column, column in row.names
    if not whole:
        name = _split_element(column)[0]
    if name not in row.names:
        return row
    values = list(row.values)
    at = row.names.index(name)
    values[at] = (
        new(values[at]) if whole else _set_element(values[at], _split_element(column)[1], new)
    )
    return replace(row, values=values)


def _drop_value(row: AskedRow, column: str) -> AskedRow:
    """Return the row without a column: its name does not come any more. A number of an array is null."""
    if column not in row.names:
        return _change_value(row, column, lambda _: None)
    kept = [place for place, name in enumerate(row.names) if name != column]
    return AskedRow(
        tuple(row.names[place] for place in kept), [row.values[place] for place in kept]
    )
