"""Blocking work in a thread that may be let go of: it is asked to stop, and never keeps this
process from ending.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds in which work that was asked to stop is waited for."""


async def run_in_thread(work: Callable[[threading.Event], T], *, patience: float = PATIENCE) -> T:
    """Run `work` in a thread and return its result.

    On cancellation the event is set, and `work` has `patience` seconds to end.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()
    stop = threading.Event()

    def settle_future(result: T | None, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(result)  # type: ignore[arg-type]

    def run_work() -> None:
        result: T | None = None
        failed: BaseException | None = None
        try:
            result = work(stop)
        except BaseException as error:
            failed = error
        # the loop may be closed, so the result is dropped
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle_future, result, failed)

    threading.Thread(target=run_work, daemon=True, name="background").start()
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([ended], timeout=patience)
        if ended.done() and not ended.cancelled():
            ended.exception()
        raise
