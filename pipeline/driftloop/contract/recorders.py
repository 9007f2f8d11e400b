"""The recorder: what it is told, what it remembers, and what it asks of its writer."""

from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.contract.batches import BatchRange, BatchResult, BatchSettings, BatchState
from driftloop.contract.captures import EVERY, TRAFFIC_ROLES, RecorderTrouble, TrafficRole
from driftloop.contract.documents import (
    document_key,
    from_json,
    is_number,
    is_text,
    is_texts,
    is_whole,
    parse_json,
    part_key,
    to_json,
)

NICENESS = "DRIFTLOOP_RECORDER_NICENESS"
"""Variable with the priority that a recorder lowers its own to, as a niceness; `up` sets it, where predictions need the
same processors. With 5, a program has a third of the time of one with 0."""


def _are_releases(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


@dataclass(frozen=True, kw_only=True)
class RecordedRelease:
    """A release whose traffic comes, and where its columns are described."""

    id: str = document_key("id", "a release id", is_text)
    role: TrafficRole = document_key(
        "role", f"one of: {', '.join(TRAFFIC_ROLES)}", lambda v: v in TRAFFIC_ROLES
    )
    detectors: str | None = document_key(
        "detectors",
        "an S3 URI, or null",
        lambda v: v is None or is_text(v),
        default=None,
        omits_none=True,
    )
    """Folder of its detectors, whose profiles say the types of the columns; None: it has none."""


@dataclass(frozen=True, kw_only=True)
class RecorderSettings:
    """Settings of one recorder. Times in seconds."""

    share: float = document_key(
        "share", "between 0 and 1", lambda v: is_number(v) and 0 <= v <= 1, default=1.0, read=float
    )
    """Share of the requests that are recorded, with their answers."""
    keep: float | None = document_key(
        "keep",
        "seconds, more than 0, or null",
        lambda v: v is None or (is_number(v) and v > 0),
        default=None,
    )
    """Time after which a day is deleted; None: never."""
    most: int | None = document_key(
        "most",
        "bytes, 1 or more, or null",
        lambda v: v is None or is_whole(v, 1),
        default=None,
        omits_none=True,
    )
    """Bytes of all files, above which the oldest days are deleted; None: any number."""
    every: float = document_key(
        "every", "seconds, more than 0", lambda v: is_number(v) and v > 0, default=EVERY, read=float
    )
    """Time after which what has come is written at the latest."""
    drop: tuple[str, ...] = document_key(
        "drop", "a list of columns", is_texts, default=(), read=tuple, write=list
    )
    """Columns of requests and answers that are not written."""
    hash: tuple[str, ...] = document_key(
        "hash", "a list of columns", is_texts, default=(), read=tuple, write=list
    )
    """Columns of which a keyed hash is written."""
    releases: tuple[RecordedRelease, ...] = document_key(
        "releases",
        "a list of releases",
        _are_releases,
        default=(),
        read=lambda v: tuple(
            from_json(RecordedRelease, item, label="a release of the recorder") for item in v
        ),
        write=lambda v: [to_json(item) for item in v],
    )
    batches: BatchSettings | None = part_key("batches", BatchSettings)
    """None: labels are not kept, and labelled traffic is not made training data."""

    def find_role(self, release: str) -> TrafficRole:
        """Return what a release is now."""
        return next((each.role for each in self.releases if each.id == release), "unknown")

    @classmethod
    def parse(cls, text: str) -> "RecorderSettings":
        """Read the settings from JSON text; DocumentError."""
        label = "the recorder's settings"
        return from_json(cls, parse_json(text, label=label), label=label)


def _is_count_map(value: object) -> bool:
    return isinstance(value, Mapping) and all(is_whole(count, 0) for count in value.values())


def _are_sequences(value: object) -> bool:
    return isinstance(value, list) and all(is_whole(item, 1) for item in value)


@dataclass(frozen=True, kw_only=True)
class PartRange:
    """The part that is being written: decided and stored before the first byte of it."""

    number: int = document_key("number", "a number from 1", lambda v: is_whole(v, 1))
    first: int = document_key("first", "a sequence", lambda v: is_whole(v, 1))
    last: int = document_key("last", "a sequence", lambda v: is_whole(v, 0))
    """Last event that it may have; it ends before where the events are large."""
    moment: int = document_key("moment", "nanoseconds since 1970", lambda v: is_whole(v, 0))
    """Time that decides which events have waited too long for the other half."""

    @classmethod
    def read(cls, document: object) -> "PartRange":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="the part of a recorder")


