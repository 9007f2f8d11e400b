"""Profiles: the columns of a training run's data, as the fit of a detector learns them.

A profile is stored beside the detector (profile.json). Requests are read by it: it says which values a
column may have, and where a value without a name belongs.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from driftloop.contract.documents import (
    document_key,
    from_json,
    is_number,
    is_text,
    is_texts,
    is_whole,
    texts_key,
    to_json,
)

ColumnType = Literal["number", "boolean", "category", "text", "time"]
COLUMN_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""Shares of the values of a column that lie below its quantiles."""
TableKind = Literal["rows", "answers", "labelled"]
TABLE_KINDS: tuple[TableKind, ...] = get_args(TableKind)
TRUTHS = ("false", "true")
"""Categories of a column of booleans, in the order of their codes."""


def _is_count_map(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and is_whole(count, 0) for name, count in value.items()
    )


def _counts(key: str, allowed: str) -> Any:
    return document_key(
        key, allowed, _is_count_map, default=(), read=lambda v: tuple(v.items()), write=dict
    )


def _count(key: str, **default: Any) -> Any:
    return document_key(key, "a number of rows", lambda v: is_whole(v, 0), **default)


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """One column of the training data."""

    name: str = document_key("name", "a text", is_text)
    """Name; of a column of an array `ARRAY[NUMBER]`."""
    type: ColumnType = document_key(
        "type", f"one of: {', '.join(COLUMN_TYPES)}", lambda v: v in COLUMN_TYPES
    )
    """Type of its values."""
    rows: int = _count("rows")
    """Rows of the training data."""
    missing: int = _count("missing")
    """Rows without a value."""
    distinct: int = _count("distinct")
    """Different values."""
    quantiles: tuple[float, ...] = document_key(
        "quantiles",
        "a list of numbers",
        lambda v: isinstance(v, list) and all(map(is_number, v)),
        default=(),
        read=lambda v: tuple(map(float, v)),
        write=list,
    )
    """Quantiles of numbers, and of the lengths of texts, at the shares of `QUANTILES`."""
    categories: tuple[tuple[str, int], ...] = _counts("categories", "numbers of rows by category")
    """Categories and their rows; the position of a category is its code."""
    single: bool = document_key(
        "single", "true or false", lambda v: isinstance(v, bool), default=False
    )
    """The training data have it in single precision, so requests are read in it, too."""
    note: str = document_key("note", "a text", lambda v: isinstance(v, str), default="")
    """Peculiarity of the values that a person should know; empty without one."""

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing


@dataclass(frozen=True, kw_only=True)
class TableProfile:
    """profile.json: the columns that a detector judges."""

    columns: tuple[ColumnProfile, ...] = document_key(
        "columns",
        "a list of columns",
        lambda v: isinstance(v, list) and len(v) > 0,
        read=lambda v: tuple(
            from_json(ColumnProfile, item, label="a column of profile.json", closed=False)
            for item in v
        ),
        write=lambda v: [to_json(column) for column in v],
    )
    """Columns, in the order of the reference's."""
    order: tuple[str, ...] = texts_key("order")
    """Columns of the training data but the target, in the order of the files: values without names are
    matched by it."""
    arrays: tuple[tuple[str, int], ...] = _counts("arrays", "numbers of columns by array")
    """Columns that hold arrays, and how many numbers one has."""
    of: TableKind = document_key(
        "of", f"one of: {', '.join(TABLE_KINDS)}", lambda v: v in TABLE_KINDS, default="rows"
    )
    """Rows of the training data, or answers of the model, whose columns `order` has; `labelled`: how right
    answers are, the answer and its label."""
    chosen: str = document_key("chosen", "a text", lambda v: isinstance(v, str), default="")
    """Column with the name of the largest number of an answer, its class; empty when the numbers are not
    probabilities. Of labelled answers `names` or `places`: what labels call the classes by."""

    features: tuple[str, ...] | None = document_key(
        "features",
        "a list of texts",
        lambda v: v is None or is_texts(v),
        default=None,
        read=tuple,
        write=list,
        omits_none=True,
    )
    """Columns that `data.features` chooses, in the order of the files, where the detector looks at some
    of them only: a request may carry these without names."""

    asked: tuple[str, ...] | None = document_key(
        "asked",
        "a list of texts",
        lambda v: v is None or is_texts(v),
        default=None,
        read=tuple,
        write=list,
        omits_none=True,
    )
    """All columns of a request, in their order, where answers are judged by some of them."""
    inputs: int | None = document_key(
        "inputs",
        "a number of columns",
        lambda v: v is None or is_whole(v, 1),
        default=None,
        omits_none=True,
    )
    """So many columns before the slices are of requests, and errors of answers are estimated from them; None: none."""
    slices: int | None = document_key(
        "slices",
        "a number of columns",
        lambda v: v is None or is_whole(v, 1),
        default=None,
        omits_none=True,
    )
    """The last so many columns are of requests, and answers are judged by each of their values; None: none."""

    @property
    def is_array(self) -> bool:
        """Return True when the columns are those of one array: its values have no names of their own."""
        return len(self.arrays) == 1 and self.arrays[0][1] == len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @classmethod
    def read(cls, document: object) -> "TableProfile":
        """Read the profile from plain data; DocumentError."""
        return from_json(cls, document, label="profile.json", closed=False)


def name_element(array: str, number: int) -> str:
    """Return the name of the column that holds one number of an array."""
    return f"{array}[{number}]"
