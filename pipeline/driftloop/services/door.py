"""POST /: keep an event in the service's stream and answer 202. Nothing is decoded or scored here, so the answer is
fast and a restart loses nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, generate_latest

from driftloop.clients import events
from driftloop.clients.events import Event
from driftloop.clients.http import ServerAnswer, ServerRequest
from driftloop.clients.jetstream import Publisher, TooLargeError
from driftloop.errors import StoreError

LIMIT = 4 * 1024 * 1024
RESULTS = ("stored", "repeated", "malformed", "foreign", "refused")


@dataclass(frozen=True)
class PlacedEvent:
    """An event, and where it is kept."""

    event: Event
    subject: str
    message_id: str


class EventDoor:
    """The HTTP side of a service that keeps its events in a stream before it reads them."""

    def __init__(
        self,
        publisher: Publisher,
        connected: Callable[[], bool],
        counter: Counter,
        *,
        registry: CollectorRegistry,
        results: Sequence[str] = RESULTS,
    ) -> None:
        """`counter` counts events by their result, `results` are all that it may have."""
        self._publisher = publisher
        self._connected = connected
        self._registry = registry
        self._counters = {name: counter.labels(name) for name in results}
        self.ready = False

    def place_event(self, event: Event) -> PlacedEvent | str:
        """Return where an event is kept, or the result of one that is not."""
        raise NotImplementedError

    async def hold_event(self, event: Event) -> None:
        """Wait before an event is stored, where something else goes first."""

    async def note_stored(self, placed: PlacedEvent, size: int) -> None:
        """Take note of an event that was stored, and had not been before."""

    def show_page(self, path: str) -> ServerAnswer | None:
        """Return the service's own page at a path; None where there is none."""
        raise NotImplementedError

    async def handle_request(self, request: ServerRequest) -> ServerAnswer:
        """Answer one request."""
        if request.method == "POST":
            return ServerAnswer(await self._take_event(request))
        match request.path:
            case "/healthz":
                return ServerAnswer(200 if self.ready and self._connected() else 503)
            case "/metrics":
                return ServerAnswer(200, generate_latest(self._registry))
        page = self.show_page(request.path)
        return page or ServerAnswer(404 if request.method == "GET" else 405)

    async def _take_event(self, request: ServerRequest) -> int:
        """202 also for what can't be an event of ours: any other answer would have it sent
        again, or dropped unseen."""
        if request.body is None:
            return self._count_result("malformed", 202)
        try:
            placed = self.place_event(events.from_http(request.headers, request.body))
        except events.MalformedEventError:
            return self._count_result("malformed", 202)
        if isinstance(placed, str):
            return self._count_result(placed, 202)
        await self.hold_event(placed.event)
        packed = events.pack_event(placed.event)
        try:
            new = await self._publisher.publish(
                placed.subject, packed, message_id=placed.message_id
            )
        except TooLargeError:
            return self._count_result("malformed", 202)
        except StoreError:
            return self._count_result("refused", 503)
        if new:
            await self.note_stored(placed, len(packed))
        return self._count_result("stored" if new else "repeated", 202)

    def _count_result(self, result: str, status: int) -> int:
        self._counters[result].inc()
        return status
