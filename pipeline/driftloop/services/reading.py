"""Reading the events of a subject from a service's stream, in order and without a gap, and knowing
when all of them were read."""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from driftloop.clients.jetstream import Puller
from driftloop.clients.nats import HINT, MessagePosition, read_position
from driftloop.contract.times import SECOND
from driftloop.errors import StoreError

log = logging.getLogger("reading")

BATCH = 500
QUIET = 12
"""Empty answers in a row after which the consumer is made anew, in case the server has lost it."""
LONGEST_WAIT = 5.0
SHORTEST_WAIT = 0.5
GRACE = SECOND
"""Nanoseconds from the time that a message gets until it can surely be read."""


@dataclass(frozen=True)
class CaughtUp:
    """All that was stored before a moment was read."""

    moment: int
    """Nanoseconds since 1970, by the server's clock, as the stored times are."""


class UndeliveredError(StoreError):
    """The server says that it has delivered all, and a message that is stored was not among it: one that was killed may
    count what is pending before it has found it again."""


class StoredMessage(NamedTuple):
    """A message, and its place in the stream."""

    message: Msg
    where: MessagePosition


class EventReader:
    """Reads the messages of one subject of a stream."""

    def __init__(self, js: JetStreamContext, stream: str, subject: str) -> None:
        self._js = js
        self._stream = stream
        self._subject = subject

    async def read_events(
        self, after: int, wait: Callable[[], float] = lambda: LONGEST_WAIT
    ) -> AsyncGenerator[StoredMessage | CaughtUp, None]:
        """The messages after a sequence, for ever, and `CaughtUp` whenever none came for `wait()`
        seconds.

        The consumer keeps nothing for us: it is made anew at the right place when the server
        lost it or a delivery is missing.
        """
        while True:
            consumer = await self._js.add_consumer(
                self._stream,
                ConsumerConfig(
                    name=f"read_{secrets.token_hex(8)}",
                    filter_subject=self._subject,
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=after + 1,
                    ack_policy=AckPolicy.NONE,
                    inactive_threshold=60,
                    mem_storage=True,
                ),
            )
            puller = await Puller(self._js._nc, self._stream, consumer.name, batch=BATCH).start()
            expected, quiet = 1, 0
            try:
                while quiet < QUIET:
                    longest = min(LONGEST_WAIT, max(SHORTEST_WAIT, wait()))
                    messages = await puller.next_batch(longest)
                    quiet = 0 if messages or longest < LONGEST_WAIT else quiet + 1
                    for message in messages:
                        where = read_position(message)
                        if where.consumer != expected:
                            quiet = QUIET
                            break
                        expected += 1
                        after = where.stream
                        yield StoredMessage(message, where)
                    moment = None if messages else await self._find_moment(consumer.name, expected)
                    if moment is not None:
                        yield CaughtUp(moment)
            except StoreError as error:
                log.warning("%s", error.message)
                await asyncio.sleep(0.2)
            finally:
                await puller.stop()
            log.info("reading the stream again from event %d", after + 1)

    async def read_stored(self, last: int) -> AsyncGenerator[StoredMessage, None]:
        """The messages up to a sequence that is stored; UndeliveredError."""
        async with aclosing(self.read_events(0)) as reads:
            async for read in reads:
                if isinstance(read, CaughtUp):
                    raise UndeliveredError(
                        f"message {last} of {self._subject} is stored and was not delivered"
                    )
                yield read
                if read.where.stream >= last:
                    return

    async def _find_moment(self, consumer: str, expected: int) -> int | None:
        """The moment before which all was read by a consumer, whose next delivery is `expected`;
        None when there is more to read."""
        info = await ask_info(self._js, f"CONSUMER.INFO.{self._stream}.{consumer}")
        if info["num_pending"] or info["delivered"]["consumer_seq"] != expected - 1:
            return None
        return read_time(info["ts"]) - GRACE


async def ask_info(js: JetStreamContext, what: str) -> dict[str, Any]:
    """Return what JetStream answers to `STREAM.INFO.NAME` or `CONSUMER.INFO.STREAM.NAME`, with `ts`, the server's
    time, which nats-py leaves out; StoreError."""
    try:
        answer = await js._nc.request(f"$JS.API.{what}", b"", timeout=5)
    except (nats.errors.Error, TimeoutError) as error:
        raise StoreError(f"{what}: {error or type(error).__name__}", hint=HINT) from error
    info: dict[str, Any] = json.loads(answer.data)
    if "error" in info:
        raise StoreError(f"{what}: {info['error'].get('description')}", hint=HINT)
    return info


def read_time(text: str) -> int:
    """Return a time of the server's, RFC 3339 in UTC, in nanoseconds since 1970."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * SECOND + int(fraction[:9].ljust(9, "0"))
