"""What the broker's courier sends over a connection, and what becomes of it when the other side hangs up."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from support.processes import PATIENCE, free_port

from driftloop.clients.http import DEPTH_HEADER, EventServer, ServerAnswer, ServerRequest
from driftloop.local.knative.courier import Courier, UnreachableError

HEADERS = {"Host": "x"}


class Subscriber:
    """Answers over plain sockets: how many requests of a connection it has at once, and hangs up after some."""

    def __init__(self, *, depth: int | None = None, most: int = 10**6) -> None:
        self.port = free_port()
        self.got: Counter[bytes] = Counter()
        self.largest = 0
        """Requests that came in one piece, of those that were looked for."""
        self._depth = depth
        self._most = most

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._take, "127.0.0.1", self.port)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = f"{DEPTH_HEADER}: {self._depth}\r\n" if self._depth is not None else ""
        for _ in range(self._most):
            try:
                await reader.readuntil(b"content-length: 4\r\n\r\n")
                body = await reader.readexactly(4)
                # what has come meanwhile, without an answer
                await asyncio.sleep(0.001)
                self.largest = max(self.largest, 1 + bytes(reader._buffer).count(b"POST /"))  # type: ignore[attr-defined]
            except asyncio.IncompleteReadError:
                break
            self.got[body] += 1
            head = f"HTTP/1.1 200 OK\r\n{line}content-length: 4\r\n\r\n"
            writer.write(head.encode() + body)
        writer.close()


@pytest.fixture
async def courier() -> AsyncIterator[Courier]:
    it = Courier()
    yield it
    it.close_idle()


async def post_numbers(courier: Courier, port: int, count: int) -> list[bytes]:
    """Bodies of the answers to as many posts, 40 at a time."""
    limit = asyncio.Semaphore(40)

    async def post(number: int) -> bytes:
        async with limit:
            body = b"%04d" % number
            answer = await courier.post_event(
                f"127.0.0.1:{port}", "/", HEADERS, body, patience=PATIENCE
            )
            return answer.body

    return await asyncio.gather(*map(post, range(count)))


async def test_a_subscriber_that_says_nothing_gets_one_at_a_time(courier: Courier) -> None:
    subscriber = Subscriber()
    async with await subscriber.serve():
        answers = await post_numbers(courier, subscriber.port, 120)
    assert answers == [b"%04d" % number for number in range(120)]
    assert subscriber.largest == 1


async def test_one_that_says_how_many_gets_them(courier: Courier) -> None:
    subscriber = Subscriber(depth=8)
    async with await subscriber.serve():
        answers = await post_numbers(courier, subscriber.port, 400)
    assert answers == [b"%04d" % number for number in range(400)]
    assert 1 < subscriber.largest <= 8


async def test_what_had_no_answer_when_it_hung_up_is_sent_again(courier: Courier) -> None:
    """It ends each connection after five answers, without a word before."""
    subscriber = Subscriber(depth=16, most=5)
    async with await subscriber.serve():
        answers = await post_numbers(courier, subscriber.port, 100)
    assert answers == [b"%04d" % number for number in range(100)]
    assert set(subscriber.got) == set(answers)


async def test_our_own_server_is_asked_many_at_once(courier: Courier) -> None:
    under_way = most = 0

    async def handle(request: ServerRequest) -> ServerAnswer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return ServerAnswer(200, request.body or b"")

    server, port = EventServer(handle, limit=1000), free_port()
    await server.start("127.0.0.1", port)
    answers = await post_numbers(courier, port, 300)
    await server.close()
    assert answers == [b"%04d" % number for number in range(300)]
    assert most > 1


async def test_what_comes_too_late_fails_those_behind_it(courier: Courier) -> None:
    """Each of them is sent again by the dispatcher, which counts its attempts."""

    async def handle(request: ServerRequest) -> ServerAnswer:
        await asyncio.sleep(0 if request.body == b"0000" else 5)
        return ServerAnswer(200)

    server, port = EventServer(handle, limit=1000), free_port()
    await server.start("127.0.0.1", port)
    address = f"127.0.0.1:{port}"
    await courier.post_event(address, "/", HEADERS, b"0000", patience=PATIENCE)
    results = await asyncio.gather(
        courier.post_event(address, "/", HEADERS, b"0001", patience=0.1),
        courier.post_event(address, "/", HEADERS, b"0002", patience=PATIENCE),
        return_exceptions=True,
    )
    await server.close()
    assert [type(result) for result in results] == [UnreachableError, UnreachableError]
