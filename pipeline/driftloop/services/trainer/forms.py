"""Rows as a user's function gets them: lists, or a table of the library that the spec names.

| type | lists | pandas | arrow | numpy |
|---|---|---|---|---|
| number | float, None | float64, NaN | float64, null | float64, NaN |
| boolean | bool, None | boolean, NA | bool, null | 0 and 1, NaN |
| category | str, None | object, None | string, null | refused |
| text: its length | int, None | Int64, NA | int64, null | refused |
| time: there or not | bool | bool | bool | refused |

A category that the reference does not have is `(unseen)`: the detector keeps no more of it.
"""

import importlib
from array import array
from collections.abc import Callable
from math import isnan
from typing import Any, assert_never

from driftloop.contract.functions import ColumnHead, PackedRows, RowsForm
from driftloop.services.trainer.errors import TrainerError

UNSEEN = "(unseen)"
"""Stands for any category that the reference does not have."""


def build_rows(packed: PackedRows, form: RowsForm) -> Any:
    """Return the rows in a form; TrainerError when the image lacks its library, or it can't hold them."""
    match form:
        case "lists":
            return _build_lists(packed)
        case "pandas":
            return _build_frame(packed)
        case "arrow":
            return _build_table(packed)
        case "numpy":
            return _build_array(packed)
        case _:
            assert_never(form)


def _build_lists(packed: PackedRows) -> dict[str, list[Any]]:
    return {
        column.name: list_values(column, values)
        for column, values in zip(packed.head.columns, packed.values, strict=True)
    }


def list_values(column: ColumnHead, values: "array[float]") -> list[Any]:
    """Return the values of a column; None for a missing one."""
    convert = _choose_conversion(column)
    if column.type == "time":
        return [not isnan(value) for value in values]
    return [None if isnan(value) else convert(value) for value in values]


def _choose_conversion(column: ColumnHead) -> Callable[[float], Any]:
    match column.type:
        case "boolean":
            return lambda value: value != 0
        case "category":
            names = column.categories

            def name_category(value: float) -> str:
                return names[int(value)] if 0 <= value < len(names) else UNSEEN

            return name_category
        case "text":
            return int
        case _:
            return float


def _build_frame(packed: PackedRows) -> Any:
    pandas = _import_library("pandas")
    types = {"boolean": "boolean", "text": "Int64", "category": "object", "time": "bool"}
    columns = {}
    for column, values in zip(packed.head.columns, packed.values, strict=True):
        if column.type in types:
            listed = list_values(column, values)
            columns[column.name] = pandas.Series(listed, dtype=types[column.type])
        else:
            columns[column.name] = pandas.Series(values, dtype="float64")
    return pandas.DataFrame(columns)


def _build_table(packed: PackedRows) -> Any:
    arrow = _import_library("pyarrow")
    types = {
        "boolean": arrow.bool_(),
        "text": arrow.int64(),
        "category": arrow.string(),
        "time": arrow.bool_(),
    }
    columns = {
        column.name: arrow.array(
            list_values(column, values), type=types.get(column.type, arrow.float64())
        )
        for column, values in zip(packed.head.columns, packed.values, strict=True)
    }
    return arrow.table(columns)


def _build_array(packed: PackedRows) -> Any:
    numpy = _import_library("numpy")
    for column in packed.head.columns:
        if column.type not in ("number", "boolean"):
            raise TrainerError(
                f"column `{column.name}` is of type {column.type}, `form: numpy` takes numbers and booleans",
                hint="use `form: pandas`, `arrow` or `lists`, or name columns of numbers in the monitor's `columns`",
            )
    if not packed.head.rows:
        return numpy.empty((0, len(packed.values)))
    return numpy.stack(
        [numpy.frombuffer(values, dtype="float64") for values in packed.values], axis=1
    )


def _import_library(name: str) -> Any:
    form = {"pyarrow": "arrow"}.get(name, name)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TrainerError(
            f"`form: {form}` needs {name}, which the image does not have",
            hint=f"add {name} to the image's requirements.txt, or take `form` out of the monitor",
        ) from error
