"""Where each event of digits is, by its id: acknowledged, on the broker's stream, on each detector's, in a verdict."""

import asyncio
import contextlib
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import aiohttp
from support.streams import stored

from driftloop.clients import events
from driftloop.clients.nats import open_connection
from driftloop.demo.platform import DemoPlatform
from driftloop.demo.traffic import DigitRow

WINDOW = 200
"""Events of a window of both detectors of `examples/digits/plain.yaml`."""
DETECTORS = ("drift", "outlier")
REQUEST, RESPONSE = "io.seldon.serving.inference.request", "io.seldon.serving.inference.response"


@dataclass(frozen=True)
class Window:
    """What one stored verdict says it covers: first and last sequence of the detector's stream."""

    number: int
    first: int
    last: int
    events: int

    def holds(self, sequence: int) -> bool:
        """Whether an event of this sequence is in the window."""
        return self.first <= sequence <= self.last


@dataclass(frozen=True)
class Ledger:
    """Where each event of a release is, by its id."""

    requests: tuple[str, ...]
    """Request events on the broker's stream."""
    responses: tuple[str, ...]
    judge: tuple[str, ...]
    """Response events that the judge keeps."""
    delivered: dict[str, tuple[tuple[int, str], ...]]
    """Per detector: sequence and id of each event on its stream."""
    windows: dict[str, tuple[Window, ...]]
    logged: dict[str, frozenset[str]]
    """Per type of event: the ids of the predictions that have one on the stream."""

    @property
    def settled(self) -> bool:
        """Whether everything that was stored has come to where it belongs, and every full window is judged."""
        return len(self.judge) >= len(self.responses) and all(
            len(self.delivered[name]) >= len(self.requests)
            and len(self.windows[name]) >= len(self.delivered[name]) // WINDOW
            for name in DETECTORS
        )

    def __str__(self) -> str:
        windows = ", ".join(f"{name} {len(found)}" for name, found in self.windows.items())
        return f"{len(self.requests)} requests and {len(self.responses)} responses stored; windows judged: {windows}"

    def list_lost(self, acknowledged: Iterable[str]) -> list[str]:
        """Acknowledged events that are not on the stream, and stored ones that came to nobody or into no window."""
        lost = [f"{id}: not on the stream" for id in set(acknowledged) - set(self.requests)]
        lost += [f"{id}: not at the judge" for id in set(self.responses) - set(self.judge)]
        for name in DETECTORS:
            delivered = {id for _, id in self.delivered[name]}
            lost += [f"{id}: not at {name}" for id in set(self.requests) - delivered]
            times = self._count_windows(name)
            waiting = [id for id in delivered if not times[id]]
            last = self.windows[name][-1].last if self.windows[name] else 0
            late = {id for sequence, id in self.delivered[name] if sequence > last}
            lost += [f"{id}: in no window of {name}" for id in waiting if id not in late]
            if len(late) >= WINDOW:
                lost += [f"{id}: {name} judges no more" for id in late]
        return lost

    def list_doubled(self) -> list[str]:
        """Events that are twice where they belong once."""
        places = {"stream": self.requests, "stream of answers": self.responses, "judge": self.judge}
        places |= {name: tuple(id for _, id in self.delivered[name]) for name in DETECTORS}
        doubled = [
            f"{id}: {count} times at {place}"
            for place, ids in places.items()
            for id, count in Counter(ids).items()
            if count > 1
        ]
        for name in DETECTORS:
            doubled += [
                f"{id}: in {count} windows of {name}"
                for id, count in self._count_windows(name).items()
                if count > 1
            ]
        return doubled

    def list_misjudged(self) -> list[str]:
        """Windows that are out of order, or hold another number of events than they say."""
        wrong = []
        for name in DETECTORS:
            for number, window in enumerate(self.windows[name], 1):
                inside = sum(window.holds(sequence) for sequence, _ in self.delivered[name])
                if (window.number, inside, window.events) != (number, WINDOW, WINDOW):
                    wrong.append(f"{name}: window {number} is {window}, with {inside} events")
        return wrong

    def _count_windows(self, name: str) -> Counter[str]:
        return Counter(
            id
            for window in self.windows[name]
            for sequence, id in self.delivered[name]
            if window.holds(sequence)
        )


async def read_ledger(platform: DemoPlatform, release: str) -> Ledger:
    """Read all streams."""
    name = platform.name
    logged: dict[str, set[str]] = {REQUEST: set(), RESPONSE: set()}
    prefix = f"DRIFTLOOP_{name.upper()}_{name.upper()}"
    async with open_connection(platform.nats_url, name="test") as js:
        found: dict[str, list[str]] = {REQUEST: [], RESPONSE: []}
        for message in await stored(js, f"KN_{name.upper()}__DEFAULT"):
            event = events.unpack_event(message.data)
            if event.type in found and event.get("endpoint") == release:
                assert message.id == event.key
                found[event.type].append(event.id)
                logged[event.type].add(event.get("requestid") or event.id)
        delivered, windows = {}, {}
        for detector in DETECTORS:
            subject = f"driftloop.events.{name}.{name}.{detector}.{release}"
            delivered[detector] = tuple(
                (message.sequence, message.id.rpartition(" ")[2])
                for message in await stored(js, f"{prefix}_{detector.upper()}", subject=subject)
            )
            subject = f"driftloop.verdicts.{name}.{name}.{detector}.{release}"
            verdicts = [
                json.loads(m.data) for m in await stored(js, "DRIFTLOOP_VERDICTS", subject=subject)
            ]
            windows[detector] = tuple(
                Window(v["window"], v["firstSequence"], v["lastSequence"], v["details"]["events"])
                for v in verdicts
            )
        judge = tuple(
            message.id.rpartition(" ")[2] for message in await stored(js, f"{prefix}_JUDGE")
        )
    return Ledger(
        tuple(found[REQUEST]),
        tuple(found[RESPONSE]),
        judge,
        delivered,
        windows,
        {type: frozenset(ids) for type, ids in logged.items()},
    )


@dataclass
class EventPoster:
    """Posts request events of its own to the ingress, each until it is acknowledged, whatever dies meanwhile."""

    platform: DemoPlatform
    release: str
    rows: tuple[DigitRow, ...]
    acknowledged: set[str] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self, *, rate: float) -> AsyncIterator["EventPoster"]:
        """Posting while the `with` lasts; the event under way is still acknowledged."""
        ended = asyncio.Event()

        async def post() -> None:
            number = 0
            async with aiohttp.ClientSession() as session:
                while not ended.is_set():
                    await self._post(session, self.rows[number % len(self.rows)])
                    number += 1
                    await asyncio.sleep(1 / rate)

        task = asyncio.create_task(post())
        try:
            yield self
        finally:
            ended.set()
            await asyncio.wait_for(task, 60)

    async def _post(self, session: aiohttp.ClientSession, row: DigitRow) -> None:
        platform = self.platform
        attributes = {
            "inferenceservicename": platform.name,
            "namespace": platform.namespace,
            "endpoint": self.release,
        }
        body = {"data": {"ndarray": [row.pixels]}}
        event = events.make_event(REQUEST, "test", body, **attributes, requestid=str(uuid.uuid4()))
        while True:
            url = f"http://127.0.0.1:{platform.read_port('broker')}/{platform.namespace}/default"
            try:
                await events.post_event(session, url, event, timeout=8)
            except events.EventRefusedError:
                await asyncio.sleep(0.2)
                continue
            self.acknowledged.add(event.id)
            return
