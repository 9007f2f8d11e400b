"""Verdicts of detectors: data of their events, and messages of the verdict stream.

They are read with the keys that a reader needs checked; other keys are left alone, so that a
record of a newer version can be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    escape_text,
    from_json,
    is_text,
    is_texts,
    is_whole,
    to_json,
)
from driftloop.contract.outcomes import is_time
from driftloop.contract.records import name_key

NOT_JUDGED = "notJudged"
"""Key of a verdict's details: why a user's function said nothing of the window. Score and threshold are 0."""


def _lasting() -> Any:
    return document_key(
        "lasting",
        "a number of windows from 2, or null",
        lambda v: v is None or is_whole(v, 2),
        default=None,
        omits_none=True,
    )


@dataclass(frozen=True)
class VerdictRecord:
    """A detector's verdict on one window, as far as the decision reads it."""

    detector: str = name_key("detector")
    """Detector."""
    release: str = name_key("release")
    """Release whose traffic was scored."""
    window: int = document_key("window", "a number from 1", lambda v: is_whole(v, 1))
    """Number of the window of this release."""
    alarm: bool = document_key("alarm", "true or false", lambda v: isinstance(v, bool))
    """The score is beyond the threshold."""
    lasting: int | None = _lasting()
    """Windows up to this one that alarm together; None: it alarms by itself, or not."""

    @classmethod
    def read(cls, document: object) -> "VerdictRecord":
        """Read the data of an event; DocumentError."""
        return from_json(cls, document, label="the data of the verdict's event", closed=False)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _moment(key: str) -> Any:
    return document_key(
        key,
        "a time in UTC, or null",
        lambda v: v is None or is_time(v),
        default=None,
        omits_none=True,
    )


def _sequence(key: str) -> Any:
    return document_key(key, "a sequence of the detector's stream", lambda v: is_whole(v, 1))


@dataclass(frozen=True, kw_only=True)
class WindowRecord:
    """A detector's verdict on one window, as the verdict stream keeps it."""

    detector: str = name_key("detector")
    """Detector."""
    release: str = name_key("release")
    """Release whose traffic was scored."""
    window: int = document_key("window", "a number from 1", lambda v: is_whole(v, 1))
    """Number of the window of this release."""
    size: int = document_key("size", "a number of rows", lambda v: is_whole(v, 0))
    """Rows that were scored."""
    first: int = _sequence("firstSequence")
    """First event of the window in the detector's stream."""
    last: int = _sequence("lastSequence")
    """Last event of the window in the detector's stream."""
    alarm: bool = document_key("alarm", "true or false", lambda v: isinstance(v, bool))
    """The score is beyond the threshold."""
    score: float = document_key("score", "a number", _is_real)
    """Score of the window; NaN when the detector can't give one."""
    threshold: float = document_key("threshold", "a number", _is_real)
    """Threshold that the score is compared with."""
    time: str | None = document_key(
        "time", "a time in UTC, or null", lambda v: v is None or is_time(v), default=None
    )
    """Time of the verdict; None in one of an earlier version."""
    details: dict[str, Any] = document_key("details", "an object", lambda v: isinstance(v, dict))
    """Figures of the detector's own, and of the window: `events`, `rejected` and `repeated` rows,
    `from` and `to` (times of the first row and of the last event), `closedBy` (`rows` or `time`) and
    `full` (rows at which it closes), `lasting`: a LastingRecord, and in an alarm `distributions`:
    StoredDistributions; `notJudged` says why a user's function said nothing of it."""
    requests: tuple[str, ...] = document_key(
        "requests", "a list of request ids", is_texts, read=tuple, write=list
    )
    """Requests with outlier rows."""
    lasting: int | None = _lasting()
    """Windows up to this one that alarm together, by a change that is too small for one of them or that goes
    on; None: they don't."""
    counts: str | None = document_key(
        "counts",
        "a text, or null",
        lambda v: v is None or isinstance(v, str),
        default=None,
        omits_none=True,
    )
    """Rows of the window counted by the values of each column, from which windows are judged together; not
    in events."""

    @classmethod
    def read(cls, document: object) -> "WindowRecord":
        """Read the verdict from plain data; DocumentError."""
        return from_json(cls, document, label="the stored verdict", closed=False)


