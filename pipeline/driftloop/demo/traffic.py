"""The demo's load generator: rows sent one a request at a steady rate, and a tally of the
answers."""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp

from driftloop.errors import LocalError

MAX_IN_FLIGHT = 64
TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True)
class DigitRow:
    """One digit: 64 pixels and its label; `None` when there is no right answer."""

    pixels: tuple[float, ...]
    label: int | None


def read_rows(file: Path) -> tuple[DigitRow, ...]:
    """Return the rows of a .jsonl file of `{"x": [...], "y": 3}`; LocalError when it is empty."""
    rows = tuple(
        DigitRow(tuple(row["x"]), row.get("y"))
        for row in map(json.loads, file.read_text().splitlines())
    )
    if not rows:
        raise LocalError(
            f"{file} has no rows", hint="write it again with examples/digits/batches.py"
        )
    return rows


@dataclass(slots=True)
class TrafficTally:
    """The requests of one stretch of traffic, and their answers."""

    kind: str
    logged: bool = True
    """False: the platform makes no events of them."""
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    ids: list[str] = field(default_factory=list)
    """Request ids in the order they were sent."""
    right: int = 0
    labelled: int = 0
    """Answers to rows that have a label."""
    answered: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    """Failed requests by reason: a status code, or an error of the connection."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from sending to the whole answer, of answered requests."""

    @property
    def sent(self) -> int:
        """Number of requests sent."""
        return len(self.ids)

    @property
    def failed(self) -> int:
        """Number of failed requests."""
        return sum(self.errors.values())

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN before the first."""
        return self.right / self.labelled if self.labelled else math.nan

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.sent / max((self.ended or time.monotonic()) - self.started, 1e-9)

    def quantile(self, q: float) -> float:
        """Return the latency that this share of the answers stayed within, in seconds; NaN
        before the first."""
        ordered = sorted(self.latencies)
        return ordered[min(int(q * len(ordered)), len(ordered) - 1)] if ordered else math.nan

    def __str__(self) -> str:
        failed = f", {self.failed} failed {self.errors}" if self.errors else ""
        accuracy = "" if math.isnan(self.accuracy) else f", {100 * self.accuracy:.1f} % right"
        return (
            f"{self.sent} {self.kind} requests at {self.rate:.0f}/s{accuracy}, "
            f"p50 {1000 * self.quantile(0.5):.0f} ms, p99 {1000 * self.quantile(0.99):.0f} ms{failed}"
        )


class TrafficGenerator:
    """Sends rows to a prediction endpoint at `rate` requests per second while open; `turn`
    selects the rows.

    Slow answers delay nothing until `MAX_IN_FLIGHT` wait; then sending waits too, and the
    printed rate drops.
    """

    def __init__(
        self, url: str, rows: dict[str, tuple[DigitRow, ...]], *, rate: float, prefix: str
    ) -> None:
        self.url = url
        self._rows = rows
        self._rate = rate
        self._prefix = prefix
        self._count = 0
        self._tally: TrafficTally | None = None
        self.answers: list[tuple[float, bool]] = []
        """Moment of each answer to a row with a label, on the monotonic clock, and whether it was right."""
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._requests: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def open_traffic(
        cls, url: str, rows: dict[str, tuple[DigitRow, ...]], *, rate: float, prefix: str
    ) -> AsyncIterator[Self]:
        """Send inside the `with`; leaving it waits for the answers still due."""
        traffic = cls(url, rows, rate=rate, prefix=prefix)
        connector = aiohttp.TCPConnector(limit=MAX_IN_FLIGHT)
        async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
            sender = asyncio.create_task(traffic._send_rows(session))
            try:
                yield traffic
            finally:
                sender.cancel()
                await asyncio.gather(sender, *traffic._requests, return_exceptions=True)

    def switch_rows(self, kind: str, *, logged: bool = True) -> TrafficTally:
        """Send rows of this kind from now on and return their tally; the previous tally is
        closed."""
        if self._tally is not None:
            self._tally.ended = time.monotonic()
        self._tally = TrafficTally(kind, logged)
        return self._tally

    def pause_sending(self) -> None:
        """Send nothing until the next `turn`."""
        if self._tally is not None:
            self._tally.ended = time.monotonic()
        self._tally = None

    async def _send_rows(self, session: aiohttp.ClientSession) -> None:
        due = time.monotonic()
        while True:
            due = max(due + 1 / self._rate, time.monotonic() - 1)
            await asyncio.sleep(max(due - time.monotonic(), 0))
            tally = self._tally
            if tally is None:
                continue
            await self._room.acquire()
            rows = self._rows[tally.kind]
            row = rows[self._count % len(rows)]
            self._count += 1
            id = f"{self._prefix}-{self._count:06}"
            tally.ids.append(id)
            request = asyncio.create_task(self._send_row(session, id, row, tally))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)

    async def _send_row(
        self, session: aiohttp.ClientSession, id: str, row: DigitRow, tally: TrafficTally
    ) -> None:
        sent = time.monotonic()
        try:
            answer = await request_prediction(session, self.url, row, id=id, logged=tally.logged)
        except (aiohttp.ClientError, TimeoutError, LocalError) as error:
            reason = str(error) or type(error).__name__
            tally.errors[reason] = tally.errors.get(reason, 0) + 1
            return
        finally:
            self._room.release()
        tally.answered += 1
        tally.latencies.append(time.monotonic() - sent)
        if row.label is not None:
            tally.labelled += 1
            tally.right += answer == row.label
            self.answers.append((time.monotonic(), answer == row.label))


async def request_prediction(
    session: aiohttp.ClientSession, url: str, row: DigitRow, *, id: str, logged: bool = True
) -> int:
    """Return the class a model gives a row; LocalError when the answer is not a prediction,
    aiohttp's without one."""
    body = {"data": {"ndarray": [row.pixels]}}
    headers = {"Seldon-Puid": id} if logged else {"Seldon-Puid": id, "Seldon-Skip-Logging": "true"}
    async with session.post(url, json=body, headers=headers) as response:
        if response.status != 200:
            raise LocalError(f"HTTP {response.status}")
        answer = await response.json(content_type=None)
    try:
        scores = answer["data"]["ndarray"][0]
    except (KeyError, IndexError, TypeError) as error:
        raise LocalError("the answer is not a prediction") from error
    return max(range(len(scores)), key=scores.__getitem__)
