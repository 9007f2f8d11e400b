"""Cancellation that is not lost in Python 3.11.

`asyncio.wait_for` swallows a cancellation there when its awaitable ends in the same turn of the
event loop (python/cpython#86296, mended in 3.12). nats-py waits with it in every call, so a task
that reads from NATS could go on for ever after it was cancelled. Programs start their event loop
with `run`; importing this module changes nothing.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(
    main: Coroutine[Any, Any, T],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run a program's coroutine as `asyncio.run` does, in a process whose `wait_for` is mended."""
    mend()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)


def mend() -> None:
    """Replace `asyncio.wait_for` of this process by Python 3.12's; do nothing from 3.12 on."""
    if sys.version_info < (3, 12):
        asyncio.wait_for = wait_for  # type: ignore[assignment]


async def wait_for(fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109 - the standard library's signature
    """Wait as `asyncio.wait_for` of Python 3.12: in this task, and without losing a
    cancellation."""
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
