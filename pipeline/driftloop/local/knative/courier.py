"""POSTs to subscribers, over connections that stay open.

A general HTTP client costs more CPU than the rest of the broker's way together; a broker only ever
posts small bodies to a few addresses and reads short answers. The parsing is llhttp's (httptools).

One request at a time goes over a connection, as any subscriber can take it. One of ours says how many it takes
(`DEPTH_HEADER`): then requests that come in the same turn go out with one write, and so do their answers, which is
most of what a delivery costs.
"""

import asyncio
import re
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass

import httptools

from driftloop.clients.http import DEPTH_HEADER

MOST_ANSWER = 1024 * 1024
MOST_DEPTH = 64
"""Requests under way on one connection, whatever a subscriber says."""

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
    """Keeps connections per address, as many as were ever needed at once."""

    def __init__(self) -> None:
        self._connections: dict[str, list[_SubscriberConnection]] = defaultdict(list)

    def close_idle(self) -> None:
        """Close all connections."""
        for connections in self._connections.values():
            for connection in connections:
                connection.close()
        self._connections.clear()

    async def post_event(
        self, address: str, path: str, headers: Mapping[str, str], body: bytes, *, patience: float
    ) -> SubscriberAnswer:
        """Post to `host:port` and wait for the whole answer, at most `patience` seconds;
        UnreachableError otherwise.
        """
        message = encode_request(path, headers, body)
        while (connection := self._find_connection(address)) is not None:
            try:
                return await connection.send_request(message, patience)
            except _StaleError:
                # the subscriber closed it before it looked at the event
                continue
        connection = await self._open_connection(address, patience)
        self._connections[address].append(connection)
        try:
            return await connection.send_request(message, patience)
        except _StaleError as error:
            raise UnreachableError("the connection was closed without an answer") from error

    def _find_connection(self, address: str) -> "_SubscriberConnection | None":
        """A connection that takes another request; the first ones are filled first."""
        connections = self._connections[address]
        for connection in connections:
            if connection.has_room:
                return connection
        connections[:] = [each for each in connections if not each.closed]
        return None

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


class _Exchange:
    """A request under way: its answer, and when it is too late for it."""

    __slots__ = ("timer", "waiter")

    def __init__(
        self, waiter: asyncio.Future[SubscriberAnswer], timer: asyncio.TimerHandle
    ) -> None:
        self.waiter = waiter
        self.timer = timer


class _SubscriberConnection(asyncio.Protocol):
    """One connection: requests and their answers, in the same order.

    The methods in the middle are what httptools calls.
    """

    def __init__(self) -> None:
        self.closed = False
        self._depth = 1
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._exchanges: deque[_Exchange] = deque()
        self._unsent: list[bytes] = []
        self._begin_answer()

    def _begin_answer(self) -> None:
        self._started = False
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def has_room(self) -> bool:
        """True when it takes another request now."""
        return not self.closed and len(self._exchanges) < self._depth

    def send_request(self, message: bytes, patience: float) -> asyncio.Future[SubscriberAnswer]:
        """Send a request; the future is its answer."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[SubscriberAnswer] = loop.create_future()
        if self.closed:
            waiter.set_exception(_StaleError())
            return waiter
        self._exchanges.append(_Exchange(waiter, loop.call_later(patience, self._fail_late)))
        if self._depth == 1:
            self._transport.write(message)
            return waiter
        if not self._unsent:
            loop.call_soon(self._write_requests)
        self._unsent.append(message)
        return waiter

    def _write_requests(self) -> None:
        if not self.closed:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def close(self) -> None:
        """Close it now."""
        self.closed = True
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")  # noqa: S101
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if not self._exchanges:
            self.close()
            return
        self._started = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail_exchanges(UnreachableError(f"the answer is not HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._fail_exchanges(
            UnreachableError("broken off in the middle of the answer")
            if self._started
            else _StaleError()
        )

    def on_message_begin(self) -> None:
        self._begin_answer()
        self._started = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MOST_ANSWER:
            self._fail_exchanges(UnreachableError("the answer is too large"))
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        answer = SubscriberAnswer(status, self._headers, b"".join(self._parts))
        self._started = False
        if not self._exchanges:
            # it answers what nobody asked
            self.close()
            return
        exchange = self._exchanges.popleft()
        exchange.timer.cancel()
        if not exchange.waiter.done():
            exchange.waiter.set_result(answer)
        if not self._parser.should_keep_alive():
            self.close()
            self._fail_exchanges(_StaleError())
            return
        depth = answer.headers.get(DEPTH_HEADER, "1")
        self._depth = min(int(depth), MOST_DEPTH) if depth.isdecimal() else 1

    def _fail_late(self) -> None:
        self._fail_exchanges(UnreachableError("no answer in time"))

    def _fail_exchanges(self, error: Exception) -> None:
        """Fail the request whose answer was to come next; those behind it were not looked at."""
        own: Exception = error
        while self._exchanges:
            exchange = self._exchanges.popleft()
            exchange.timer.cancel()
            if not exchange.waiter.done():
                exchange.waiter.set_exception(own)
            own = error if isinstance(error, _StaleError) else UnreachableError(str(error))
        if not self.closed:
            self.close()
