"""The smallest HTTP client that does: one GET to a loopback port, without a session."""

import asyncio


async def get(host: str, port: int, path: str, *, timeout: float = 5.0) -> tuple[int, bytes]:  # noqa: ASYNC109
    """Status and body. OSError (also TimeoutError) when nothing answers properly."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                # HTTP/1.0: no chunks, and the end of the connection is the end of the body
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except TimeoutError as error:
        raise OSError(f"no answer within {timeout:g} s") from error
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise OSError("not an HTTP answer")
    return int(words[1]), body
