"""Verdicts of detectors: data of their events, and messages of the verdict stream.

They are read with the keys that a reader needs checked; other keys are left alone, so that a
record of a newer version can be read.
"""

from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import document_key, from_json, is_texts, is_whole
from driftloop.contract.outcomes import is_time
from driftloop.contract.records import name_key


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

    @classmethod
    def read(cls, document: object) -> "VerdictRecord":
        """Read the data of an event; DocumentError."""
        return from_json(cls, document, label="the data of the verdict's event", closed=False)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
    """Figures of the detector's own, and the events and the rejected rows of the window."""
    requests: tuple[str, ...] = document_key(
        "requests", "a list of request ids", is_texts, read=tuple, write=list
    )
    """Requests with outlier rows."""

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
    """Time at which the window was full."""

    @classmethod
    def read(cls, document: object) -> "UnjudgedRecord":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="the window that is not judged", closed=False)

    @property
    def text(self) -> str:
        """The record as people read it."""
        return describe_unjudged(self.reference, self.release)


def describe_unjudged(reference: str, release: str) -> str:
    """Say why requests of a release are not judged by the reference of a release."""
    if reference == release:
        return f"not judged: requests of {release} whose rows the detector can't read"
    return f"not judged: reference of {reference}, requests of {release}"
