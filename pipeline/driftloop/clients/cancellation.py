"""Cancellation that arrives, with Python 3.11.

There `asyncio.wait_for` swallows a cancellation when what it waits for ends in the same turn of the event loop
(python/cpython#86296, mended in 3.12). nats-py waits with it in every call, so a task that reads from NATS could go on
for ever after it was told to stop.
"""

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


def mend() -> None:
    """Every `asyncio.wait_for` of this process waits as in Python 3.12 afterwards; nothing changes from 3.12 on."""
    if sys.version_info < (3, 12):
        asyncio.wait_for = wait_for  # type: ignore[assignment]


async def wait_for(fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109 - the standard library's signature
    """As `asyncio.wait_for` in Python 3.12: what is waited for runs in this task, and no cancellation is lost."""
    if timeout is not None and timeout <= 0:
        future = asyncio.ensure_future(fut)
        if future.done():
            return future.result()
        future.cancel()
        try:
            return await future
        except asyncio.CancelledError as error:
            raise TimeoutError from error
    async with asyncio.timeout(timeout):
        return await fut
