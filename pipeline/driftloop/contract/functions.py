"""Messages between a detector and the program of a user's function: settings, rows, answers.

The program is a container of the user's image beside the detector; it listens on the loopback of the pod. Rows
cross as the detector keeps them: one line of JSON (`RowsHead`), then the values as little-endian doubles, one
column after the other. The standard library is enough to read them.
"""

import json
import sys
from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_number,
    is_text,
    is_whole,
    parse_json,
    texts_key,
    to_json,
)

RowsForm = Literal["lists", "pandas", "arrow", "numpy"]
ROWS_FORMS: tuple[RowsForm, ...] = get_args(RowsForm)

FUNCTION_PORT = 8090
"""Port of the program, on the loopback of its pod."""
FUNCTION_URL = f"http://127.0.0.1:{FUNCTION_PORT}"
HEALTH, FIT, JUDGE = "/healthz", "/fit", "/judge"
"""Its paths. The last two take rows; `judge` names the fit in its query: `?fit=ID`."""
LOADING = 300.0
"""Seconds that importing the user's module may take."""
MARGIN = 10.0
"""Seconds beyond the timeout of a call after which the program itself counts as hanging."""
LARGEST_ROWS = 1024 * 1024 * 1024
"""Bytes of a body of rows at most."""
LONGEST_FAILURE = 600
"""Characters of a reason that are stored."""


@dataclass(frozen=True)
class FunctionSettings:
    """A user's function that judges windows, and how it is called. Times in seconds."""

    run: str = document_key("run", "module:function", is_text)
    """Function of the reference and a window."""
    fit: str | None = document_key(
        "fit", "module:function", lambda v: v is None or is_text(v), default=None, omits_none=True
    )
    """Function of the reference's rows, whose result `run` gets in their place."""
    form: RowsForm = document_key(
        "form", f"one of: {', '.join(ROWS_FORMS)}", lambda v: v in ROWS_FORMS, default="lists"
    )
    """What rows are to the functions."""
    parameters: Mapping[str, Any] | None = document_key(
        "parameters",
        "an object",
        lambda v: v is None or isinstance(v, dict),
        default=None,
        omits_none=True,
    )
    """Further arguments of `run`, and of `fit` those that it names."""
    timeout: float = document_key(
        "timeout", "seconds, more than 0", lambda v: is_number(v) and v > 0, default=30.0
    )
    """Longest time of one call."""

    @classmethod
    def parse(cls, text: str) -> "FunctionSettings":
        """Read the settings from JSON text; DocumentError."""
        label = "the function's settings"
        return from_json(cls, parse_json(text, label=label), label=label)

    @classmethod
    def read(cls, document: object) -> "FunctionSettings":
        """Read the settings from plain data; DocumentError."""
        return from_json(cls, document, label="the function's settings")


VERDICT_KEYS = ("score", "threshold", "alarm", "columns", "outliers")
"""Keys of what the function returns of a window."""


HALF = 0.5
"""Threshold of a function that says only whether it alarms."""


def is_verdict(keys: Collection[str]) -> bool:
    """Return True for keys that tell whether a window alarms; of a score alone the fit learns it."""
    return "alarm" in keys or "score" in keys


def _are_columns(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(v, dict) for v in value)


@dataclass(frozen=True)
class ColumnHead:
    """Name, type and categories of a column."""

    name: str = document_key("name", "a text", lambda v: isinstance(v, str))
    """Name."""
    type: str = document_key("type", "a text", is_text)
    """number, boolean, category, text or time."""
    categories: tuple[str, ...] = texts_key("categories")
    """Texts that the numbers of a category are positions in; a number beyond them is of none."""


