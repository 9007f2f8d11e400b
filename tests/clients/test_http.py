"""The door's HTTP server, spoken to byte by byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from support.processes import PATIENCE, free_port

from driftloop.clients import http
from driftloop.clients.http import MOST_HEADERS, EventServer, ServerAnswer, ServerRequest

LIMIT = 1000

WITHOUT_BODY = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"
GOOD = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


class Door:
    """Echoes how many requests it had got."""

    def __init__(self) -> None:
        self.got: list[ServerRequest] = []
        self.told = asyncio.Event()
        self.port = free_port()
        self.server = EventServer(self.handle, limit=LIMIT)

    async def handle(self, request: ServerRequest) -> ServerAnswer:
        self.got.append(request)
        number = len(self.got)
        if request.path == "/slow":
            await asyncio.sleep(0.1)
        if request.path == "/tell":
            self.told.set()
        if request.path == "/wait":
            await self.told.wait()
        return ServerAnswer(413 if request.body is None else 200, str(number).encode())

    async def say(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        try:
            return await asyncio.wait_for(reader.read(), PATIENCE)
        finally:
            writer.close()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    it = Door()
    await it.server.start("127.0.0.1", it.port)
    yield it
    await it.server.close()


async def test_a_client_keeps_its_connection(door: Door) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        for number in range(5):
            address = f"http://127.0.0.1:{door.port}/a/b?x=1"
            async with session.post(address, data=b"x" * number, headers={"Ce-Id": "1"}) as answer:
                assert (answer.status, await answer.text()) == (200, str(number + 1))
    assert [len(request.body or b"") for request in door.got] == [0, 1, 2, 3, 4]
    assert {(request.path, request.method, request.headers["ce-id"]) for request in door.got} == {
        ("/a/b", "POST", "1")
    }


async def test_pipelined_requests_are_answered_in_order(door: Door) -> None:
    one = b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"
    last = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    answer = await door.say(one + one + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert [part[:1] for part in answer.split(b"\r\n\r\n")[1:]] == [b"1", b"2", b"3"]


async def test_pipelined_requests_are_worked_on_at_once(door: Door) -> None:
    """The first one is answered when the last one has come, and before it; more than are taken at once wait."""
    first = b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n"
    most = (http.DEPTH - 2) * b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    rest = 200 * b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + GOOD
    answer = await door.say(first + most + b"GET /tell HTTP/1.1\r\nhost: x\r\n\r\n" + rest)
    numbers = [part.partition(b"HTTP")[0] for part in answer.split(b"\r\n\r\n")[1:]]
    assert [int(number) for number in numbers] == [*range(1, http.DEPTH + 202)]


async def test_chunked_bodies_and_expectations(door: Door) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await door.say(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert door.got[0].body == b"abcde"


async def test_a_body_over_the_limit_is_not_kept(door: Door) -> None:
    length = LIMIT + 1
    head = f"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n".encode()
    assert (await door.say(head + b"x" * length)).startswith(b"HTTP/1.1 413")
    assert door.got[0].body is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00", b"400"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", b"431"),
    ],
)
async def test_what_is_not_acceptable_ends_the_connection(
    door: Door, data: bytes, status: bytes
) -> None:
    assert (await door.say(data)).split(b" ")[1] == status


async def test_a_client_that_hangs_up_leaves_nothing(door: Door) -> None:
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"POST /slow HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
    await asyncio.sleep(0.3)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{door.port}/") as answer,
    ):
        assert answer.status == 200


async def test_a_body_without_end_is_cut_off(door: Door) -> None:
    try:
        answer = await door.say(
            b"POST / HTTP/1.1\r\ncontent-length: 10000000\r\n\r\n" + b"z" * 200_000
        )
        assert answer.startswith(b"HTTP/1.1 413")
    except ConnectionResetError:
        pass  # it hung up while we were still sending; what it said is lost on the way
    assert door.got == []


async def test_a_header_without_end_is_cut_off(door: Door) -> None:
    """Not at its end, which never comes: what is buffered until then is bounded."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nlong: ")
    sent = 0
    try:
        while sent < 64 * MOST_HEADERS:
            writer.write(b"y" * 16384)
            await writer.drain()
            sent += 16384
            await asyncio.sleep(0.001)
    except ConnectionError:
        pass
    assert sent < 32 * MOST_HEADERS
    with contextlib.suppress(ConnectionError):
        assert b" 431 " in await asyncio.wait_for(reader.readline(), PATIENCE)
    writer.close()
    assert door.got == []


async def test_a_large_pipelined_body_is_no_header(door: Door) -> None:
    """The start of the next request comes in one piece with the end of a body."""
    body = b"x" * (2 * MOST_HEADERS)
    door.server.limit = len(body)
    first = f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(first[:20])
    await asyncio.sleep(0.05)
    writer.write(first[20:] + body + b"GET / HT")
    await asyncio.sleep(0.05)
    writer.write(b"TP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert answer.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("begun", [b"", b"POST / HTTP/1.1\r\nhost: x\r\n", WITHOUT_BODY])
async def test_half_open_connections_shut_nobody_out(
    door: Door, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD_TIME", 2.0)
    monkeypatch.setattr(http, "REQUEST_TIME", 2.0)
    connections = []
    for _ in range(1100):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(begun)
        connections.append((reader, writer))
        if len(connections) % 100 == 0:
            assert b"HTTP/1.1 200 OK" in await door.say(GOOD)
    ends = await asyncio.wait_for(
        asyncio.gather(*(reader.read() for reader, _ in connections), return_exceptions=True),
        PATIENCE,
    )
    assert len(ends) == 1100, "all are closed when their time is over"
    for _, writer in connections:
        writer.close()
    assert b"HTTP/1.1 200 OK" in await door.say(GOOD)


async def test_an_idle_connection_is_kept(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two requests a client may take its time."""
    monkeypatch.setattr(http, "HEAD_TIME", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        await asyncio.sleep(2.5)
    writer.close()
