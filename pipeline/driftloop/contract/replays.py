"""Verdicts of a detector on rows of files that are replayed through it: asked by `driftloop backtest`, answered
by `driftloop-detector replay`."""

from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

from driftloop.contract.documents import (
    LONGEST_FILE,
    document_key,
    from_json,
    is_number,
    is_text,
    is_whole,
    parse_json,
    to_json,
)
from driftloop.contract.verdicts import WindowRecord

InjectedKind = Literal["shift", "noise", "category", "lost"]
INJECTED_KINDS: tuple[InjectedKind, ...] = get_args(InjectedKind)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(is_whole(count, 0) for count in value.values())


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(is_number, value))


def _are_rows(value: object) -> bool:
    return isinstance(value, list) and all(is_whole(row, 1) for row in value)


def _are_times(value: object) -> bool:
    return isinstance(value, list) and all(_are_numbers(each) and len(each) == 2 for each in value)


def _count(key: str, **default: Any) -> Any:
    return document_key(key, "a number of rows", lambda v: is_whole(v, 0), **default)


@dataclass(frozen=True, kw_only=True)
class InjectedChange:
    """A change that a replay makes in a column, from one row on."""

    kind: InjectedKind = document_key(
        "kind", f"one of: {', '.join(INJECTED_KINDS)}", lambda v: v in INJECTED_KINDS
    )
    """`shift` adds `size` standard deviations of the column to each value, `noise` normal values of that
    deviation; `category` makes a share `size` of the rows' values one that the training data do not have; a
    column that is `lost` is not sent."""
    column: str = document_key("column", "a text", is_text)
    """Name of the column."""
    size: float = document_key("size", "a number", is_number, default=0.0, read=float)
    """How much of it."""
    row: int | None = document_key(
        "row", "a number from 1, or null", lambda v: v is None or is_whole(v, 1), default=None
    )
    """First row that is changed, in the order in which rows are asked; None: the middle one."""

    @property
    def text(self) -> str:
        """The change in words."""
        match self.kind:
            case "shift":
                return f"{self.column} shifted by {self.size:+g} sd"
            case "noise":
                return f"{self.column} with noise of {self.size:g} sd"
            case "category":
                return f"{self.column} with a new category in {100 * self.size:.3g} % of the rows"
            case "lost":
                return f"{self.column} lost"
            case _:
                assert_never(self.kind)


@dataclass(frozen=True, kw_only=True)
class ReplayOrder:
    """Order to `driftloop-detector replay`."""

    rate: float | None = document_key(
        "rate",
        "rows a second, more than 0, or null",
        lambda v: v is None or (is_number(v) and v > 0),
        default=None,
    )
    """Rows a second; None: the rows have times of their own, or windows close by rows alone."""
    time: str | None = document_key(
        "time", "a column, or null", lambda v: v is None or is_text(v), default=None
    )
    """Column with the time of each row."""
    changes: tuple[InjectedChange, ...] = document_key(
        "changes",
        "a list of changes",
        _is_list,
        default=(),
        read=lambda v: tuple(from_json(InjectedChange, each, label="a change") for each in v),
        write=lambda v: [to_json(change) for change in v],
    )
    """Changes, each of a replay of its own."""
    target: str | None = document_key(
        "target", "a column, or null", lambda v: v is None or is_text(v), default=None
    )
    """Column with the right answer of each row, for a detector of labels; captured traffic has none."""
    delay: float = document_key(
        "delay", "seconds, 0 or more", lambda v: is_number(v) and v >= 0, default=0.0, read=float
    )
    """Seconds from an answer to its label."""
    marks: tuple[int, ...] = document_key(
        "marks", "a list of rows from 1", _are_rows, default=(), read=tuple, write=list
    )
    """Rows whose times are wanted."""
    seed: int = document_key("seed", "an integer from 0", lambda v: is_whole(v, 0), default=0)
    """Seed of what a change draws."""

    @classmethod
    def parse(cls, text: str) -> "ReplayOrder":
        """Read the order from JSON text; DocumentError."""
        return from_json(cls, parse_json(text, label="the order"), label="the order")


@dataclass(frozen=True, kw_only=True)
class ReplayRecord:
    """A replay: the windows of all rows, in their order."""

    windows: tuple[WindowRecord, ...] = document_key(
        "windows",
        "a list of verdicts",
        _is_list,
        read=lambda v: tuple(map(WindowRecord.read, v)),
        write=lambda v: [to_json(window) for window in v],
    )
    """Verdicts without a time; the sequences are numbers of rows, from 1."""
    closed: tuple[float, ...] = document_key(
        "closed", "a list of seconds", _are_numbers, default=(), read=tuple, write=list
    )
    """When each of them closed: seconds since 1970, or, of rows without times, since the first row."""
    rows: int = _count("rows")
    """Rows of the files."""
    waiting: int = _count("waiting")
    """Rows at the end that fill no window."""
    rejected: tuple[tuple[str, int], ...] = document_key(
        "rejected",
        "numbers of rows by reason",
        _is_counts,
        read=lambda v: tuple(v.items()),
        write=dict,
    )
    """Rows that could not be judged."""

    @classmethod
    def read(cls, document: object) -> "ReplayRecord":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="the replay", closed=False)


@dataclass(frozen=True, kw_only=True)
class ReplayReport:
    """Everything that `driftloop-detector replay` found."""

    plain: ReplayRecord = document_key(
        "plain", "an object", lambda v: isinstance(v, dict), read=ReplayRecord.read, write=to_json
    )
    """The rows as they are."""
    changed: tuple[ReplayRecord, ...] = document_key(
        "changed",
        "a list of replays",
        _is_list,
        default=(),
        read=lambda v: tuple(map(ReplayRecord.read, v)),
        write=lambda v: [to_json(each) for each in v],
    )
    """The rows with each change of the order."""
    starts: tuple[int, ...] = document_key(
        "starts", "a list of rows from 1", _are_rows, default=(), read=tuple, write=list
    )
    """First changed row of each change."""
    times: tuple[tuple[int, float], ...] = document_key(
        "times",
        "a list of rows and their seconds",
        _are_times,
        read=lambda v: tuple((int(row), float(second)) for row, second in v),
        write=lambda v: [list(each) for each in v],
    )
    """Rows with their times: the first and the last one, those of `starts` and those that were asked for."""
    unordered: int = _count("unordered", default=0)
    """Rows that were asked before an earlier row of the files, by their times."""

    @classmethod
    def parse(cls, text: str) -> "ReplayReport":
        """Read the report from JSON text; DocumentError."""
        label = "the replay"
        return from_json(
            cls, parse_json(text, label=label, longest=LONGEST_FILE), label=label, closed=False
        )
