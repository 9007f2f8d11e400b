"""Labels: right answers to requests, as they come in, travel to monitors, and are counted there.

A label names the request that it belongs to, by the id that the answer carried. Of several to one request the
last one given counts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_number,
    is_unicode,
    is_whole,
    show_value,
    texts_key,
    to_json,
)

LABELS = "labels"
"""Key of a verdict's details: a LabelCounts; also the place of the door."""
LONGEST_REQUEST = 1024
"""Characters of a request's id."""
LONGEST_LABEL = 1024
"""Characters of a label that is a text."""
MOST_ROWS = 1000
"""Rows of one request that may have labels."""
MOST_SENT = 10_000
"""Labels that the door takes at once."""
LARGEST_SENT = 1024 * 1024
"""Bytes that the door takes at once."""
MOST_TOGETHER = 100
"""Labels of one event: windows of a monitor end with an event, so they have hardly more rows than asked."""
LARGEST_TOGETHER = 256 * 1024
"""Bytes of one event's labels, but for a single larger one."""
MOST_SHOWN = 20
"""Malformed labels that an answer describes."""

Scalar = str | int | float | bool
Label = Scalar | list[Scalar]
"""Of a request of one row, or of each of its rows."""


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= LONGEST_LABEL and is_unicode(value)
    return isinstance(value, bool) or is_number(value)


def is_label(value: object) -> bool:
    """Return True for a text, a number or a boolean, or a list of those: one of each row."""
    if isinstance(value, list):
        return 0 < len(value) <= MOST_ROWS and all(map(_is_scalar, value))
    return _is_scalar(value)


