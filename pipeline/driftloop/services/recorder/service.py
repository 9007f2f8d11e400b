"""The recorder put together: HTTP, the stream, and the parts that are cut out of it one after the other.

A part is decided before it is begun: its range, and the moment that says who has waited too long, go into
the recorder's entry in NATS under compare-and-set. Then the writer stores its files, whose names and bytes
follow from that; then the entry moves on. Killed at any point, the recorder finds in the entry what to do
again, and doing it again changes nothing.

While a pod is replaced there are two. Both store events; what one has begun to write the other leaves to it, until
it has had time enough to end that, or has ended itself.
"""

import asyncio
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry, Gauge

import driftloop
from driftloop.clients.http import EventServer
from driftloop.clients.jetstream import Publisher
from driftloop.clients.nats import (
    WrongLastSequenceError,
    connect_client,
    ensure_contract_stream,
)
from driftloop.contract.batches import BatchRange, BatchResult
from driftloop.contract.captures import (
    MOST_BYTES,
    MOST_EVENTS,
    PATIENCE,
    RecorderTrouble,
)
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.recorders import (
    COUNTS,
    PartRange,
    RecorderSettings,
    RecorderState,
    WriteOrder,
    WriteResult,
)
from driftloop.contract.streams import HOUR, RECORDERS, RecorderStreams
from driftloop.contract.times import SECOND, format_now
from driftloop.errors import StoreError
from driftloop.services.bootstrap import serve_http
from driftloop.services.door import LIMIT
from driftloop.services.reading import ask_info, read_time
from driftloop.services.recorder import batching
from driftloop.services.recorder.entry import StateStore
from driftloop.services.recorder.handler import RecorderHandler
from driftloop.services.recorder.yielding import LONGEST_HOLD, PressureGauge, Yielder

log = logging.getLogger("recorder")

LINGER = 0.02
"""Seconds that an event waits for others, with which it goes to the stream."""
LOOK = 1.0
"""Seconds between two looks at the stream."""
SHORTEST, LONGEST = 1.0, 30.0
"""Seconds between two attempts to write a part."""
TAKEOVER = 5.0
"""Seconds that another process has for what it writes; one that is replaced ends within them."""
LIMIT_WRITE = 600.0
"""Seconds that the writer may take."""


