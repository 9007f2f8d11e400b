"""Publishing to and reading from JetStream at the rate the services need; every message is
confirmed all the same.

nats-py waits for each confirmation and each fetched message with a timer of its own, which costs
more than the message. Here confirmations come back on one inbox and are matched by token,
messages are asked for ahead of use, and one clock per connection looks for what is overdue. The
subjects and replies are JetStream's own (`$JS.API.CONSUMER.MSG.NEXT`).
"""

import asyncio
import itertools
import json
import time
from collections import deque

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from driftloop.clients.nats import HINT, translate_refusal
from driftloop.errors import StoreError

SWEEP = 0.5
GATHERED = 16
"""Messages that go to the server together, however short the time was that they waited for others."""
HEADERS = 1024
"""Bytes of a message that its headers may need."""


class TooLargeError(StoreError):
    """NATS takes no message of this size; sending it again will not help."""


class Publisher:
    """Confirmed publishes, as many at once as callers wait for."""

    def __init__(self, client: Client, *, timeout: float = 5.0, linger: float = 0.0) -> None:
        """`linger` is for how many seconds a message waits for others, or until there are GATHERED: they go to the server,
        and are confirmed, together, which saves both sides most of what one costs."""
        self._client = client
        self._timeout = timeout
        self._linger = linger
        self._gathered: list[asyncio.Future[None]] = []
        self._timer: asyncio.Handle | None = None
        self._prefix = client.new_inbox()
        self._tokens = itertools.count()
        self._waiting: dict[str, tuple[float, asyncio.Future[bool]]] = {}
        self._subscription: Subscription | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> "Publisher":
        """Listen for confirmations."""
        self._subscription = await self._client.subscribe(
            f"{self._prefix}.*", cb=self._confirm_publish
        )
        self._sweeper = asyncio.create_task(self._sweep_pending())
        return self

    async def stop(self) -> None:
        """Stop listening; whoever still waits gets StoreError."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(StoreError("the publisher was stopped"))

    async def publish(self, subject: str, payload: bytes, *, message_id: str) -> bool:
        """Publish a message and return True when it was stored now; False: it had been stored before. StoreError: NATS is away,
        full or refuses.

        TooLargeError, one of them, is for good.
        """
        if not self._client.is_connected:
            raise StoreError("NATS is not connected", hint=HINT)
        if len(payload) > self._client.max_payload - HEADERS:
            raise TooLargeError(
                f"the message has {len(payload)} bytes, NATS accepts at most {self._client.max_payload}"
            )
        token = str(next(self._tokens))
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[token] = (time.monotonic() + self._timeout, future)
        try:
            headers = {"Nats-Msg-Id": message_id}
            if self._linger > 0:
                await self._wait_for_others()
            await self._client.publish(
                subject, payload, reply=f"{self._prefix}.{token}", headers=headers
            )
            return await future
        except nats.errors.Error as error:
            raise StoreError(f"{subject}: {error or type(error).__name__}", hint=HINT) from error
        finally:
            self._waiting.pop(token, None)

    def _wait_for_others(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._gathered.append(turn)
        if len(self._gathered) == 1:
            self._timer = loop.call_later(self._linger, self._send_gathered)
        elif len(self._gathered) == GATHERED and self._timer is not None:
            # not at once: this one would be before those that came before it
            self._timer.cancel()
            self._timer = loop.call_soon(self._send_gathered)
        return turn

    def _send_gathered(self) -> None:
        for turn in self._gathered:
            if not turn.done():
                turn.set_result(None)
        self._gathered.clear()

    async def _confirm_publish(self, message: Msg) -> None:
        entry = self._waiting.get(message.subject.rpartition(".")[2])
        if entry is None or entry[1].done():
            return
        future = entry[1]
        if not message.data:
            future.set_exception(StoreError("no stream has this subject", hint=HINT))
            return
        answer = json.loads(message.data)
        if "error" in answer:
            future.set_exception(translate_refusal(answer["error"]))
        else:
            future.set_result(not answer.get("duplicate", False))

    async def _sweep_pending(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            now = time.monotonic()
            for deadline, future in list(self._waiting.values()):
                if deadline < now and not future.done():
                    text = "NATS did not acknowledge in time; it may be busy, or its disk full"
                    future.set_exception(StoreError(text, hint=HINT))


class Puller:
    """The messages of one pull consumer, `batch` of them asked for ahead."""

    def __init__(
        self, client: Client, stream: str, consumer: str, *, batch: int = 256, expires: float = 5.0
    ) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._what = f"consumer {consumer} of {stream}"
        self._batch = batch
        self._expires = expires
        self._inbox = client.new_inbox()
        self._ready: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._owed = 0
        self._asked = 0.0
        self._gone: str | None = None
        self._subscription: Subscription | None = None

    async def start(self) -> "Puller":
        """Listen; nothing is asked for yet."""
        self._subscription = await self._client.subscribe(self._inbox, cb=self._take_message)
        return self

    async def stop(self) -> None:
        """Stop listening. What was delivered and not used is delivered again when its
        acknowledgement is overdue."""
        if self._subscription is not None and self._client.is_connected:
            await self._subscription.unsubscribe()

    async def next_batch(self, longest: float | None = None) -> list[Msg]:
        """Return the messages that are there, at least one; an empty list when nothing came for `longest`
        seconds (None: those after which the server forgets what was asked).

        StoreError when the consumer is gone or NATS is away: make it again, and another Puller.
        """
        if not self._ready:
            await self._ask_batch()
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._expires if longest is None else longest):
                    await self._arrived.wait()
            except TimeoutError:
                pass
        if self._gone is not None:
            raise StoreError(f"{self._what}: {self._gone}")
        messages = list(self._ready)
        self._ready.clear()
        return messages

    async def _ask_batch(self) -> None:
        now = time.monotonic()
        # a request is lost when the server restarts; the server forgets it a moment after `expires` in any case
        if self._owed > 0 and now < self._asked + self._expires + 1.0:
            return
        if not self._client.is_connected:
            raise StoreError("NATS is not connected", hint=HINT)
        self._owed, self._asked = self._batch, now
        request = json.dumps({"batch": self._batch, "expires": int(self._expires * 1e9)}).encode()
        try:
            await self._client.publish(self._subject, request, reply=self._inbox)
        except nats.errors.Error as error:
            raise StoreError(f"{self._what}: {error or type(error).__name__}", hint=HINT) from error

    async def _take_message(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status") if not message.reply else None
        if status is None and message.reply:
            self._ready.append(message)
            self._owed -= 1
        elif status in ("404", "408"):
            self._owed = 0
        elif status in ("409", "503"):
            description = (message.headers or {}).get("Description", "the consumer does not exist")
            if "Exceeded" in description or "Batch Completed" in description:
                self._owed = 0
            else:
                self._gone = description
        else:
            return
        self._arrived.set()
