"""An HTTP/1.1 server for doors that take events: requests in, short answers out, connections
kept open.

It does what such a door needs and no more (no routing, no streaming, no upgrade), at a third of
a general server's CPU. The parsing is llhttp's (httptools).
"""

import asyncio
import http
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httptools

MOST_HEADERS = 64 * 1024

MOST_CONNECTIONS = 512
"""Connections at once; another one takes the place of the one that has sent no whole request for
the longest time."""

HEAD_TIME, REQUEST_TIME = 10.0, 30.0
"""Seconds from the first byte (or the connection) to the end of the headers, and of the request."""

SWEEP = 1.0
"""Seconds between two looks for connections that are late."""

DEPTH_HEADER = "driftloop-depth"
"""Header of each answer: how many requests a client may have under way on one connection."""
DEPTH = 64
"""Requests of one connection that are worked on at once; their answers go out in order, as many as are
ready with one write."""


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """One request; header names in lower case. `body` is None when it was larger than the limit."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """Status and text."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    retry_after: int | None = None
    """Seconds after which the same request may be taken."""

    def encode_answer(self, keep: bool) -> bytes:
        """As it goes over the wire."""
        reason = http.HTTPStatus(self.status).phrase
        head = (
            f"HTTP/1.1 {self.status} {reason}\r\ncontent-length: {len(self.body)}\r\n{_DEPTH_LINE}"
        )
        if self.body:
            head += f"content-type: {self.content_type}\r\n"
        if self.retry_after is not None:
            head += f"retry-after: {self.retry_after}\r\n"
        return (head + ("\r\n" if keep else "connection: close\r\n\r\n")).encode() + self.body


_DEPTH_LINE = f"{DEPTH_HEADER}: {DEPTH}\r\n"

Handler = Callable[[ServerRequest], Awaitable[ServerAnswer]]


class EventServer:
    """Listens until it is closed."""

    def __init__(self, handler: Handler, *, limit: int) -> None:
        self.limit = limit
        """Bytes of a body that are kept; it may change while the server runs."""
        self._handler = handler
        self._listening: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._open: dict[_ServerConnection, None] = {}

    async def start(self, host: str, port: int) -> None:
        """Listen; OSError when the port can't be had."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._make_connection, host, port, backlog=1024)
        self._sweeper = loop.create_task(self._sweep_late())

    async def close(self) -> None:
        """Stop listening and close every connection; requests in progress get no answer."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._listening is not None:
            self._listening.close()
        for connection in list(self._open):
            connection.close()

    def _make_connection(self) -> "_ServerConnection":
        return _ServerConnection(self._handler, self)

    def add_connection(self, connection: "_ServerConnection") -> None:
        """Count a connection that was made; beyond MOST_CONNECTIONS another one is closed."""
        self._open[connection] = None
        if len(self._open) > MOST_CONNECTIONS:
            waiting = [other for other in self._open if other.is_waiting()]
            begun = (other for other in waiting if other.since is not None)
            if (oldest := next(begun, next(iter(waiting), None))) is not None:
                oldest.close()

    def drop_connection(self, connection: "_ServerConnection") -> None:
        """Count a connection no more."""
        self._open.pop(connection, None)

    async def _sweep_late(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            now = asyncio.get_running_loop().time()
            for connection in list(self._open):
                connection.close_late(now)


class _Exchange:
    """A request that is being answered, and its answer once it is there."""

    __slots__ = ("answer", "keep", "task")

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.answer: bytes | None = None
        self.task: asyncio.Task[None] | None = None


class _ServerConnection(asyncio.Protocol):
    """One client. The methods with `on_` are what httptools calls."""

    def __init__(self, handler: Handler, server: EventServer) -> None:
        self._handler = handler
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.since: float | None = self._loop.time()
        """Time of the first byte of the request that is being received, or of the connection."""
        self._in_head = True
        self._begun = 0
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._waiting: deque[tuple[ServerRequest, bool]] = deque()
        self._exchanges: deque[_Exchange] = deque()
        self._flushing = False
        self._begin_message()

    def _begin_message(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = self._head = 0

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def is_waiting(self) -> bool:
        """Return True while no request of it is being answered, and it is not hanging up."""
        return not self._exchanges and not self._transport.is_closing()

    def close_late(self, now: float) -> None:
        """Hang up when a request takes too long to arrive."""
        patience = HEAD_TIME if self._in_head else REQUEST_TIME
        if self.since is not None and now - self.since > patience and self.is_waiting():
            self._refuse_request(408, b"the request took too long to arrive")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._server.add_connection(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.drop_connection(self)
        self._waiting.clear()
        for exchange in self._exchanges:
            if exchange.task is not None:
                exchange.task.cancel()

    def data_received(self, data: bytes) -> None:
        number = self._begun
        try:
            self._parser.feed_data(data)
            # a header that has no end yet is told by none of the methods below
            if self._in_head and self._begun == number:
                self._count_head(len(data))
        except httptools.HttpParserUpgrade:
            self._refuse_request(400, b"no upgrade here")
        except httptools.HttpParserError as error:
            self._refuse_request(400, f"the request is not HTTP: {error}".encode())

    def on_message_begin(self) -> None:
        self._begin_message()
        self._in_head = True
        self._begun += 1
        self.since = self._loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= self._server.limit:
            self._parts.append(body)
        else:
            self._parts.clear()
            if self._size > 16 * self._server.limit:
                # whoever sends this much more is not going to stop
                self._refuse_request(413, b"the event is too large")

    def on_message_complete(self) -> None:
        self.since = None
        body = b"".join(self._parts) if self._size <= self._server.limit else None
        path = self._url.decode("latin-1").partition("?")[0]
        request = ServerRequest(
            self._parser.get_method().decode("latin-1"), path, self._headers, body
        )
        self._waiting.append((request, self._parser.should_keep_alive()))
        if len(self._exchanges) < DEPTH:
            self._start_next()
        else:
            self._transport.pause_reading()

    def _start_next(self) -> None:
        request, keep = self._waiting.popleft()
        exchange = _Exchange(keep)
        self._exchanges.append(exchange)
        exchange.task = self._loop.create_task(self._answer_request(exchange, request))

    async def _answer_request(self, exchange: _Exchange, request: ServerRequest) -> None:
        try:
            answer = await self._handler(request)
            exchange.answer = answer.encode_answer(exchange.keep)
        except BaseException:
            self._transport.close()
            raise
        if not self._flushing and exchange is self._exchanges[0]:
            if len(self._exchanges) == 1:
                self._write_answers()
            else:
                # others are likely to be ready in the same turn
                self._flushing = True
                self._loop.call_soon(self._write_answers)

    def _write_answers(self) -> None:
        """Write the answers that are ready and have none before them that is not."""
        self._flushing = False
        ready: list[bytes] = []
        ends = False
        while self._exchanges and not ends and (answer := self._exchanges[0].answer) is not None:
            ready.append(answer)
            ends = not self._exchanges.popleft().keep
        if self._transport.is_closing():
            return
        self._transport.write(b"".join(ready))
        if ends:
            self._transport.close()
            return
        while self._waiting and len(self._exchanges) < DEPTH:
            self._start_next()
        self._transport.resume_reading()

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > MOST_HEADERS:
            self._refuse_request(431, b"the headers are too large")

    def _refuse_request(self, status: int, text: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(ServerAnswer(status, text).encode_answer(keep=False))
            self._transport.close()
