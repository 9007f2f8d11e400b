"""Captured traffic: the keys and columns of what the recorder writes.

One Parquet file holds the rows of one release and one day out of a closed range of the recorder's
stream. Its name says the range and the number of rows, so that a listing of keys counts them.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from driftloop.contract.documents import document_key, from_json, is_text

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


TRAFFIC = "traffic"
"""Key of the folder of all pipelines' captured traffic in the bucket."""


def traffic_key(pipeline: str) -> str:
    """Return the key of the folder of a pipeline's captured traffic in the bucket."""
    return f"{TRAFFIC}/{pipeline}"


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
