"""NATS JetStream as everything here uses it: connections that last, streams that may exist,
publishes that are kept."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    KeyValueConfig,
    PubAck,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.kv import KeyValue

from driftloop.contract.streams import Stream
from driftloop.errors import StoreError

log = logging.getLogger("nats")
T = TypeVar("T")

DUPLICATE_WINDOW = 600.0
"""Seconds in which a message id is recognised; longer than between two tries of a Trigger."""

KV_OPERATION = "KV-Operation"
"""Header of a deletion's marker."""

STORED_BATCH, STORED_WAIT = 256, 5.0
"""Messages that are asked for at once, and seconds that they may take."""
AWAY = 0.2
"""Seconds between two tries to read from a server that is away."""
AVAILABLE = 10.0
"""Seconds that JetStream may take for an account after its users can connect: the server has just
started, or just read the account."""

HINT = "is NATS running, and does NATS_URL point at it?"
REFUSED = (
    "a namespace's users come from `driftloop secrets init`; pods take a new password when they "
    "start again, the server a minute after it is applied"
)


class WrongLastSequenceError(StoreError):
    """Somebody else wrote to the subject first."""


class LastingClient(Client):
    """A connection that is closed by its owner only."""

    ending = False
    ever_connected = False

    async def close(self) -> None:
        """Close it, on purpose."""
        self.ending = True
        await super().close()


def end_program(reason: str) -> None:
    """End this process with exit code 1, for whoever started it to start it again: what it
    acknowledged is stored, and a connection that NATS has closed never comes back."""
    log.critical("%s; this program ends", reason)
    os._exit(1)


async def connect_client(
    url: str, *, name: str, wait: float = 30.0, on_closed: Callable[[str], None] = end_program
) -> Client:
    """A connection that outlives restarts of the server; StoreError when it can't be made within
    `wait` seconds, or NATS does not take the credential in `url`.

    NATS closes a connection for good after an error of its client's: `on_closed` hears of it.
    """
    client = LastingClient()
    refusals: list[Exception] = []

    async def said(error: Exception) -> None:
        """nats-py prints a traceback for each failed attempt to reconnect unless told otherwise."""
        if _is_refusal(error):
            refusals[:] = [error]
        elif "permissions violation" in str(error).lower():
            log.error("%s: NATS refuses: %s", name, error)

    async def closed() -> None:
        if client.ever_connected and not client.ending:
            on_closed(f"NATS closed the connection {name}: {client.last_error}")

    # nats-py declares whole seconds and takes parts of them
    options: dict[str, Any] = {"reconnect_time_wait": 0.2}
    connecting = asyncio.ensure_future(
        client.connect(
            url,
            name=name,
            max_reconnect_attempts=-1,
            connect_timeout=2,
            max_outstanding_pings=3,
            ping_interval=10,
            error_cb=said,
            closed_cb=closed,
            **options,
        )
    )
    try:
        await _wait_until_done(connecting, wait)
    except (TimeoutError, OSError, nats.errors.Error) as error:
        address = hide_credential(url)
        if refusals or _is_refusal(error):
            raise StoreError(
                f"NATS at {address} refuses {_describe_user(url)}", hint=REFUSED
            ) from error
        raise StoreError(
            f"no connection to NATS at {address} within {wait:g} s", hint=HINT
        ) from error
    client.ever_connected = True
    return client


async def _wait_until_done(task: asyncio.Future[None], wait: float) -> None:
    """Wait for a task's end; TimeoutError after `wait` seconds, when it was cancelled."""
    try:
        await asyncio.wait({task}, timeout=wait)
    finally:
        while not task.done():
            # nats-py swallows a cancellation that meets it while it closes a refused connection
            task.cancel()
            await asyncio.wait({task}, timeout=AWAY)
    if task.cancelled():
        raise TimeoutError
    task.result()


def _is_refusal(error: BaseException) -> bool:
    return "authorization violation" in str(error).lower()


def _describe_user(url: str) -> str:
    user = urlsplit(url).username
    return f"the user `{user}` or its password" if user else "whoever names no user"