@dataclass(frozen=True)
class RowsHead:
    """The line before the values."""

    rows: int = document_key("rows", "a number", lambda v: is_whole(v, 0))
    """Number of rows."""
    columns: tuple[ColumnHead, ...] = document_key(
        "columns",
        "a list of columns",
        _are_columns,
        read=lambda v: tuple(from_json(ColumnHead, each, label="a column") for each in v),
        write=lambda v: [to_json(each) for each in v],
    )
    """Columns, in the order of the values."""


@dataclass(frozen=True)
class PackedRows:
    """Rows on their way, by column."""

    head: RowsHead
    values: "tuple[array[float], ...]"
    """Values of each column; NaN for a missing one."""


def pack_rows(head: RowsHead, values: bytes) -> bytes:
    """Return rows as a body; `values` are little-endian doubles, one column after the other."""
    return json.dumps(to_json(head), separators=(",", ":")).encode() + b"\n" + values


def unpack_rows(body: bytes) -> PackedRows:
    """Read a body; DocumentError when it is none."""
    line, _, rest = body.partition(b"\n")
    label = "the rows"
    head = from_json(RowsHead, parse_json(line, label=label, longest=LARGEST_ROWS), label=label)
    size = 8 * head.rows
    if len(rest) != size * len(head.columns):
        raise DocumentError(
            f"{label} have {len(rest)} bytes of values, must have {size * len(head.columns)}"
        )
    columns = []
    for start in range(0, len(rest), size or 1):
        column = array("d", rest[start : start + size])
        if sys.byteorder == "big":
            column.byteswap()
        columns.append(column)
    return PackedRows(head, tuple(columns) if size else tuple(array("d") for _ in head.columns))


def _are_parts(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and is_number(part) and part >= 0 for name, part in value.items()
    )


@dataclass(frozen=True)
class FunctionVerdict:
    """Verdict of a function on a window."""

    alarm: bool = document_key("alarm", "true or false", lambda v: isinstance(v, bool))
    """It alarms."""
    score: float = document_key("score", "a number", is_number, read=float)
    """Its score; without one of its own 1 for an alarm and 0 for none."""
    threshold: float | None = document_key(
        "threshold",
        "a number, or null",
        lambda v: v is None or is_number(v),
        default=HALF,
        read=lambda v: None if v is None else float(v),
    )
    """Bound of the score; None: the fit learns it from the reference."""
    own: bool = document_key("own", "true or false", lambda v: isinstance(v, bool), default=True)
    """Score and threshold are the function's; False: it says only whether it alarms."""
    figure: float | None = document_key(
        "figure",
        "a number, or null",
        lambda v: v is None or is_number(v),
        default=None,
        omits_none=True,
    )
    """The score of a function that told no threshold."""
    columns: Mapping[str, float] | None = document_key(
        "columns",
        "an object of numbers, 0 or more",
        lambda v: v is None or _are_parts(v),
        default=None,
        omits_none=True,
        read=dict,
        write=dict,
    )
    """Columns that moved, and how much of it is each one's; None when it names none."""
    outliers: tuple[int, ...] = document_key(
        "outliers",
        "a list of row numbers",
        lambda v: isinstance(v, list) and all(is_whole(n, 0) for n in v),
        default=(),
        read=tuple,
        write=list,
    )
    """Rows of the window that are outliers, from 0."""

    @classmethod
    def parse(cls, text: bytes) -> "FunctionVerdict":
        """Read the answer of the program; DocumentError."""
        label = "the function's verdict"
        return from_json(cls, parse_json(text, label=label), label=label)


@dataclass(frozen=True)
class FunctionFailure:
    """Why a function said nothing."""

    failure: str = document_key("failure", "a text", is_text)
    """One sentence."""
    hint: str | None = document_key(
        "hint", "a text, or null", lambda v: v is None or isinstance(v, str), default=None
    )
    """What mends it."""

    @classmethod
    def parse(cls, text: bytes) -> "FunctionFailure":
        """Read the answer of the program; DocumentError."""
        label = "the function's failure"
        return from_json(cls, parse_json(text, label=label), label=label, closed=False)