@dataclass(frozen=True, kw_only=True)
class UnjudgedRecord:
    """A window of requests that a detector has no reference of, or whose rows it can't read, as the
    verdict stream keeps it."""

    detector: str = name_key("detector")
    """Detector."""
    release: str = name_key("release")
    """Release whose requests they are."""
    reference: str = name_key("reference")
    """Release that the detector was fitted for."""
    size: int = document_key("size", "a number of rows", lambda v: is_whole(v, 0))
    """Rows that were not scored."""
    time: str = document_key("time", "a time in UTC, such as 2026-01-31T09:30:00Z", is_time)
    """Time at which the window was full, or the last of the rows came."""
    reason: str = document_key("reason", "a text", lambda v: isinstance(v, str), default="")
    """Why most of the rows can't be read; empty for the rows of another release."""

    @classmethod
    def read(cls, document: object) -> "UnjudgedRecord":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="the window that is not judged", closed=False)

    @property
    def text(self) -> str:
        """The record as people read it."""
        return describe_unjudged(self.reference, self.release, self.reason)


def describe_unjudged(reference: str, release: str, reason: str = "") -> str:
    """Say why requests of a release are not judged by the reference of a release."""
    if reference == release:
        why = f" ({reason})" if reason else ""
        return f"not judged: requests of {release} whose rows the detector can't read{why}"
    return f"not judged: reference of {reference}, requests of {release}"


ChangeKind = Literal[
    "shift", "level", "mix", "missing", "unseen", "length", "relation",
    "unreadable", "below", "above", "other", "stuck", "rejected", "duplicated", "quality", "estimate",
    "private",
]  # fmt: skip
CHANGE_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)