def hide_credential(url: str) -> str:
    """Return a URL without the user and password in it, as messages and logs show it."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


@contextlib.asynccontextmanager
async def open_connection(
    url: str, *, name: str, wait: float = 30.0
) -> AsyncIterator[JetStreamContext]:
    """`connect` for the length of a `with`, as a JetStream context."""
    client = await connect_client(url, name=name, wait=wait)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def ensure_stream(
    js: JetStreamContext,
    name: str,
    subjects: list[str],
    *,
    max_age: float = 0.0,
    max_bytes: int = -1,
    max_msgs: int = -1,
    max_msgs_per_subject: int = -1,
    duplicate_window: float = DUPLICATE_WINDOW,
    discard: DiscardPolicy = DiscardPolicy.OLD,
) -> None:
    """The stream exists with these settings afterwards (seconds, bytes); limits retention, file
    storage."""
    config = StreamConfig(
        name=name,
        subjects=subjects,
        max_age=max_age,
        max_bytes=max_bytes,
        max_msgs=max_msgs,
        max_msgs_per_subject=max_msgs_per_subject,
        duplicate_window=min(duplicate_window, max_age) if max_age else duplicate_window,
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=discard,
        allow_direct=True,
    )
    try:
        try:
            await _call_when_available(lambda: js.add_stream(config))
        except nats.js.errors.BadRequestError:
            await _update_stream(js, config)
    except nats.js.errors.APIError as error:
        raise _translate_error(f"stream {name}", error) from error
    except (nats.errors.Error, TimeoutError) as error:
        raise StoreError(
            f"stream {name} can't be created: {error or type(error).__name__}", hint=HINT
        ) from error


async def _call_when_available(call: Callable[[], Awaitable[T]]) -> T:
    """Return JetStream's answer, once somebody is there to answer for this account."""
    deadline = asyncio.get_running_loop().time() + AVAILABLE
    while True:
        try:
            return await call()
        except nats.js.errors.ServiceUnavailableError as error:
            nobody_answered = error.err_code is None
            if not nobody_answered or asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(AWAY)


async def _update_stream(js: JetStreamContext, config: StreamConfig) -> None:
    """Give a stream these settings; one that refuses when it is full keeps the room of what it
    holds, since a smaller one would throw the oldest away."""
    if config.discard is DiscardPolicy.NEW and config.max_bytes is not None and config.name:
        held = (await js.stream_info(config.name)).state.bytes
        if 0 <= config.max_bytes < held:
            config.max_bytes = held
    await js.update_stream(config)


async def ensure_contract_stream(js: JetStreamContext, stream: Stream) -> None:
    """Make a stream of the contract, or give it the contract's limits."""
    await ensure_stream(
        js,
        stream.name,
        list(stream.subjects),
        max_age=stream.max_age,
        max_bytes=stream.max_bytes,
        max_msgs=stream.max_msgs,
        max_msgs_per_subject=stream.max_msgs_per_subject,
        duplicate_window=stream.duplicate_window,
        discard=DiscardPolicy.NEW if stream.refuses_when_full else DiscardPolicy.OLD,
    )


async def key_value(js: JetStreamContext, bucket: str, *, history: int = 1) -> KeyValue:
    """The key-value bucket, on file, made when it is missing; `history` values of a key are
    kept."""
    try:
        try:
            return await _call_when_available(lambda: js.key_value(bucket))
        except nats.js.errors.NotFoundError:
            return await js.create_key_value(
                KeyValueConfig(bucket=bucket, history=history, storage=StorageType.FILE)
            )
    except (nats.errors.Error, TimeoutError) as error:
        raise StoreError(f"bucket {bucket}: {error or type(error).__name__}", hint=HINT) from error


async def list_keys(js: JetStreamContext, bucket: str) -> tuple[str, ...]:
    """The bucket's keys, sorted, deleted ones left out; none when the bucket does not exist.

    From the stream's own list of subjects: nats-py's `KeyValue.keys` watches, and finds nothing
    when the values arrive before its consumer's state does (2.16).
    """
    stream, prefix = f"KV_{bucket}", f"$KV.{bucket}."
    try:
        subjects = (await js.stream_info(stream, subjects_filter=f"{prefix}>")).state.subjects or {}
        kept = [subject for subject in sorted(subjects) if await _holds_value(js, stream, subject)]
    except nats.js.errors.NotFoundError:
        return ()
    except (nats.errors.Error, TimeoutError) as error:
        raise StoreError(f"bucket {bucket}: {error or type(error).__name__}", hint=HINT) from error
    return tuple(subject.removeprefix(prefix) for subject in kept)


async def _holds_value(js: JetStreamContext, stream: str, subject: str) -> bool:
    try:
        message = await js.get_last_msg(stream, subject)
    except nats.js.errors.NotFoundError:
        return False
    return KV_OPERATION not in (message.headers or {})


