"""The columns of batches, looked at before anything is trained on them."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from driftloop.contract.columns import (
    MOST_CATEGORIES,
    NO_USES,
    TARGET,
    ColumnError,
    ColumnUses,
    FileColumns,
    parse_row,
    read_columns,
)
from driftloop.contract.handovers import DetectorSettings
from driftloop.errors import StepError
from driftloop.operations.ground.arrays import read_rows


def check_columns(
    batches: Iterable[tuple[str, Path]],
    features: str,
    *,
    target: str = TARGET,
    uses: ColumnUses = NO_USES,
    monitors: Sequence[DetectorSettings] = (),
) -> None:
    """Look at the columns of batches, by name and file; StepError for one that `features` or `uses` names
    and a batch lacks, or that is the `target`, for one that a monitor names and `features` does not, and for
    one with too many different values where a monitor takes categories."""
    for name, file in batches:
        try:
            with file.open("rb") as stream:
                columns = read_columns(name, stream)
            if columns is not None:
                chosen = columns.choose_features(features, target, uses)
                for monitor in monitors:
                    own = columns.narrow_features(chosen, monitor.columns)
                    if monitor.kind == "chi2":
                        _check_levels(name, file, columns, own)
        except OSError as error:
            raise StepError(f"{file} can't be read: {error.strerror}") from error
        except ColumnError as error:
            raise StepError(error.message, hint=error.hint) from error


def _check_levels(name: str, file: Path, columns: FileColumns, chosen: Sequence[str]) -> None:
    if columns.kind == "array":
        _check_array(name, file, chosen[0])
    else:
        _check_categories(name, file, chosen)


def _check_array(name: str, file: Path, array: str) -> None:
    values: dict[int, set[float]] = {}
    for row in read_rows(name, file, array):
        for number, value in enumerate(row):
            present = values.setdefault(number, set())
            present.add(value)
            if len(present) > MOST_CATEGORIES:
                raise _refuse_measurements(f"{name}: feature {number} of array `{array}`")


def _refuse_measurements(values: str) -> ColumnError:
    return ColumnError(
        f"{values} has more than {MOST_CATEGORIES} different values, and the detector chi2 takes categories",
        hint="use `ks` for measurements; `data.features` chooses columns",
    )


def _check_categories(name: str, file: Path, columns: Sequence[str]) -> None:
    values: dict[str, set[str]] = {column: set() for column in columns}
    for row in _read_records(name, file):
        for column, present in values.items():
            if isinstance(row.get(column), list):
                continue
            present.add(str(row.get(column)))
            if len(present) > MOST_CATEGORIES:
                raise _refuse_measurements(f"{name}: column `{column}`")


def _read_records(name: str, file: Path) -> Iterator[dict[str, Any]]:
    with file.open(newline="", errors="replace") as stream:
        if file.suffix == ".csv":
            yield from csv.DictReader(stream)
            return
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield parse_row(line, f"{name}, line {number}")