@dataclass(frozen=True, kw_only=True)
class ColumnChange:
    """Change of one column in a window, as the details of a verdict carry it. Of a detector of outliers, what
    these say: they are its rows of the window."""

    column: str = document_key("column", "a text", is_text)
    """Name of the column."""
    type: str = document_key("type", "a text", is_text)
    """Type of the column."""
    kind: ChangeKind = document_key(
        "kind", f"one of: {', '.join(CHANGE_KINDS)}", lambda v: v in CHANGE_KINDS
    )
    """`shift` and `length`: the values, or lengths of texts, lie elsewhere; `level` and `mix`: the
    share of a value; `missing`: the share of rows without a value; `unseen`: of values that the training
    data do not have; `relation`: how the column goes together with another. The others are those of
    `quality` (how good answers are) and `estimate` (how good they are expected to be), and of `schema`: `unreadable`
    values, values `below` and `above` the training data's, values `other` than their
    only one, one value only (`stuck`), rows that are none of the model's (`rejected`), and rows that the
    window has more than once (`duplicated`). `private`: whatever moved, of a column whose values nobody is to see; the
    figure is the share of the rows by which it did."""
    of: str = document_key("of", "a text", lambda v: isinstance(v, str), default="")
    """Figure that moved: a value, or a quantile such as `median`; of a relation the other column."""
    before: float = document_key("before", "a number", _is_real)
    """The figure in the training data: a share between 0 and 1, a quantile, or a correlation."""
    after: float = document_key("after", "a number", _is_real)
    """The figure in the window."""
    effect: float = document_key("effect", "a number", _is_real)
    """Largest difference between the two distributions, as a share of the rows."""
    score: float = document_key("score", "a number", _is_real)
    """-log10 of the p-value, corrected for all tests of the window."""
    alarm: bool = document_key("alarm", "true or false", lambda v: isinstance(v, bool))
    """The column has changed by the detector's `alarmRate`."""
    part: float | None = document_key(
        "part",
        "a number, or null",
        lambda v: v is None or _is_real(v),
        default=None,
        omits_none=True,
    )
    """Part of the outliers' scores, or of all that moved, that is the column's, between 0 and 1; None of a
    detector of single columns."""
    windows: int | None = document_key(
        "windows",
        "a number of windows from 2, or null",
        lambda v: v is None or is_whole(v, 2),
        default=None,
        omits_none=True,
    )
    """Windows whose rows the change is of, the last ones; None: of this one."""

    at_least: float | None = document_key(
        "atLeast",
        "a number, or null",
        lambda v: v is None or _is_real(v),
        default=None,
        omits_none=True,
    )
    """The effect that it lacks to be an alarm, though it moved for certain; None of all others."""
    rows: int | None = document_key(
        "rows",
        "a number of rows, or null",
        lambda v: v is None or is_whole(v, 0),
        default=None,
        omits_none=True,
    )
    """Labelled rows that the figure is of, or rows of an estimate; None of all others."""

    @classmethod
    def read(cls, document: object) -> "ColumnChange":
        """Read the change from plain data; DocumentError."""
        return from_json(cls, document, label="a column of the verdict", closed=False)

    @property
    def is_quality_share(self) -> bool:
        """Return True of a measure of labelled answers that is a share, such as the accuracy."""
        return self.kind == "quality" and 0 <= self.after <= 1

    @property
    def text(self) -> str:
        """The change in words: the column, the figure, and what it was and is."""
        words = {
            "shift": self.of,
            "length": f"length {self.of}",
            "level": self.of,
            "mix": self.of,
            "missing": "missing",
            "unseen": f"new {'value' if self.type == 'number' else 'category'} {self.of}".rstrip(),
            "relation": f"correlation with {self.of}",
            "unreadable": "unreadable",
            "below": f"below {self.of}",
            "above": f"above {self.of}",
            "other": f"not {self.of}",
            "stuck": f"always {self.of}",
            "rejected": f"not judged ({self.of})",
            "duplicated": "duplicated",
            "quality": self.of,
            "estimate": self.of,
            "private": "values",
        }
        if self.kind == "private":
            return escape_text(f"{self.column} moved by {_format_share(self.after)} of the rows")
        if self.kind in ("quality", "estimate"):
            of = f" {self.of}" if self.of else ""
            rows = "labelled rows" if self.kind == "quality" else "rows"
            over = f" over {self.rows} {rows}" if self.rows is not None else ""
            figures = f"{_format_figure(self.before)} -> {_format_figure(self.after)}"
            return escape_text(f"{self.column}{of} {figures}{over}")
        if self.kind in ("shift", "length") and self.before == self.after:
            figures = f"{_format_figure(self.after)} as before, and moved by {_format_share(self.effect)} of the rows"
        elif self.kind in ("shift", "length"):
            figures = _format_change(self.before, self.after)
        elif self.kind == "relation":
            figures = f"{self.before:.2f} -> {self.after:.2f}"
        else:
            figures = f"{_format_share(self.before)} -> {_format_share(self.after)}"
        return escape_text(f"{self.column} {words[self.kind]} {figures}")


def read_columns(details: Mapping[str, Any]) -> tuple[ColumnChange, ...]:
    """Return the columns that the details of a verdict name; none for a detector that names none, or
    for details that can't be read."""
    columns = details.get("columns")
    try:
        return tuple(map(ColumnChange.read, columns)) if isinstance(columns, list) else ()
    except DocumentError:
        return ()


def read_failure(details: Mapping[str, Any]) -> str:
    """Return why a window is not judged though its verdict is stored; empty for one that is."""
    failure = details.get(NOT_JUDGED)
    return failure if isinstance(failure, str) else ""


def read_changes(details: Mapping[str, Any]) -> tuple[ColumnChange, ...]:
    """Return the columns in the details of a verdict that have changed, the largest effect first."""
    return tuple(change for change in read_columns(details) if change.alarm)


