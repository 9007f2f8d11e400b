"""Columns of a file of rows, and those of them that the detectors get."""

import csv
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, get_args

from driftloop.contract.documents import parse_json
from driftloop.contract.suggestions import suggest_closest
from driftloop.errors import PipelineError

TARGET = "y"
"""Column with the right answers by default, as `data.target` names it."""
EVERYTHING = "x"
"""Features by default: the array or column of this name, or all columns but the label."""
SUFFIXES = (".npz", ".csv", ".jsonl", ".parquet")
"""Kinds of files that runs read."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Kinds of files, in lower case, of which the data step `driftloop-train images` makes rows: one each."""
MOST_CATEGORIES = 100
"""Different values of a column that still are categories."""
NOT_THERE = frozenset({"NA", "N/A", "NaN", "nan", "null", "NULL"})
"""Fields of a .csv file that are missing values in columns of numbers, booleans and times."""


ColumnUse = Literal["number", "category", "boolean", "time", "text", "ignore"]
"""What a person says that a column is, in place of the type that is learnt; `ignore`: the detectors don't get it."""
ColumnUses = Mapping[str, ColumnUse]
"""Column -> what it is."""
NO_USES: ColumnUses = MappingProxyType({})


class ColumnError(PipelineError):
    """A file of rows that lacks columns, or whose columns can't be read."""


@dataclass(frozen=True)
class FileColumns:
    """The columns (in an .npz file: arrays) of a file, in its order."""

    file: str
    kind: Literal["array", "column"]
    names: tuple[str, ...]

    def choose_features(
        self, features: str, target: str = TARGET, uses: ColumnUses = NO_USES
    ) -> tuple[str, ...]:
        """Return the columns that `data.features` names in this file, all but the target for `x`, and
        of them those that `data.columns` does not ignore; ColumnError for one that it does not have, for
        the target among them, and when none is left."""
        for name in uses:
            if name not in self.names:
                raise self._refuse_name(name, "data.columns")
        chosen = self._find_features(features, target)
        kept = tuple(name for name in chosen if uses.get(name) != "ignore")
        if not kept:
            raise ColumnError(
                f"{self.file}: `data.columns` ignores all columns that `data.features` chooses: {_format_names(chosen)}"
            )
        return kept

    def _find_features(self, features: str, target: str) -> tuple[str, ...]:
        chosen = (features,) if self.kind == "array" else tuple(features.split(","))
        missing = [name for name in chosen if name not in self.names]
        if not missing:
            if target in chosen:
                raise ColumnError(
                    f"{self.file}: `data.features` names `{target}`, which is the target",
                    hint="the detectors get what a request holds; `data.target` names the right answers",
                )
            return chosen
        if self.kind == "array" or features != EVERYTHING:
            raise self._refuse_name(missing[0], "data.features")
        if target not in self.names:
            raise ColumnError(
                f"{self.file} has no column `{target}` for the label, so `data.features` can't be all others; "
                f"its columns: {_format_names(self.names)}",
                hint=suggest_closest(target, self.names, fold=True)
                or "name the label in `data.target`, or list the columns of the requests in `data.features`",
            )
        return tuple(name for name in self.names if name != target)

    def narrow_features(
        self, features: Sequence[str], columns: Sequence[str] | None
    ) -> tuple[str, ...]:
        """Return those of the features that a monitor's `columns` name, all of them for None; ColumnError
        for a name that is none of them."""
        for name in columns or ():
            if name not in features:
                raise ColumnError(
                    f"{self.file}: the `columns` of a monitor name `{name}`, must be of {_format_names(features)}",
                    hint=suggest_closest(name, features, fold=True)
                    or "a monitor looks at columns of `data.features`, which never has the target",
                )
        return tuple(features) if columns is None else tuple(n for n in features if n in columns)

    def _refuse_name(self, name: str, field: str) -> ColumnError:
        return ColumnError(
            f"{self.file} has no {self.kind} `{name}`, which `{field}` names; "
            f"its {self.kind}s: {_format_names(self.names)}",
            hint=suggest_closest(name, self.names, fold=True)
            or f"list {self.kind}s of the file in `{field}`",
        )


def read_uses(text: str) -> dict[str, ColumnUse]:
    """Read the uses of columns from the JSON that an option carries; ColumnError for what is none."""
    found = parse_json(text, label="--columns")
    if not isinstance(found, dict):
        raise ColumnError("--columns is not a JSON object")
    known = get_args(ColumnUse)
    for name, use in found.items():
        if use not in known:
            raise ColumnError(f"--columns: `{name}` is `{use}`, must be one of: {', '.join(known)}")
    return found


def read_columns(file: str, stream: BinaryIO) -> FileColumns | None:
    """Read the columns from the beginning of a file (of an .npz file: its table of contents); None
    for a file that is not one of rows. ColumnError when they can't be read."""
    try:
        match f".{file.rpartition('.')[2]}":
            case ".npz":
                with zipfile.ZipFile(stream) as archive:
                    names = tuple(name.removesuffix(".npy") for name in archive.namelist())
                return FileColumns(file, "array", names)
            case ".csv":
                return FileColumns(file, "column", _read_header(file, stream))
            case ".jsonl":
                return FileColumns(file, "column", _read_keys(file, stream))
            case _:
                return None
    except (zipfile.BadZipFile, UnicodeDecodeError, csv.Error) as error:
        raise ColumnError(f"{file} can't be read: {error}") from error


def _read_header(file: str, stream: BinaryIO) -> tuple[str, ...]:
    header = next(csv.reader(line.decode() for line in stream), None)
    if not header:
        raise ColumnError(f"{file} has no header line")
    return tuple(header)


def _read_keys(file: str, stream: BinaryIO) -> tuple[str, ...]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        return tuple(parse_row(line, f"{file}, line {number}"))
    raise ColumnError(f"{file} has no rows")


def parse_row(line: str | bytes, place: str) -> dict[str, Any]:
    """Parse a line of a .jsonl file; ColumnError, with its place, when it is not an object."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ColumnError(f"{place} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ColumnError(f"{place} is not a JSON object")
    return row


def _format_names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def is_number_field(field: str) -> bool:
    """Return True for a field of a .csv file that is a number."""
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def has_own_form(column: Iterable[str | None]) -> bool:
    """Return True for the fields of a column of a .csv file whose form says more than their numbers do: one
    of them is no number, or begins with a zero, as a postal code does."""
    fields = {field for field in column if field} - NOT_THERE
    return not all(map(is_number_field, fields)) or any(
        len(field) > 1 and field.lstrip("+-").startswith("0") and "." not in field
        for field in fields
    )


def find_gap_marks(columns: Iterable[Iterable[str | None]]) -> frozenset[str]:
    """Return the fields by which the columns of .csv files mark gaps: those of NOT_THERE that stand among
    numbers. They are gaps in columns of text, too: who writes a missing number as `NA` writes a missing
    text so. Without such a column `NA` may be a category, as Namibia's code is."""
    marks: set[str] = set()
    for column in columns:
        fields = {field for field in column if field}
        found = fields & NOT_THERE
        if found < fields and all(map(is_number_field, fields - found)):
            marks |= found
    return frozenset(marks)