def is_request(value: object) -> bool:
    """Return True for what may be a request's id."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_REQUEST and value.isprintable()


@dataclass(frozen=True, kw_only=True)
class RequestLabel:
    """The right answer to one request."""

    request: str = document_key(
        "request", f"a text of at most {LONGEST_REQUEST} printable characters", is_request
    )
    """Id of the request: the header `Seldon-Puid` of its answer."""
    label: Label = document_key(
        "label",
        "a text, a number or a boolean, or a list of those with one for each row of the request",
        is_label,
    )
    """The right answer; a list for a request of several rows."""

    @classmethod
    def read(cls, document: object) -> "RequestLabel":
        """Read a label from plain data; DocumentError."""
        return from_json(cls, document, label="the label")


@dataclass(frozen=True, kw_only=True)
class LabelBatch:
    """Labels that were given together."""

    given: int = document_key("given", "microseconds since 1970", lambda v: is_whole(v, 0))
    """Time at which the door took them, later for each batch: of two labels to one request the later counts."""
    labels: tuple[RequestLabel, ...] = document_key(
        "labels",
        "a list of labels",
        lambda v: isinstance(v, list),
        read=lambda v: tuple(map(RequestLabel.read, v)),
        write=lambda v: list(map(to_json, v)),
    )
    """The labels, the last one of a request counts."""

    @classmethod
    def read(cls, document: object) -> "LabelBatch":
        """Read the batch from plain data; DocumentError."""
        return from_json(cls, document, label="the labels", closed=False)


@dataclass(frozen=True)
class SentLabels:
    """Labels as somebody sent them to the door."""

    labels: tuple[RequestLabel, ...]
    malformed: tuple[str, ...]
    """A line for each that is none, with its number from 1."""


def read_sent(document: object) -> SentLabels:
    """Read one label, a list of them, or `{"labels": [...]}`; DocumentError for what is none of these, or too
    many at once."""
    items = document
    if isinstance(document, Mapping):
        items = document["labels"] if document.keys() == {"labels"} else [document]
    if not isinstance(items, list) or not items:
        raise DocumentError(
            f"the labels are {show_value(items)}, must be a label "
            '(`{"request": "ID", "label": 3}`), or a list of some'
        )
    if len(items) > MOST_SENT:
        raise DocumentError(f"{len(items)} labels, must be at most {MOST_SENT} at once")
    labels, malformed = [], []
    for number, item in enumerate(items, 1):
        try:
            labels.append(RequestLabel.read(item))
        except DocumentError as error:
            malformed.append(f"label {number}: {error.message}")
    return SentLabels(tuple(labels), tuple(malformed))


def _count(key: str, **default: Any) -> Any:
    return document_key(key, "a number from 0", lambda v: is_whole(v, 0), **default)


@dataclass(frozen=True, kw_only=True)
class LabelReceipt:
    """Answer of the door to labels that were sent."""

    accepted: int = _count("accepted")
    """Labels that are stored; the first ones, when the broker took not all of them."""
    malformed: int = _count("malformed", default=0)
    """Labels that are none."""
    reasons: tuple[str, ...] = texts_key("reasons")
    """A line for each of these, 20 at most."""

    @classmethod
    def read(cls, document: object) -> "LabelReceipt":
        """Read the receipt from plain data; DocumentError."""
        return from_json(cls, document, label="the receipt", closed=False)


def _is_sum(value: object) -> bool:
    return value is None or (is_number(value) and float(value) >= 0)  # type: ignore[arg-type]


def _sum(key: str) -> Any:
    return document_key(key, "a number from 0, or null", _is_sum, default=None, omits_none=True)


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """Counts of labels that a monitor has seen of a release, up to an event of its stream."""

    rows: int = _count("rows", default=0)
    """Rows whose answer and label are there."""
    right: int | None = document_key(
        "right",
        "a number from 0, or null",
        lambda v: v is None or is_whole(v, 0),
        default=None,
        omits_none=True,
    )
    """Those of them that were answered right; None of answers that are numbers."""
    absolute: float | None = _sum("absolute")
    """Sum of the absolute errors of answers that are numbers; None of classes."""
    squares: float | None = _sum("squares")
    """Sum of their squares."""
    repeated: int = _count("repeated", default=0)
    """Labels that say again what an earlier one said."""
    contradicting: int = _count("contradicting", default=0)
    """Labels that say otherwise than an earlier one; the last one given counts."""
    unreadable: int = _count("unreadable", default=0)
    """Labels that fit no answer: of another number of rows, or a text to a number."""
    foreign: int = _count("foreign", default=0)
    """Labels to requests that another release answered."""
    unknown: int = _count("unknown", default=0)
    """Labels to which no answer came within `wait`."""
    expired: int = _count("expired", default=0)
    """Answers to which no label came within `wait`, or for which there was no room."""
    waiting: int = _count("waiting", default=0)
    """Answers that wait for a label now."""
    early: int = _count("early", default=0)
    """Labels that wait for an answer now: to a request that was not logged, or is on its way."""

    @classmethod
    def read(cls, document: object) -> "LabelCounts":
        """Read the counts from plain data; DocumentError."""
        return from_json(cls, document, label="the counts of labels", closed=False)

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None of numbers, and before there is one."""
        return self.right / self.rows if self.right is not None and self.rows else None

    @property
    def mae(self) -> float | None:
        """Mean absolute error of answers that are numbers."""
        return self.absolute / self.rows if self.absolute is not None and self.rows else None

    @property
    def rmse(self) -> float | None:
        """Root of their mean squared error."""
        return (
            math.sqrt(self.squares / self.rows) if self.squares is not None and self.rows else None
        )

    def drop_waiting(self) -> "LabelCounts":
        """Return what has been counted, without what waits now."""
        return replace(self, waiting=0, early=0)

    def describe(self) -> str:
        """Say in words how good the answers are, and what became of labels."""
        parts = [f"no labelled row, {self.waiting} answers wait for labels"]
        if self.rows:
            parts = [f"{self._describe_quality()} of {self.rows} labelled rows"]
            parts.append(f"{self.waiting} answers wait for labels")
        for count, words in (
            (self.expired, "answers got none in time"),
            (self.repeated, "labels repeated"),
            (self.contradicting, "contradict earlier ones"),
            (self.unreadable, "labels fit no answer"),
            (self.foreign, "are of another release's answers"),
            (self.unknown + self.early, "are of no known request"),
        ):
            if count:
                parts.append(f"{count} {words}")
        return ", ".join(parts)

    def _describe_quality(self) -> str:
        if self.accuracy is not None:
            return f"accuracy {self.accuracy:.4g}"
        return f"mean absolute error {self.mae or 0.0:.4g} (RMSE {self.rmse or 0.0:.4g})"


def read_counts(details: Mapping[str, Any]) -> LabelCounts | None:
    """Return the counts in the details of a verdict; None of a monitor that reads no labels."""
    try:
        return LabelCounts.read(details[LABELS]) if LABELS in details else None
    except DocumentError:
        return None
