"""Calls that are repeated until NATS takes them."""

import asyncio
import logging
from typing import Any

from driftloop.errors import StoreError

LOG = logging.getLogger("argo")


async def patiently(call: Any, *arguments: Any) -> None:
    """Repeat a call until NATS takes it."""
    while True:
        try:
            await call(*arguments)
        except StoreError as error:
            LOG.warning("%s; trying again", error.message)
            await asyncio.sleep(1)
        else:
            return
