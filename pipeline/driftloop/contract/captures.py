"""Captured traffic: what the recorder is told, what it remembers, and the keys and columns of what it
writes.

One Parquet file holds the rows of one release and one day out of a closed range of the recorder's
stream. Its name says the range and the number of rows, so that a listing of keys counts them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

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

TrafficRole = Literal["production", "candidate", "shadow", "previous", "unknown"]
TRAFFIC_ROLES: tuple[TrafficRole, ...] = get_args(TrafficRole)
ROLE_ATTRIBUTE = "driftlooprole"
"""Extension by which the recorder remembers what a release was when its event came."""

TIME = "time"
REQUEST = "request_id"
ROW = "row"
ROLE = "role"
STATUS = "status"
LATENCY = "latency_ms"
RAW_REQUEST = "raw_request"
RAW_ANSWER = "raw_answer"
PROBLEM = "problem"
ANSWER = "answer"
"""Column of an answer without names; one with names has columns `answer.NAME`."""
DAY_KEY, RELEASE_KEY = "day", "release"
"""Columns that the folders of a file say, as Hive's do."""


@dataclass(frozen=True)
class TrafficColumn:
    """One row of the reference of columns."""

    name: str
    type: str
    description: str


TRAFFIC_COLUMNS: tuple[TrafficColumn, ...] = (
    TrafficColumn(
        TIME, "timestamp (µs, UTC)", "Time of the request; of the answer where it came alone"
    ),
    TrafficColumn(REQUEST, "text", "Request id, as the answer's header `seldon-puid` says it"),
    TrafficColumn(ROW, "integer", "Number of the row in its request, from 0"),
    TrafficColumn(
        ROLE, "text", f"What the release was when the event came: {', '.join(TRAFFIC_ROLES)}"
    ),
    TrafficColumn(STATUS, "integer", "200 where the answer was logged; empty where none was"),
    TrafficColumn(
        LATENCY, "number", "Milliseconds from the request to its answer; empty without both"
    ),
    TrafficColumn(PROBLEM, "text", "Why a body is not, or not wholly, in columns; else empty"),
    TrafficColumn(RAW_REQUEST, "bytes", "Body of such a request as it came, in its first row"),
    TrafficColumn(RAW_ANSWER, "bytes", "Body of such an answer as it came, in its first row"),
)
"""Columns of every file, before those of requests and answers."""

RESERVED = frozenset({*(column.name for column in TRAFFIC_COLUMNS), DAY_KEY, RELEASE_KEY, ANSWER})
"""Names that no column of a request has: such a column is called `request.NAME`."""

DAY = 86400.0
EVERY = 300.0
"""Seconds after which a part is written at the latest, where the spec states none."""
PATIENCE = 60.0
"""Seconds that a request waits for its answer, and an answer for its request."""
MOST_EVENTS = 20_000
"""Events of a part."""
MOST_BYTES = 24 * 1024 * 1024
"""Bytes of the events of a part."""
MOST_OPEN = 20_000
"""Events that wait for the other half; the oldest are written alone before there are more."""

_PART = re.compile(
    rf"{DAY_KEY}=(\d{{4}}-\d\d-\d\d)/{RELEASE_KEY}=([A-Za-z0-9_-]{{1,63}})/"
    r"part-([0-9a-z]+)-(\d+)-(\d+)-(\d+)-(\d+)\.parquet\Z"
)


def traffic_key(pipeline: str) -> str:
    """Return the key of the folder of a pipeline's captured traffic in the bucket."""
    return f"traffic/{pipeline}"


def day_folder(day: str) -> str:
    """Return the name of the folder of a day."""
    return f"{DAY_KEY}={day}"


@dataclass(frozen=True, order=True)
class TrafficPart:
    """One Parquet file, as its key below the pipeline's folder says it."""

    day: str
    """In UTC, `2026-11-30`."""
    release: str
    stream: str
    """Which stream the sequences are of: one that is made anew counts from 1 again."""
    number: int
    """Number of the part, from 1."""
    first: int
    last: int
    """Range of sequences of the part, of which the file has the rows of one day and release; empty, with
    `last` before `first`, for events that have waited in vain."""
    rows: int

    @property
    def key(self) -> str:
        """Key below the pipeline's folder."""
        events = f"{self.number:08d}-{self.first:012d}-{self.last:012d}"
        name = f"part-{self.stream}-{events}-{self.rows}.parquet"
        return f"{day_folder(self.day)}/{RELEASE_KEY}={self.release}/{name}"

    def repeats(self, other: "TrafficPart") -> bool:
        """Return True for a file of the same part."""
        return (self.stream, self.number) == (other.stream, other.number)

    @classmethod
    def parse(cls, key: str) -> "TrafficPart | None":
        """Read a key below the pipeline's folder; None for one that is not a part's."""
        match = _PART.fullmatch(key)
        if match is None:
            return None
        day, release, stream, *numbers = match.groups()
        return cls(day, release, stream, *map(int, numbers))


def first_kept_day(now: datetime, keep: float) -> str:
    """Return the oldest day that is kept: every day that a moment of the last `keep` seconds is in."""
    return (now.astimezone(UTC) - timedelta(seconds=keep)).date().isoformat()


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
class RecorderTrouble:
    """Why nothing is written, and since when."""

    since: str = document_key("since", "a time", is_text)
    why: str = document_key("why", "a text", is_text)

    @classmethod
    def read(cls, document: object) -> "RecorderTrouble":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="the trouble of a recorder")

    def describe(self, pipeline: str, waiting: object) -> str:
        """Say in words of which pipeline nothing is written, how many events wait, and why."""
        return f"{pipeline}: its traffic is not written, {waiting} events wait: {self.why}"


@dataclass(frozen=True, kw_only=True)
class RecorderState:
    """What a recorder remembers, in its entry in NATS."""

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
    trouble: RecorderTrouble | None = part_key("trouble", RecorderTrouble)
    written: str | None = document_key(
        "written",
        "a time",
        lambda v: v is None or is_text(v),
        default=None,
        omits_none=True,
    )
    """Time of the last part."""
    counts: Mapping[str, int] = document_key(
        "counts", "an object of counts", _is_count_map, default=None, read=dict, write=dict
    )
    """What was written and left out since the stream was made, by `COUNTS`."""

    def __post_init__(self) -> None:
        if self.counts is None:
            object.__setattr__(self, "counts", {})

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
    """What the recorder asks its writer: one part, or that old days are deleted."""

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
    """None: only old days are deleted."""
    open: tuple[int, ...] = document_key(
        "open", "a list of sequences", _are_sequences, default=(), read=tuple, write=list
    )
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
    """What the writer did."""

    last: int = document_key("last", "a sequence", lambda v: is_whole(v, 0), default=0)
    """Last event that is written, or in `open`."""
    open: tuple[int, ...] = document_key(
        "open", "a list of sequences", _are_sequences, default=(), read=tuple, write=list
    )
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
    "deleted": "files of days that are not kept any longer",
}
"""Counts of a recorder and what they count."""
