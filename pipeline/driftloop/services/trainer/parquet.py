"""Rows of .parquet files, read and written with the pyarrow of the user's image."""

import datetime
import decimal
from pathlib import Path
from typing import Any

from driftloop.services.trainer.errors import TrainerError


def load_table(file: Path) -> Any:
    """Return the table of a file; TrainerError without pyarrow, or when it can't be read."""
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise TrainerError(
            f"{file.name} needs pyarrow", hint="add pyarrow to the image's requirements.txt"
        ) from error
    try:
        return parquet.ParquetFile(file).read()
    except (ArrowException, OSError) as error:
        raise TrainerError(f"{file.name} is not a .parquet file: {error}") from error


def write_table(table: Any, file: Path) -> None:
    """Write a table."""
    from pyarrow import parquet

    parquet.write_table(table, file)


def list_rows(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON has them: times as text, decimals as numbers."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return [{name: _convert_value(value) for name, value in row.items()} for row in rows]


def _convert_value(value: Any) -> Any:
    match value:
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case decimal.Decimal():
            return float(value)
        case bytes():
            return value.hex()
        case datetime.timedelta():
            return value.total_seconds()
        case list():
            return [_convert_value(item) for item in value]
        case dict():
            return {name: _convert_value(item) for name, item in value.items()}
        case _:
            return value
