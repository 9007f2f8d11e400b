"""The windows that monitors have judged, as the verdict stream keeps them: the newest of all
monitors, and one of them in full."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from sys import intern

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from driftloop.clients import cancellation
from driftloop.clients.nats import HINT, open_connection, read_stored
from driftloop.contract.documents import DocumentError, parse_json
from driftloop.contract.streams import UNJUDGED, VERDICTS
from driftloop.contract.verdicts import WindowRecord, read_columns, read_failure
from driftloop.errors import StoreError

MOST_COLUMNS = 12
"""Columns of a window that are kept, the largest effect first."""
_PREFIX = VERDICTS.subjects[0].removesuffix(">")


@dataclass(frozen=True, slots=True)
class JudgedColumn:
    """A column of a window, in short."""

    name: str
    effect: float
    alarm: bool


@dataclass(frozen=True, slots=True)
class MovedColumns:
    """Columns of a window as they are kept: names that windows share, and their figures beside them."""

    names: tuple[str, ...]
    effects: "array[float]"
    alarms: bytes
    """1 for each column that alarms."""

    @classmethod
    def of(cls, columns: Iterable[JudgedColumn]) -> "MovedColumns":
        """Keep columns, whatever their order."""
        ordered = sorted(columns, key=lambda column: column.name)
        return cls(
            _share_names(tuple(column.name for column in ordered)),
            array("d", [column.effect for column in ordered]),
            bytes(column.alarm for column in ordered),
        )

    def list_columns(self) -> tuple[JudgedColumn, ...]:
        """Return the columns, the largest effect first."""
        rows = zip(self.names, self.effects, self.alarms, strict=True)
        found = [JudgedColumn(name, effect, bool(alarm)) for name, effect, alarm in rows]
        return tuple(sorted(found, key=lambda column: -abs(column.effect)))


@lru_cache(maxsize=4096)
def _share_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


@dataclass(frozen=True, slots=True)
class JudgedWindow:
    """A window in short: ten thousand of them are 6 MB."""

    sequence: int
    """Its place in the verdict stream."""
    namespace: str
    pipeline: str
    monitor: str
    release: str
    window: int
    rows: int
    alarm: bool
    score: float
    threshold: float
    time: str | None
    since: str | None
    """Time of its first row."""
    failed: bool
    """It was not judged."""
    quality: float | None
    """Share of right answers, of a monitor that knows it."""
    moved: MovedColumns

    @property
    def columns(self) -> tuple[JudgedColumn, ...]:
        """Columns that moved furthest, the largest effect first."""
        return self.moved.list_columns()

    @property
    def name(self) -> str:
        """The monitor as `driftloop status` names it."""
        return f"{self.namespace}/{self.pipeline}/{self.monitor}"


@dataclass(frozen=True)
class ReadWindows:
    """Windows in the order in which they were stored, and how far the stream was read."""

    windows: tuple[JudgedWindow, ...]
    last: int


def read_windows(url: str, *, after: int, most: int) -> ReadWindows:
    """Read the windows that came after a sequence of the stream, of the newest `most` messages;
    StoreError when NATS is away."""
    return cancellation.run(_read_windows(url, after, most))


def read_window(url: str, sequence: int) -> WindowRecord:
    """Read one window in full; StoreError when NATS is away or keeps it no more."""
    return cancellation.run(_read_window(url, sequence))


async def _read_windows(url: str, after: int, most: int) -> ReadWindows:
    async with open_connection(url, name="driftloop-windows", wait=5) as js:
        last = await _find_last(js)
        first = max(after, last - most) + 1
        if last < first:
            return ReadWindows((), last)
        found = [
            window
            async for message in read_stored(js, VERDICTS.name, VERDICTS.subjects[0], first=first)
            for window in _read_message(
                message.subject, message.data, message.metadata.sequence.stream
            )
        ]
    return ReadWindows(tuple(found), max([last, *(window.sequence for window in found)]))


async def _find_last(js: JetStreamContext) -> int:
    """Return the sequence of the stream's last message; 0 for a stream that does not exist."""
    try:
        return (await js.stream_info(VERDICTS.name)).state.last_seq
    except nats.js.errors.NotFoundError:
        return 0
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise StoreError(
            f"stream {VERDICTS.name}: {error or type(error).__name__}", hint=HINT
        ) from error


async def _read_window(url: str, sequence: int) -> WindowRecord:
    async with open_connection(url, name="driftloop-windows", wait=5) as js:
        try:
            message = await js.get_msg(VERDICTS.name, sequence)
        except nats.js.errors.NotFoundError as error:
            raise StoreError("the verdict on this window is not kept any more") from error
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise StoreError(
                f"the verdict can't be read: {error or type(error).__name__}", hint=HINT
            ) from error
    return WindowRecord.read(parse_json(message.data or b"", label="the stored verdict"))


def _read_message(subject: str, data: bytes, sequence: int) -> Iterator[JudgedWindow]:
    """Yield the window of a message; nothing for what is none, or can't be read."""
    names = subject.removeprefix(_PREFIX).split(".")
    if len(names) != 4 or names[-1] == UNJUDGED:
        return
    try:
        record = WindowRecord.read(parse_json(data, label="the stored verdict"))
    except DocumentError:
        return
    yield shorten_window(record, sequence, namespace=names[0], pipeline=names[1])


def shorten_window(
    record: WindowRecord, sequence: int, *, namespace: str, pipeline: str
) -> JudgedWindow:
    """Return a window in short."""
    columns = sorted(read_columns(record.details), key=lambda column: -abs(column.effect))
    since = record.details.get("from")
    return JudgedWindow(
        sequence=sequence,
        namespace=intern(namespace),
        pipeline=intern(pipeline),
        monitor=intern(record.detector),
        release=intern(record.release),
        window=record.window,
        rows=record.size,
        alarm=record.alarm,
        score=record.score,
        threshold=record.threshold,
        time=record.time,
        since=since if isinstance(since, str) else None,
        failed=bool(read_failure(record.details)),
        quality=next(
            (each.after for each in columns if each.is_quality_share),
            None,
        ),
        moved=MovedColumns.of(
            JudgedColumn(column.column, column.effect, column.alarm)
            for column in columns[:MOST_COLUMNS]
        ),
    )