@dataclass(frozen=True)
class StreamPicture:
    """State of the stream, by the server's answer."""

    mark: str
    last: int
    messages: int
    bytes: int
    now: int
    """The server's clock, in nanoseconds since 1970."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "StreamPicture":
        """Read an answer to STREAM.INFO."""
        state = document["state"]
        return cls(
            f"{read_time(document['created']) // SECOND:x}",
            state["last_seq"],
            state["messages"],
            state["bytes"],
            read_time(document["ts"]),
        )


class PartRecorder:
    """Cuts parts and has them written, for ever."""

    def __init__(
        self,
        js: JetStreamContext,
        names: RecorderStreams,
        settings: RecorderSettings,
        registry: CollectorRegistry,
        gauge: PressureGauge | None = None,
    ) -> None:
        """`gauge` puts parts off while predictions have the processors."""
        self._gauge, self._put_off = gauge, 0.0
        self._js = js
        self._names = names
        self._settings = settings
        self._store = StateStore(js, names)
        self._mark = uuid.uuid4().hex
        self._state: RecorderState | None = None
        self._others: tuple[RecorderState, float] | None = None
        """What another process is writing, and since when this one has seen it."""
        self._picture: StreamPicture | None = None
        self._oldest: tuple[int, int] | None = None
        """Sequence of the oldest event that is not written, and when it was stored."""
        self._backoff = SHORTEST
        self._add_gauges(registry)

    def _add_gauges(self, registry: CollectorRegistry) -> None:
        Gauge(
            "driftloop_recorder_waiting_events",
            "Events that are stored and not written yet",
            registry=registry,
        ).set_function(lambda: float(self._count_waiting()))
        Gauge(
            "driftloop_recorder_waiting_time_seconds",
            "Time of the oldest of them, since 1970; 0 without one",
            registry=registry,
        ).set_function(lambda: self._oldest[1] / SECOND if self._oldest is not None else 0.0)
        Gauge(
            "driftloop_recorder_fails",
            "1 while the last attempt to write failed",
            registry=registry,
        ).set_function(lambda: float(self._state is not None and self._state.fails))
        written = Gauge(
            "driftloop_recorder_written",
            "Written and left out since the stream was made",
            ["what"],
            registry=registry,
        )
        for what in COUNTS:
            written.labels(what).set_function(lambda what=what: float(self._count(what)))  # type: ignore[misc]

    def describe(self) -> dict[str, Any]:
        """Return what `GET /state` answers."""
        state = self._state or RecorderState()
        return {
            "pipeline": self._names.pipeline,
            "waiting": self._count_waiting(),
            "open": len(state.open),
            "written": state.written,
            "trouble": to_json(state.trouble) if state.trouble is not None else None,
            "batch": to_json(state.batch) if state.batch is not None else None,
            "counts": dict(state.counts),
        }

    async def run(self) -> None:
        """Record until cancelled, whatever becomes of NATS and of the object store."""
        while True:
            try:
                wait = await self._take_step()
            except WrongLastSequenceError:
                log.info("another recorder of %s writes, too", self._names.pipeline)
                self._state, wait = None, LOOK
            except (nats.errors.Error, nats.js.errors.Error, StoreError, TimeoutError) as error:
                log.warning("retrying in %g s: %s", LOOK, error or type(error).__name__)
                self._state, wait = None, LOOK
            await asyncio.sleep(wait)

    async def keep_house(self) -> None:
        """Have old days deleted, every hour."""
        while self._settings.keep is not None or self._settings.most is not None:
            try:
                result = await self._call_writer(self._make_order(None))
                if result.counts.get("deleted"):
                    log.info("%d files are deleted", result.counts["deleted"])
            except StoreError as error:
                log.warning("old days can't be deleted: %s", error.message)
            await asyncio.sleep(HOUR)

    async def _take_step(self) -> float:
        """Look once, and write a part when one is due; seconds until the next look."""
        state = self._state
        if state is None or self._is_anothers(state):
            state = await self._store.load_state()
        picture = await self._look()
        if state.stream != picture.mark:
            if state.stream:
                log.warning("the stream was made anew: its events are counted from 1 again")
            state = RecorderState(stream=picture.mark)
        self._state = state
        if self._is_anothers(state):
            if not self._may_take_over(state):
                return LOOK
            state = await self._store_state(replace(state, writer=self._mark))
        again = state.part is not None
        if state.part is None:
            part = await self._choose_part(state, picture)
            if part is None:
                return await self._look_at_labels(state, picture)
            state = await self._store_state(replace(state, part=part, writer=self._mark))
        return await self._write(state, again=again)

    def _is_anothers(self, state: RecorderState) -> bool:
        return state.writes and state.writer != self._mark

    def _may_take_over(self, state: RecorderState) -> bool:
        """Return True when another process has not ended in TAKEOVER seconds what it writes."""
        now = time.monotonic()
        if self._others is None or self._others[0] != state:
            self._others = (state, now)
        return now - self._others[1] >= TAKEOVER

    async def _write(self, state: RecorderState, *, again: bool) -> float:
        part = state.part
        assert part is not None  # noqa: S101 - the caller chose it
        try:
            result = await self._call_writer(self._make_order(state, again=again))
        except StoreError as error:
            await self._note_trouble(state, error.message)
            wait, self._backoff = self._backoff, min(LONGEST, self._backoff * 2)
            return wait
        self._backoff = SHORTEST
        counts = dict(state.counts)
        for what, count in result.counts.items():
            counts[what] = counts.get(what, 0) + count
        if state.trouble is not None:
            log.info("parts are written again, after trouble since %s", state.trouble.since)
        done = replace(
            state,
            last=result.last,
            number=part.number,
            moment=part.moment,
            open=result.open,
            part=None,
            trouble=None,
            written=format_now(),
            counts=counts,
        )
        await self._store_state(batching.note_labels(done, part.moment, result.counts))
        self._oldest = None
        await self._js.purge_stream(self._names.events_stream.name, seq=done.oldest)
        return 0.0

    async def _look_at_labels(self, state: RecorderState, picture: StreamPicture) -> float:
        """Write a labelled batch when one is due; seconds until the next look."""
        range = batching.choose_batch(state, self._settings.batches, picture.now)
        if range is None:
            return LOOK
        again = state.batch is not None and state.batch.range is not None
        if not again:
            begun = replace(batching.begin_batch(state, range), writer=self._mark)
            state = await self._store_state(begun)
        try:
            result = await self._call_for_batch(self._make_order(state, range, again=again))
        except StoreError as error:
            log.warning("a labelled batch can't be written, trying again: %s", error.message)
            await self._store_state(batching.note_trouble(state, error.message))
            wait, self._backoff = self._backoff, min(LONGEST, self._backoff * 2)
            return wait
        self._backoff = SHORTEST
        if result.rows:
            log.info("labelled batch %d: %s", range.number, result)
        if result.corrected:
            log.warning(
                "%d labels say otherwise than those of requests that are in earlier batches, which stay",
                result.corrected,
            )
        await self._store_state(batching.end_batch(state, range, result))
        return 0.0

    async def _call_for_batch(self, order: WriteOrder) -> BatchResult:
        if (result := (await self._call_writer(order)).batch) is None:
            raise StoreError("the writer says nothing of the labelled batch")
        return result

    async def _store_state(self, state: RecorderState) -> RecorderState:
        await self._store.store_state(state)
        self._state = state
        return state

    async def _note_trouble(self, state: RecorderState, why: str) -> None:
        """Store since when nothing is written, also when it says so already: another recorder may have gone on."""
        if state.trouble is None:
            log.warning("a part can't be written, trying again: %s", why)
            state = replace(state, trouble=RecorderTrouble(since=format_now(), why=why[:500]))
        await self._store_state(state)

    async def _choose_part(self, state: RecorderState, picture: StreamPicture) -> PartRange | None:
        """Return the next part when one is due: of so many events, so many bytes or so old; or of events
        that have waited in vain while nothing else came."""
        first, waiting = state.last + 1, picture.last - state.last
        due = False
        if waiting > 0:
            size = picture.bytes / max(1, picture.messages)
            due = waiting >= MOST_EVENTS or waiting * size >= MOST_BYTES
            since = await self._find_time(first) if not due else picture.now
            due = due or picture.now - since >= self._settings.every * SECOND
        elif state.open:
            due = picture.now - state.moment >= max(PATIENCE, self._settings.every) * SECOND
        if not due or self._is_put_off():
            return None
        last = state.last + min(waiting, MOST_EVENTS)
        return PartRange(number=state.number + 1, first=first, last=last, moment=picture.now)

    def _is_put_off(self) -> bool:
        """Return True while the machine is busy, for LONGEST_HOLD seconds at most."""
        now = time.monotonic()
        if self._gauge is not None and self._gauge.is_busy():
            self._put_off = self._put_off or now
            if now - self._put_off < LONGEST_HOLD:
                return True
        self._put_off = 0.0
        return False

    async def _find_time(self, sequence: int) -> int:
        if self._oldest is None or self._oldest[0] != sequence:
            message = await self._js.get_msg(self._names.events_stream.name, sequence)
            stored = message.time.timestamp() if message.time is not None else time.time()
            self._oldest = (sequence, round(stored * SECOND))
        return self._oldest[1]

    async def _look(self) -> StreamPicture:
        info = await ask_info(self._js, f"STREAM.INFO.{self._names.events_stream.name}")
        self._picture = StreamPicture.read(info)
        return self._picture

    def _make_order(
        self, state: RecorderState | None, batch: BatchRange | None = None, *, again: bool = False
    ) -> WriteOrder:
        return WriteOrder(
            namespace=self._names.namespace,
            pipeline=self._names.pipeline,
            settings=self._settings,
            stream=state.stream if state is not None else "",
            part=state.part if state is not None else None,
            batch=batch,
            open=state.open if state is not None else (),
            writer=self._mark,
            again=again,
        )

    async def _call_writer(self, order: WriteOrder) -> WriteResult:
        """Have an order done by a process that then ends; StoreError with its last words."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "driftloop.services.recorder", "write"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_inherit_environment(),
        )
        try:
            async with asyncio.timeout(LIMIT_WRITE):
                out, told = await process.communicate(json.dumps(to_json(order)).encode())
        except TimeoutError:
            raise StoreError(f"the writer did not end within {LIMIT_WRITE:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        words = told.decode(errors="replace").strip()
        if process.returncode != 0:
            raise StoreError(_find_reason(words) or f"the writer ended with {process.returncode}")
        try:
            return WriteResult.parse(out)
        except DocumentError as error:
            raise StoreError(error.message) from error

    def _count(self, what: str) -> int:
        return self._state.counts.get(what, 0) if self._state is not None else 0

    def _count_waiting(self) -> int:
        if self._state is None or self._picture is None:
            return 0
        return max(0, self._picture.last - self._state.last)


def _inherit_environment() -> dict[str, str]:
    """Return this process' environment; the package is found where this process has it from, which may be
    no place that Python looks at by itself."""
    paths = (str(Path(driftloop.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _find_reason(words: str) -> str:
    """Return the error that a program of ours ended with; of another one its last line."""
    lines = words.splitlines()
    own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (own or lines or [""])[-1]


async def serve_recorder(
    names: RecorderStreams,
    settings: RecorderSettings,
    *,
    nats_url: str,
    host: str,
    port: int,
    yields: bool = False,
) -> None:
    """Run until cancelled. One that `yields` shares its processors with the model servers, which go first."""
    client = await connect_client(nats_url, name=f"{names.pipeline}-recorder", wait=60)
    js = client.jetstream(timeout=5)
    registry = CollectorRegistry()
    publisher = await Publisher(client, linger=LINGER).start()
    gauge = PressureGauge() if yields else None
    recorder = PartRecorder(js, names, settings, registry, gauge)
    door = RecorderHandler(
        publisher,
        lambda: client.is_connected,
        names,
        settings,
        registry=registry,
        describe=recorder.describe,
        yielder=Yielder(gauge, registry) if gauge is not None else None,
    )
    try:
        await ensure_contract_stream(js, names.events_stream)
        await ensure_contract_stream(js, RECORDERS)
        async with serve_http(EventServer(door.handle_request, limit=LIMIT), host, port):
            door.ready = True
            log.info(
                "recorder started: pipeline=%s port=%d pid=%d", names.pipeline, port, os.getpid()
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(recorder.run())
                group.create_task(recorder.keep_house())
    finally:
        await publisher.stop()
        await client.close()
