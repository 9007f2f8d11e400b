"""The columns that the detectors will be fitted on, looked at before anything is trained.

Where one of the detectors takes numbers only, nothing but numbers will do.
"""

import contextlib
import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from driftloop.contract.columns import (
    NO_USES,
    TARGET,
    ColumnError,
    ColumnUses,
    FileColumns,
    parse_row,
    read_columns,
)
from driftloop.services.trainer.errors import TrainerError
from driftloop.services.trainer.parquet import list_rows, load_table


def check_features(
    data: Path,
    features: str,
    target: str = TARGET,
    uses: ColumnUses = NO_USES,
    *,
    mixed: bool = False,
) -> None:
    """Look at the recent files below `data`; TrainerError for a column that `features` or `uses` names and
    a file lacks, for files of different columns, and, unless `mixed`, for a value that is not a number."""
    folder = data / "recent"
    widths: dict[int, str] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(data).as_posix()
        try:
            columns = _read_columns(file, name)
            if columns is None:
                continue
            chosen = columns.choose_features(features, target, uses)
        except ColumnError as error:
            raise TrainerError(error.message, hint=error.hint) from error
        except OSError as error:
            raise TrainerError(f"{name} can't be read: {error}") from error
        if mixed:
            continue
        width = _check_values(file, columns, chosen)
        widths.setdefault(width, name)
    if len(widths) > 1:
        listed = ", ".join(f"{name} has {width}" for width, name in widths.items())
        raise TrainerError(
            f"`data.features` is `{features}`, and the files have different numbers of columns: {listed}",
            hint="list the columns that all recent files have in `data.features`",
        )


def _read_columns(file: Path, name: str) -> FileColumns | None:
    if file.suffix == ".parquet":
        return FileColumns(name, "column", tuple(load_table(file).column_names))
    with file.open("rb") as stream:
        return read_columns(name, stream)


def _check_values(file: Path, columns: FileColumns, chosen: Sequence[str]) -> int:
    """Return the number of values in a row; TrainerError for one that is not a number."""
    if columns.kind == "array":
        return _check_array(file, columns, chosen[0])
    width = 0
    for line, row in _read_rows(file):
        values = [(name, row.get(name)) for name in chosen]
        if len(chosen) == 1 and isinstance(values[0][1], list):
            values = [(chosen[0], value) for value in _flatten(values[0][1])]
        for name, value in values:
            if not _is_number(value):
                shown = "empty" if value in (None, "") else f"`{value}`"
                raise TrainerError(
                    f"{columns.file}, line {line}: `{name}` is {shown}, must be a number: the detectors are "
                    "fitted on it",
                    hint="`detector: tabular` takes it as it is; or list the columns of numbers in `data.features`, or fill and "
                    "encode the others in a data step",
                )
        width = len(values)
    return width


def _check_array(file: Path, columns: FileColumns, name: str) -> int:
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            array = arrays[name]
    except (ValueError, OSError, EOFError) as error:
        raise TrainerError(f"{columns.file} can't be read: {error}") from error
    if array.dtype.kind not in "biuf":
        raise TrainerError(
            f"{columns.file}: array `{name}` is {array.dtype}, must be numbers: the detectors are fitted on it",
            hint="name an array of numbers in `data.features`",
        )
    return math.prod(array.shape[1:])


def _read_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row with its line; a row that can't be read is left to the split, which refuses
    it."""
    if file.suffix == ".parquet":
        yield from enumerate(list_rows(load_table(file)), 1)
        return
    with file.open(newline="", errors="replace") as stream:
        if file.suffix == ".csv":
            reader = csv.DictReader(stream)
            yield from ((reader.line_num, row) for row in reader)
            return
        for number, line in enumerate(stream, 1):
            with contextlib.suppress(ColumnError):
                yield number, parse_row(line, f"line {number}")


def _flatten(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flatten(value)
        else:
            yield value


def _is_number(value: Any) -> bool:
    """Return True for what the fit reads as a number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
