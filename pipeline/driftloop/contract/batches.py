"""Labelled traffic as training data: what the recorder is told of it, what it remembers, and where it keeps what.

Labels are kept as they were given, in files of the recorder's parts; a ledger for each batch says which requests it
has. Both are below `labels/` in the bucket of runs, the batches themselves in the folder of the pipeline's data.
"""

import re
from dataclasses import dataclass

from driftloop.contract.captures import DAY_KEY, RecorderTrouble, day_folder
from driftloop.contract.documents import (
    document_key,
    from_json,
    is_number,
    is_text,
    is_whole,
    part_key,
)

LABELLED = "labelled"
"""Folder below that of the pipeline's data, in which the recorder writes and nobody else."""
REQUEST, LABEL, GIVEN = "request_id", "label", "given"
"""Columns of the files of labels and of the ledgers; a label is JSON."""
RESULT = b"driftloop"
"""Key of the metadata of a ledger: what came of its batch, as JSON."""
LATE = 86400.0
"""Seconds that a label waits for its request to be written; one that has come later is looked at again with it."""
MOST_LABELS = 300_000
"""Labels that are looked at for one batch."""
LARGEST_BATCH = 64 * 1024 * 1024
"""Bytes of the rows of one batch, in memory; more of them are the next one."""

_GIVEN = re.compile(rf"{DAY_KEY}=(\d{{4}}-\d\d-\d\d)/part-([0-9a-z]+)-(\d+)\.parquet\Z")
_LEDGER = re.compile(r"batch-([0-9a-z]+)-(\d+)\.parquet\Z")


def given_key(pipeline: str) -> str:
    """Return the key of the folder of the labels that were given, in the bucket of runs."""
    return f"labels/{pipeline}/given"


def ledger_key(pipeline: str) -> str:
    """Return the key of the folder of the ledgers of batches, in the bucket of runs."""
    return f"labels/{pipeline}/batches"


@dataclass(frozen=True, order=True)
class GivenPart:
    """A file of labels, as its key below the pipeline's folder says it: those of one part of the recorder."""

    day: str
    """On which the part was written, in UTC."""
    stream: str
    number: int

    @property
    def key(self) -> str:
        """Key below the folder of the labels."""
        return f"{day_folder(self.day)}/part-{self.stream}-{self.number:08d}.parquet"

    @classmethod
    def parse(cls, key: str) -> "GivenPart | None":
        """Read a key below the folder of the labels; None for one that is not a part's."""
        match = _GIVEN.fullmatch(key)
        return None if match is None else cls(match[1], match[2], int(match[3]))


@dataclass(frozen=True, order=True)
class LabelledBatch:
    """A batch of labelled requests: its stream and number, from 1."""

    stream: str
    number: int

    @property
    def ledger(self) -> str:
        """Key of its ledger, below the folder of ledgers."""
        return f"batch-{self.stream}-{self.number:08d}.parquet"

    def key(self, pipeline: str) -> str:
        """Key of the batch below the folder of the pipeline's data."""
        return f"{LABELLED}/{pipeline}-{self.stream}-{self.number:08d}.parquet"

    @classmethod
    def parse_ledger(cls, key: str) -> "LabelledBatch | None":
        """Read the key of a ledger; None for one that is none."""
        match = _LEDGER.fullmatch(key)
        return None if match is None else cls(match[1], int(match[2]))


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """Settings of labelled batches."""

    uri: str = document_key("uri", "an S3 URI", is_text)
    """Folder of the pipeline's data."""
    target: str = document_key("target", "a column", is_text)
    """Column of a batch with the labels."""
    least: int = document_key("least", "a number from 1", lambda v: is_whole(v, 1))
    """Rows that a batch has at least."""
    every: float = document_key(
        "every", "seconds, more than 0", lambda v: is_number(v) and v > 0, read=float
    )
    """Seconds between two looks whether there are so many."""

    @classmethod
    def read(cls, document: object) -> "BatchSettings":
        """Read them from plain data; DocumentError."""
        return from_json(cls, document, label="the settings of labelled batches")


@dataclass(frozen=True, kw_only=True)
class BatchRange:
    """The batch that is being written: decided and stored before the first byte of it."""

    number: int = document_key("number", "a number from 1", lambda v: is_whole(v, 1))
    after: int = document_key("after", "a number", lambda v: is_whole(v, 0))
    last: int = document_key("last", "a number", lambda v: is_whole(v, 0))
    """Labels of parts after `after` and up to `last`; traffic of all parts up to `last`."""
    moment: int = document_key("moment", "nanoseconds since 1970", lambda v: is_whole(v, 0))
    """Time that decides which labels may still wait for their request."""

    @classmethod
    def read(cls, document: object) -> "BatchRange":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="the range of a labelled batch")


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """Result of a look at the labels."""

    rows: int = document_key("rows", "a number", lambda v: is_whole(v, 0), default=0)
    """Rows of the batch; 0: there were too few, and none was written."""
    requests: int = document_key("requests", "a number", lambda v: is_whole(v, 0), default=0)
    corrected: int = document_key("corrected", "a number", lambda v: is_whole(v, 0), default=0)
    """Labels that say otherwise than the one of a request that is in an earlier batch."""
    unfit: int = document_key("unfit", "a number", lambda v: is_whole(v, 0), default=0)
    """Labels of another number of rows than their request has."""
    after: int = document_key("after", "a number", lambda v: is_whole(v, 0), default=0)
    """Labels of parts up to this one need no other look, but for `waiting`."""
    waiting: int = document_key("waiting", "a number", lambda v: is_whole(v, 0), default=0)
    """Labels whose request is not written yet, or that were too few for a batch."""
    more: bool = document_key("more", "true or false", lambda v: isinstance(v, bool), default=False)
    """There is enough for another batch at once."""

    @classmethod
    def read(cls, document: object) -> "BatchResult":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="the result of a labelled batch", closed=False)


@dataclass(frozen=True, kw_only=True)
class BatchState:
    """State of labelled batches in a recorder's memory."""

    number: int = document_key("number", "a number", lambda v: is_whole(v, 0), default=0)
    """Number of the last batch."""
    after: int = document_key("after", "a number", lambda v: is_whole(v, 0), default=0)
    """Labels of parts up to this one have been looked at."""
    waiting: int = document_key("waiting", "a number", lambda v: is_whole(v, 0), default=0)
    """Labels that are in no batch yet and may come into one."""
    looked: int = document_key("looked", "nanoseconds", lambda v: is_whole(v, 0), default=0)
    """Time of the last look, by NATS' clock; at first that of the first labels."""
    range: BatchRange | None = part_key("range", BatchRange)
    """The batch that is being written; None: all that was begun is stored."""
    trouble: RecorderTrouble | None = part_key("trouble", RecorderTrouble)
    written: str | None = document_key(
        "written", "a time", lambda v: v is None or is_text(v), default=None, omits_none=True
    )
    """Time of the last batch."""

    @classmethod
    def read(cls, document: object) -> "BatchState":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="a recorder's labelled batches", closed=False)
