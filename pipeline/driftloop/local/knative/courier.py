"""POSTs to subscribers, over connections that stay open.

A general HTTP client costs more CPU than the rest of the broker's way together; a broker only ever
posts small bodies to a few addresses and reads short answers. The parsing is llhttp's (httptools).
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import httptools

MOST_ANSWER = 1024 * 1024

_ENDS_LINE = re.compile(r"[\r\n\0]")


class UnreachableError(Exception):
    """No answer: refused, broken off, too late, or not HTTP."""


@dataclass(frozen=True, slots=True)
class SubscriberAnswer:
    """Answer of a subscriber; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def encode_request(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST as it goes over the wire. ValueError for a path or header that would end its line."""
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if not (text := "".join(lines)).isprintable() and _ENDS_LINE.search(text) is not None:
        raise ValueError("a header has a line break or a NUL")
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    return head.encode("latin-1", "replace") + body


class Courier:
    """Keeps idle connections per address, as many as were ever needed at once."""

    def __init__(self) -> None:
        self._idle: dict[str, list[_SubscriberConnection]] = defaultdict(list)

    def close_idle(self) -> None:
        """Close what is idle."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def post_event(
        self, address: str, path: str, headers: Mapping[str, str], body: bytes, *, patience: float
    ) -> SubscriberAnswer:
        """Post to `host:port` and wait for the whole answer, at most `patience` seconds;
        UnreachableError otherwise.
        """
        message = encode_request(path, headers, body)
        idle = self._idle[address]
        while idle:
            connection = idle.pop()
            if connection.closed:
                continue
            try:
                return await self._exchange_message(address, connection, message, patience)
            except _StaleError:
                # the subscriber closed it while it was idle; the event was not looked at
                continue
        connection = await self._open_connection(address, patience)
        try:
            return await self._exchange_message(address, connection, message, patience)
        except _StaleError as error:
            raise UnreachableError("the connection was closed without an answer") from error

    async def _exchange_message(
        self, address: str, connection: "_SubscriberConnection", message: bytes, patience: float
    ) -> SubscriberAnswer:
        answer = await connection.send_request(message, patience)
        if connection.reusable:
            self._idle[address].append(connection)
        else:
            connection.close()
        return answer

    async def _open_connection(self, address: str, patience: float) -> "_SubscriberConnection":
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(patience):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _SubscriberConnection, host, int(port)
                )
        except (OSError, TimeoutError) as error:
            raise UnreachableError(f"{address}: {error or type(error).__name__}") from error
        return connection


class _StaleError(Exception):
    """The other side had closed the connection before this request."""


class _SubscriberConnection(asyncio.Protocol):
    """One connection, one exchange at a time.

    The methods in the middle are what httptools calls.
    """

    def __init__(self) -> None:
        self.closed = False
        self.reusable = False
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[SubscriberAnswer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._started = False
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def send_request(self, message: bytes, patience: float) -> asyncio.Future[SubscriberAnswer]:
        """Send a request; the future is its answer."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._timer = loop.call_later(patience, self._fail_late)
        self._parser = httptools.HttpResponseParser(self)
        self._started = self.reusable = False
        if self._transport is None or self.closed:
            self._fail_exchange(_StaleError())
        else:
            self._transport.write(message)
        return self._waiter

    def close(self) -> None:
        """Close it now."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")  # noqa: S101
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()
            return
        self._started = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail_exchange(UnreachableError(f"the answer is not HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._fail_exchange(
            UnreachableError("broken off in the middle of the answer")
            if self._started
            else _StaleError()
        )

    def on_message_begin(self) -> None:
        self._headers, self._parts, self._size = {}, [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MOST_ANSWER:
            self._fail_exchange(UnreachableError("the answer is too large"))
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.reusable = self._parser.should_keep_alive()
        self._cancel_timer()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(SubscriberAnswer(status, self._headers, b"".join(self._parts)))

    def _fail_late(self) -> None:
        self._fail_exchange(UnreachableError("no answer in time"))

    def _fail_exchange(self, error: Exception) -> None:
        self._cancel_timer()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
            self.close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