@dataclass(frozen=True, kw_only=True)
class RecorderState:
    """State of a recorder, in its entry in NATS."""

    stream: str = document_key("stream", "a text", lambda v: isinstance(v, str), default="")
    """Mark of the stream that the sequences are of."""
    last: int = document_key("last", "a sequence", lambda v: is_whole(v, 0), default=0)
    """Every event up to this one is written, or in `open`."""
    number: int = document_key("number", "a number", lambda v: is_whole(v, 0), default=0)
    """Number of the last part."""
    moment: int = document_key(
        "moment", "nanoseconds since 1970", lambda v: is_whole(v, 0), default=0
    )
    """Time of the last part, by NATS' clock."""
    open: tuple[int, ...] = document_key(
        "open", "a list of sequences", _are_sequences, default=(), read=tuple, write=list
    )
    """Events that wait for the other half."""
    part: PartRange | None = part_key("part", PartRange)
    """The part that is being written; None: all that was begun is stored."""
    writer: str = document_key("writer", "a text", lambda v: isinstance(v, str), default="")
    """Mark of the process that writes it, or a labelled batch."""
    trouble: RecorderTrouble | None = part_key("trouble", RecorderTrouble)
    written: str | None = document_key(
        "written",
        "a time",
        lambda v: v is None or is_text(v),
        default=None,
        omits_none=True,
    )
    """Time of the last part."""
    batch: BatchState | None = part_key("batch", BatchState)
    """What became of labels; None before the first one."""
    counts: Mapping[str, int] = document_key(
        "counts", "an object of counts", _is_count_map, default=None, read=dict, write=dict
    )
    """What was written and left out since the stream was made, by `COUNTS`."""

    def __post_init__(self) -> None:
        if self.counts is None:
            object.__setattr__(self, "counts", {})

    @property
    def fails(self) -> bool:
        """Return True while the last attempt to write failed."""
        return bool(self.list_troubles("", 0))

    def list_troubles(self, pipeline: str, waiting: object) -> tuple[tuple[str, str], ...]:
        """Return since when something of a pipeline is not written, and what, in words."""
        batch = self.batch.trouble if self.batch is not None else None
        told = []
        if self.trouble is not None:
            told.append((self.trouble.since, self.trouble.describe(pipeline, waiting)))
        if batch is not None:
            text = f"{pipeline}: its labelled traffic is not written as a batch: {batch.why}"
            told.append((batch.since, text))
        return tuple(told)

    @property
    def writes(self) -> bool:
        """Return True while something that was begun is not stored."""
        batch = self.batch is not None and self.batch.range is not None
        return self.part is not None or batch

    @property
    def oldest(self) -> int:
        """First event that is still needed."""
        return min((*self.open, self.last + 1))

    @classmethod
    def parse(cls, text: str | bytes) -> "RecorderState":
        """Read the state from JSON text; DocumentError."""
        label = "the recorder's state"
        return from_json(cls, parse_json(text, label=label), label=label, closed=False)


@dataclass(frozen=True, kw_only=True)
class WriteOrder:
    """Order of the recorder to its writer: one part, one labelled batch, or that old days are deleted."""

    namespace: str = document_key("namespace", "a text", is_text)
    pipeline: str = document_key("pipeline", "a text", is_text)
    settings: RecorderSettings = document_key(
        "settings",
        "an object",
        lambda v: isinstance(v, dict),
        read=lambda v: from_json(RecorderSettings, v, label="the recorder's settings"),
        write=to_json,
    )
    stream: str = document_key("stream", "a text", lambda v: isinstance(v, str), default="")
    part: PartRange | None = part_key("part", PartRange)
    """None: without a `batch` only old days are deleted."""
    batch: BatchRange | None = part_key("batch", BatchRange)
    open: tuple[int, ...] = document_key(
        "open", "a list of sequences", _are_sequences, default=(), read=tuple, write=list
    )
    writer: str = document_key("writer", "a text", lambda v: isinstance(v, str), default="")
    """Mark of the process that asks."""
    again: bool = document_key(
        "again", "true or false", lambda v: isinstance(v, bool), default=False
    )
    """It may have been written in part before."""

    @classmethod
    def parse(cls, text: str | bytes) -> "WriteOrder":
        """Read the order from JSON text; DocumentError."""
        label = "the writer's order"
        return from_json(cls, parse_json(text, label=label), label=label)


@dataclass(frozen=True, kw_only=True)
class WriteResult:
    """Result of an order to the writer."""

    last: int = document_key("last", "a sequence", lambda v: is_whole(v, 0), default=0)
    """Last event that is written, or in `open`."""
    open: tuple[int, ...] = document_key(
        "open", "a list of sequences", _are_sequences, default=(), read=tuple, write=list
    )
    batch: BatchResult | None = part_key("batch", BatchResult)
    counts: Mapping[str, int] = document_key(
        "counts", "an object of counts", _is_count_map, default=None, read=dict, write=dict
    )

    def __post_init__(self) -> None:
        if self.counts is None:
            object.__setattr__(self, "counts", {})

    @classmethod
    def parse(cls, text: str | bytes) -> "WriteResult":
        """Read the result from JSON text; DocumentError."""
        label = "the writer's result"
        return from_json(cls, parse_json(text, label=label), label=label)


COUNTS: Mapping[str, str] = {
    "events": "events that are written",
    "rows": "rows of the files",
    "files": "files",
    "bytes": "bytes of the files",
    "pairs": "requests with their answers",
    "unanswered": "requests whose answer did not come in time",
    "unasked": "answers whose request did not come in time",
    "undecoded": "bodies that are not, or not wholly, in columns",
    "withheld": "of these, bodies that are not kept as they came, since columns are dropped or hashed",
    "labels": "labels that are kept as they were given",
    "batches": "batches of labelled requests in the folder of the data",
    "labelled": "rows of these batches",
    "corrected": "labels that say otherwise than the one of a request that is in an earlier batch",
    "unfit": "labels of another number of rows than their request has",
    "deleted": "files of days that are not kept any longer",
}
"""Counts of a recorder and what they count."""
