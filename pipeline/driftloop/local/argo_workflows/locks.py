"""Mutexes between Workflows, first come first served."""

import asyncio


class Mutexes:
    """One lock per name, made when first asked for."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    def of(self, key: str) -> asyncio.Lock:
        """The lock `key` (`<namespace>/Mutex/<name>`)."""
        return self._locks.setdefault(key, asyncio.Lock())