async def read_messages(
    subscription: JetStreamContext.PullSubscription, *, batch: int = 1, wait: float = 5.0
) -> AsyncIterator[Msg]:
    """The messages of a pull subscription, for ever: patient while there are none, and while
    NATS is away.

    StoreError when its consumer is gone: make both again.
    """
    while True:
        try:
            messages = await subscription.fetch(batch, timeout=wait)
        except (nats.errors.Error, TimeoutError):
            messages = []
            try:
                await subscription.consumer_info()
            except nats.js.errors.NotFoundError as error:
                raise StoreError("the consumer was deleted") from error
            except (nats.errors.Error, TimeoutError):
                await asyncio.sleep(AWAY)
        for message in messages:
            yield message


async def read_stored(
    js: JetStreamContext, stream: str, subject: str, *, first: int = 1
) -> AsyncIterator[Msg]:
    """The messages of a subject that are stored now, from a sequence of the stream on; none of a stream
    that does not exist. StoreError when they can't be read."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=30,
        mem_storage=True,
    )
    try:
        read = await js.pull_subscribe(subject, stream=stream, config=config)
        pending = (await read.consumer_info()).num_pending or 0
        while pending > 0:
            batch = await read.fetch(min(pending, STORED_BATCH), timeout=STORED_WAIT)
            pending -= len(batch)
            for message in batch:
                yield message
        await read.unsubscribe()
    except nats.js.errors.NotFoundError:
        return
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise StoreError(f"stream {stream}: {error or type(error).__name__}", hint=HINT) from error


async def publish_message(
    js: JetStreamContext,
    subject: str,
    payload: bytes,
    *,
    message_id: str | None = None,
    expected_last: int | None = None,
    timeout: float = 5.0,  # noqa: ASYNC109
) -> PubAck:
    """Publish and wait until the message is stored.

    `message_id` swallows repeats inside the duplicate window (`PubAck.duplicate`).
    `expected_last` is the stream sequence of the subject's last message (0: none);
    WrongLastSequenceError when it is another. StoreError when NATS is away or refuses.
    """
    headers: dict[str, str] = {}
    if message_id is not None:
        headers["Nats-Msg-Id"] = message_id
    if expected_last is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(expected_last)
    if not js._nc.is_connected:
        raise StoreError("NATS is not connected", hint=HINT)
    try:
        return await js.publish(subject, payload, timeout=timeout, headers=headers or None)
    except nats.js.errors.APIError as error:
        raise _translate_error(subject, error) from error
    except nats.js.errors.NoStreamResponseError as error:
        raise StoreError(f"no stream has the subject `{subject}`", hint=HINT) from error
    except (nats.errors.Error, TimeoutError) as error:
        raise StoreError(
            f"{subject}: NATS did not acknowledge: {error or type(error).__name__}", hint=HINT
        ) from error


class MessagePosition(NamedTuple):
    """Position of a delivered message in its stream and consumer."""

    stream: int
    """Its sequence in the stream."""
    consumer: int
    """Its sequence in the consumer's deliveries; a gap means some were missed."""
    delivered: int
    """Number of deliveries, this one included."""
    time: int
    """Time at which it was stored, by the server's clock, in nanoseconds since 1970."""
    pending: int
    """Number of messages not yet sent to the consumer."""


def read_position(message: Msg) -> MessagePosition:
    """Read the position from a JetStream message's reply subject; nats-py's `metadata` also parses times, at
    four times the cost."""
    # $JS.ACK[.domain.account].stream.consumer.delivered.stream-seq.consumer-seq.time.pending[.token]
    parts = message.reply.split(".")
    first = 4 if len(parts) == 9 else 6
    return MessagePosition(
        int(parts[first + 1]),
        int(parts[first + 2]),
        int(parts[first]),
        int(parts[first + 3]),
        int(parts[first + 4]),
    )


def translate_refusal(error: Mapping[str, Any]) -> StoreError:
    """Translate JetStream's error answer."""
    text, code = str(error.get("description", "refused")), error.get("err_code")
    if code == 10071:
        return WrongLastSequenceError(text)
    match code:
        case 10047 | 10028 | 10023:
            hint = (
                "JetStream's store has no room left for a new stream: lower `events.broker` and "
                "`events.detector` in the specs, or raise `config.jetstream.fileStore.maxSize` of the "
                "HelmRelease nats; `driftloop doctor` shows what is reserved"
            )
        case 10077:
            hint = "the stream is full: its reader is behind or stopped"
        case _:
            hint = HINT
    return StoreError(text, hint=hint)


def _translate_error(what: str, error: nats.js.errors.APIError) -> StoreError:
    described = error.description or "JetStream does not answer for this account"
    found = translate_refusal({"description": described, "err_code": error.err_code})
    return type(found)(f"{what}: {found.message}", hint=found.hint)
