"""The door: POST /<namespace>/<broker> takes one CloudEvent and answers 202 once it is stored."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, generate_latest

from driftloop.clients import events
from driftloop.clients.http import ServerAnswer, ServerRequest
from driftloop.clients.jetstream import Publisher, TooLargeError
from driftloop.errors import StoreError
from driftloop.local.knative.objects import KnativeBroker
from driftloop.local.knative.troubles import BrokerTroubles

HOPS = 255
TTL = "knativebrokerttl"
LIMIT = 1024 * 1024
AGAIN = 1
"""Seconds after which an event that could not be stored may be sent again."""

_UNSAFE = re.compile(r"[^A-Za-z0-9-]")


class LoopError(StoreError):
    """An event has been replied with too often."""


def type_token(type: str) -> str:
    """An event type as one token of a subject; two types may share one, so the exact filter still
    has the last word.
    """
    return _UNSAFE.sub("_", type)


class BrokerIngress:
    """Stores events for the Brokers it knows."""

    def __init__(
        self,
        publisher: Publisher,
        connected: Callable[[], bool],
        registry: CollectorRegistry,
        *,
        limit: int = LIMIT,
        troubles: BrokerTroubles,
    ) -> None:
        self._troubles = troubles
        self._publisher = publisher
        self._connected = connected
        self._limit = limit
        self._registry = registry
        self._answers = Counter(
            "driftloop_broker_ingress_events",
            "Events that reached the ingress, by answer",
            ["broker", "code"],
            registry=registry,
        )
        self._counted: dict[tuple[str, int], Counter] = {}
        self.brokers: Mapping[tuple[str, str], KnativeBroker] | None = None
        """None until the applied objects have been read for the first time."""

    async def store_event(self, broker: KnativeBroker, event: events.Event) -> None:
        """Keep an event on its Broker's stream; StoreError unless it is stored now."""
        attributes = dict(event.attributes)
        try:
            hops = int(attributes.get(TTL, HOPS))
        except ValueError:
            hops = HOPS
        if hops <= 0:
            raise LoopError(f"event {event.id} went through the broker {HOPS} times")
        attributes[TTL] = str(hops)
        attributes["knativearrivaltime"] = (
            datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        )
        await self._publisher.publish(
            f"{broker.subject}.{type_token(event.type)}",
            events.pack_event(events.Event(attributes, event.body)),
            message_id=event.key,
        )

    async def handle_request(self, request: ServerRequest) -> ServerAnswer:
        """Answer one request."""
        if request.method == "GET" and request.path == "/metrics":
            return ServerAnswer(200, generate_latest(self._registry))
        if request.method == "GET" and request.path == "/healthz":
            return ServerAnswer(200 if self._connected() else 503)
        status, text = await self._take_event(request)
        self._count_event(request.path.strip("/") if status != 404 else "unknown", status)
        return ServerAnswer(status, text.encode(), retry_after=AGAIN if status == 503 else None)

    async def _take_event(self, request: ServerRequest) -> tuple[int, str]:
        parts = request.path.strip("/").split("/")
        if request.method != "POST":
            return 405, "only POST"
        if self.brokers is None:
            return 503, "the broker has just started"
        broker = self.brokers.get((parts[0], parts[1])) if len(parts) == 2 else None
        if broker is None:
            return 404, f"no broker at {request.path}"
        if request.body is None:
            return 413, f"the event is larger than {self._limit} bytes"
        try:
            event = events.from_http(request.headers, request.body)
            await self.store_event(broker, event)
        except (events.MalformedEventError, LoopError) as error:
            return 400, error.message
        except TooLargeError as error:
            return 413, error.message
        except StoreError as error:
            self._troubles.note_trouble("the broker's store", error.message)
            return 503, error.message
        self._troubles.clear_trouble("the broker's store")
        return 202, ""

    def _count_event(self, broker: str, status: int) -> None:
        counter = self._counted.get((broker, status))
        if counter is None:
            counter = self._counted[broker, status] = self._answers.labels(broker, str(status))
        counter.inc()
