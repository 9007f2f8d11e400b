"""The dead letters of a pipeline: listed, and sent again to the subscriber that did not take them.

A letter that was taken is deleted from the stream. If this service ends between the two, it is sent
once more within the time in which its receiver recognises a repeat.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.clients import events
from driftloop.clients.nats import HINT
from driftloop.contract.deadletters import DeadLetterList, DeadLetterRecord, ReplayRecord
from driftloop.contract.events import ERROR_DESTINATION
from driftloop.contract.names import CLUSTER_DOMAIN, KNATIVE_NAMESPACE
from driftloop.contract.streams import DEAD_LETTERS, dead_letter_subject
from driftloop.contract.times import format_time
from driftloop.errors import StoreError

log = logging.getLogger("decision")

TURN = 5.0
"""Seconds after which a replay answers how far it came."""
LOOK = 15.0
"""Seconds between two counts."""
SHOWN = 200
"""Letters that are listed at most."""
RESULTS = ("sent", "failed")
FILTER_HOST = f"broker-filter.{KNATIVE_NAMESPACE}.{CLUSTER_DOMAIN}"
"""Knative's own door in front of a Trigger's subscriber."""
_ERRORS = (ERROR_DESTINATION, "knativeerrorcode", "knativeerrordata")


@dataclass(frozen=True)
class StoredLetter:
    """A dead letter and its place in the stream; `event` is None when it can't be read."""

    sequence: int
    time: str
    event: events.Event | None


class DeadLetters:
    """One pipeline's dead letters. Every method raises StoreError when NATS is away."""

    def __init__(
        self,
        js: JetStreamContext,
        session: aiohttp.ClientSession,
        *,
        namespace: str,
        pipeline: str,
        registry: CollectorRegistry,
    ) -> None:
        self._js = js
        self._session = session
        self._namespace = namespace
        self._subject = dead_letter_subject(namespace, pipeline)
        self._one_at_a_time = asyncio.Lock()
        self._waiting = Gauge(
            "driftloop_decision_dead_letters_waiting",
            "Events that nobody took and nobody has sent again",
            registry=registry,
        )
        self._replayed = Counter(
            "driftloop_decision_dead_letters_replayed",
            "Dead letters that were sent again, by result",
            ["result"],
            registry=registry,
        )
        for result in RESULTS:
            self._replayed.labels(result)

    async def count_waiting(self) -> int:
        """Return how many there are, and show it to Prometheus."""
        try:
            info = await self._js.stream_info(DEAD_LETTERS.name, subjects_filter=self._subject)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise StoreError(f"the dead letters can't be counted: {error}", hint=HINT) from error
        count = (info.state.subjects or {}).get(self._subject, 0)
        self._waiting.set(count)
        return count

    async def watch_waiting(self) -> None:
        """Keep the number for Prometheus current, for ever."""
        while True:
            try:
                await self.count_waiting()
            except StoreError as error:
                log.warning("%s", error.message)
            await asyncio.sleep(LOOK)

    async def list_waiting(self) -> DeadLetterList:
        """Return the oldest ones, and how many there are."""
        letters: list[DeadLetterRecord] = []
        async for letter in self._read_letters(0):
            attributes = letter.event.attributes if letter.event is not None else {}
            letters.append(
                DeadLetterRecord(
                    sequence=letter.sequence,
                    time=letter.time,
                    destination=attributes.get(ERROR_DESTINATION, ""),
                    **{key: attributes.get(key, "unknown") for key in ("type", "id", "source")},
                )
            )
            if len(letters) == SHOWN:
                break
        return DeadLetterList(waiting=await self.count_waiting(), letters=tuple(letters))

    async def replay_letters(self, after: int) -> ReplayRecord:
        """Send the letters after a place in the stream again, for a few seconds."""
        async with self._one_at_a_time:
            deadline = time.monotonic() + TURN
            failed: list[str] = []
            sent, last, done = 0, after, True
            async for letter in self._read_letters(after):
                if time.monotonic() > deadline:
                    done = False
                    break
                last = letter.sequence
                if (why := await self._send_again(letter)) is None:
                    await self._delete_letter(letter.sequence)
                    sent += 1
                else:
                    failed.append(why)
                self._replayed.labels("sent" if why is None else "failed").inc()
            return ReplayRecord(
                sent=sent,
                failed=tuple(failed),
                last=last,
                done=done,
                waiting=await self.count_waiting(),
            )

    async def _send_again(self, letter: StoredLetter) -> str | None:
        """Return why a letter was not taken; None when it was."""
        event = letter.event
        if event is None:
            return f"{letter.sequence}: it is not a CloudEvent"
        destination = event.get(ERROR_DESTINATION) or ""
        if not self._is_own(destination):
            return f"{event.id}: `{destination}` is not a subscriber of {self._namespace}"
        attributes = {k: v for k, v in event.attributes.items() if k not in _ERRORS}
        try:
            again = events.Event(attributes, event.body)
            await events.post_event(self._session, destination, again)
        except (events.EventRefusedError, ValueError) as error:
            return f"{event.id}: {error}"
        log.info("dead letter taken: id=%s destination=%s", event.id, destination)
        return None

    def _is_own(self, destination: str) -> bool:
        """Return True for a Service of the namespace: whoever reaches this service can store a
        letter with any address."""
        url = urlsplit(destination)
        host = url.hostname or ""
        if url.scheme != "http":
            return False
        return host.endswith(f".{self._namespace}.{CLUSTER_DOMAIN}") or (
            host == FILTER_HOST and url.path.startswith(f"/triggers/{self._namespace}/")
        )

    async def _read_letters(self, after: int) -> AsyncIterator[StoredLetter]:
        sequence = after
        while (message := await self._read_next(sequence + 1)) is not None:
            sequence = message.seq or sequence + 1
            stored = _format_time(message)
            try:
                event = events.unpack_event(message.data or b"")
                complete = all(isinstance(event.get(key), str) for key in ("id", "source", "type"))
                yield StoredLetter(sequence, stored, event if complete else None)
            except events.MalformedEventError:
                yield StoredLetter(sequence, stored, None)

    async def _read_next(self, sequence: int) -> RawStreamMsg | None:
        try:
            return await self._js.get_msg(
                DEAD_LETTERS.name, seq=sequence, subject=self._subject, next=True
            )
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise StoreError(f"the dead letters can't be read: {error}", hint=HINT) from error

    async def _delete_letter(self, sequence: int) -> None:
        try:
            await self._js.delete_msg(DEAD_LETTERS.name, sequence)
        except nats.js.errors.NotFoundError:
            return
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise StoreError(f"a dead letter can't be deleted: {error}", hint=HINT) from error


def _format_time(message: RawStreamMsg) -> str:
    """Format the time at which a message was stored."""
    return "unknown" if message.time is None else format_time(message.time)