def read_small(details: Mapping[str, Any]) -> tuple[ColumnChange, ...]:
    """Return the columns in the details of a verdict that moved for certain, and by too little for an alarm."""
    return tuple(change for change in read_columns(details) if change.at_least is not None)


def describe_verdict(details: Mapping[str, Any], most: int) -> str:
    """Return in words what has changed; where nothing has, what moved for certain and by too little."""
    changes = describe_changes(read_changes(details), most)
    if changes:
        return changes
    small = read_small(details)
    texts = [
        f"{change.text} ({change.effect:.2g}, no alarm below {change.at_least:g})"
        for change in small[:most]
    ]
    if len(small) > most:
        texts.append(f"{len(small) - most} more")
    return f"small changes: {'; '.join(texts)}" if texts else ""


@dataclass(frozen=True, kw_only=True)
class LastingRecord:
    """Verdict of the last windows together, as the details of verdicts carry it in `lasting`: an alarm until
    as many windows are quiet again, else the last judgement."""

    alarm: bool = document_key("alarm", "true or false", lambda v: isinstance(v, bool))
    """A change lasts."""
    window: int = document_key("window", "a number from 1", lambda v: is_whole(v, 1))
    """The last of the windows."""
    windows: int = document_key("windows", "a number of windows from 2", lambda v: is_whole(v, 2))
    """Windows that were judged together."""
    rows: int = document_key("rows", "a number of rows", lambda v: is_whole(v, 0))
    """Their rows."""
    score: float = document_key("score", "a number", _is_real)
    """Their score, on the scale of single windows."""
    since: str | None = _moment("from")
    """Time of their first row; None of rows without times."""
    until: str | None = _moment("to")
    """Time of their last event."""
    columns: tuple[ColumnChange, ...] = document_key(
        "columns",
        "a list of columns",
        lambda v: isinstance(v, list),
        default=(),
        read=lambda v: tuple(map(ColumnChange.read, v)),
        write=lambda v: list(map(to_json, v)),
    )
    """Columns that have changed, the largest effect first."""

    @classmethod
    def read(cls, document: object) -> "LastingRecord":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="`lasting` of the verdict", closed=False)

    def describe(self, most: int) -> str:
        """Say which change lasts, over which windows and since when."""
        first = self.window - self.windows + 1
        span = f", since {self.since}" if self.since else ""
        changes = describe_changes(self.columns, most)
        return f"{changes}: windows {first}-{self.window}, {self.rows} rows{span}"


def read_lasting(details: Mapping[str, Any]) -> LastingRecord | None:
    """Return what the last windows said together by the details of a verdict; None when they were not
    judged so, or it can't be read."""
    try:
        return LastingRecord.read(details["lasting"]) if "lasting" in details else None
    except DocumentError:
        return None


def describe_changes(changes: Sequence[ColumnChange], most: int) -> str:
    """Return the first changes in words, with the windows that they are of, if several; empty without one."""
    texts: list[str] = []
    for windows, group in groupby(changes[:most], key=lambda change: change.windows):
        texts += [change.text for change in group]
        if windows is not None:
            texts[-1] += f" over the last {windows} windows"
    if len(changes) > most:
        texts.append(f"{len(changes) - most} more")
    return "; ".join(texts)


def _format_figure(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.6g}"


def _format_change(before: float, after: float) -> str:
    """Return two figures that differ, with as many digits as it takes to see it."""
    texts = (_format_figure(before), _format_figure(after))
    if texts[0] == texts[1] and float(before).is_integer() and float(after).is_integer():
        texts = (str(int(before)), str(int(after)))
    for digits in (9, 13, 17):
        if texts[0] != texts[1]:
            break
        texts = (f"{before:.{digits}g}", f"{after:.{digits}g}")
    return " -> ".join(texts)


def _format_share(value: float) -> str:
    percent = value * 100
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"
