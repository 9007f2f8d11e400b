"""The number of rows of batches, counted before anything is trained on them."""

import csv
from collections.abc import Iterable
from pathlib import Path

from driftloop.contract.columns import IMAGE_SUFFIXES, SUFFIXES, ColumnError
from driftloop.errors import StepError
from driftloop.operations.ground.arrays import count_array_rows
from driftloop.operations.ground.parquet import count_parquet_rows


def count_rows(batches: Iterable[tuple[str, Path]]) -> int:
    """Return the rows of batches, by name and file, as the split counts them: none of a file whose name
    begins with `.` or `_`. StepError for a file that is none of rows, or damaged."""
    rows = 0
    for name, file in batches:
        if file.name.startswith((".", "_")):
            continue
        try:
            rows += _count_file(name, file)
        except ColumnError as error:
            raise StepError(error.message, hint=error.hint) from error
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise StepError(f"{name} can't be read: {error}") from error
    return rows


def _count_file(name: str, file: Path) -> int:
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return 1
    match file.suffix:
        case ".npz":
            return count_array_rows(name, file)
        case ".csv":
            with file.open(newline="") as stream:
                return max(0, sum(1 for row in csv.reader(stream) if row) - 1)
        case ".jsonl":
            with file.open() as stream:
                return sum(1 for line in stream if line.strip())
        case ".parquet":
            return count_parquet_rows(name, file)
        case _:
            raise ColumnError(
                f"the rows of {name} can't be counted for `retrain.leastNewRows`, its kind must be one of: "
                f"{', '.join(SUFFIXES)}",
                hint="write batches of these kinds, or leave `retrain.leastNewRows` out",
            )
