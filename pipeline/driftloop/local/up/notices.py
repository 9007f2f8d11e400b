"""Notices for people: what they should hear of, posted to a webhook of theirs as JSON.

The loop never waits for it: notices wait in a queue with an end, each is tried a few times, and what could not
be delivered is told in the status.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp

from driftloop.contract.times import format_now

NoticeKind = Literal["alarm", "refusal", "failure", "promotion", "waiting"]

MOST_WAITING = 200
"""Notices that wait for their delivery."""
TIMEOUT = 10.0
"""Seconds that the receiver may take to answer."""
WAITS = (1.0, 5.0, 25.0)
"""Seconds before each further try."""


@dataclass(frozen=True)
class Notice:
    """Something that people should hear of."""

    kind: NoticeKind
    namespace: str
    pipeline: str
    text: str
    """What happened, in one sentence."""
    why: str = ""
    run: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the body of its post."""
        return {**asdict(self), "time": format_now()}


class WebhookNotifier:
    """Posts notices to one address."""

    def __init__(self, url: str, *, waits: tuple[float, ...] = WAITS) -> None:
        self._url = url
        self._waits = waits
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_WAITING)
        self._lost = 0
        self._trouble = ""

    def add_notice(self, notice: Notice) -> None:
        """Have a notice delivered."""
        try:
            self._queue.put_nowait(notice.to_json())
        except asyncio.QueueFull:
            self._note_lost(f"more than {MOST_WAITING} wait")

    def list_troubles(self) -> list[str]:
        """Say how many notices were not delivered, and why the last was not; nothing when all were."""
        if not self._lost:
            return []
        # the path of such an address is often its secret
        return [
            f"{self._lost} notices did not reach {urlsplit(self._url).hostname}: {self._trouble}"
        ]

    async def deliver_forever(self) -> None:
        """Deliver until cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            while True:
                await self._deliver(session, await self._queue.get())

    async def _deliver(self, session: aiohttp.ClientSession, body: Mapping[str, Any]) -> None:
        trouble = ""
        for wait in (0.0, *self._waits):
            await asyncio.sleep(wait)
            try:
                async with session.post(self._url, json=body) as answer:
                    if answer.status < 300:
                        return
                    trouble = f"it answered {answer.status}"
                    if answer.status < 500 and answer.status != 429:
                        break
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                trouble = str(error) or type(error).__name__
        self._note_lost(f"{trouble}, {format_now()}")

    def _note_lost(self, trouble: str) -> None:
        self._lost += 1
        self._trouble = trouble
