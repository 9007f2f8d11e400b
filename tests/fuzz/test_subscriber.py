"""The fuzz run's own subscriber reads what it is sent whole: what it left would be its next request."""

import http.client
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import Process, free_port

from tests.fuzz import world


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    argv = [sys.executable, "-c", world.SUBSCRIBER, "--port", str(port)]
    process = Process(argv, tmp_path / "log", port).start()
    yield port
    process.kill()


@pytest.mark.parametrize("body", [b"", b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000])
def test_a_chunked_body_is_read_to_its_end(body: bytes, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(3):
        chunks = [part for part in (body[:7], body[7:]) if part]
        headers = {"ce-good": "1", "ce-id": str(number)}
        connection.request("POST", "/", iter(chunks), headers, encode_chunked=True)
        assert connection.getresponse().read() == b""
    connection.request("GET", "/")
    assert b'"seen": ["0", "1", "2"]' in connection.getresponse().read()
