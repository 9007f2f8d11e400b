"""The door: POST /<namespace>/<broker> takes one CloudEvent and answers 202 once it is stored."""

import asyncio
import functools
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, generate_latest

from pipeline.clients import events
from pipeline.clients.jetstream import Publisher, TooLargeError
from pipeline.errors import StoreError
from pipeline.runtimes.local.broker.objects import Broker

HOPS = 255
TTL = "knativebrokerttl"
LIMIT = 1024 * 1024

_UNSAFE = re.compile(r"[^A-Za-z0-9-]")


class LoopError(StoreError):
    """An event has been replied with too often."""


def type_token(type: str) -> str:
    """An event type as one token of a subject; two types may share one, so the exact filter still has the last word."""
    return _UNSAFE.sub("_", type)


class Ingress:
    """Stores events for the Brokers it knows."""

    def __init__(
        self, publisher: Publisher, connected: Callable[[], bool], registry: CollectorRegistry, *, limit: int = LIMIT
    ) -> None:
        self._publisher = publisher
        self._connected = connected
        self._limit = limit
        self._registry = registry
        self._answers = Counter(
            "broker_ingress_events", "Events that reached the ingress, by answer", ["broker", "code"], registry=registry
        )
        self.brokers: Mapping[tuple[str, str], Broker] = {}

    async def store(self, broker: Broker, event: events.Event) -> None:
        """Keep an event on its Broker's stream; StoreError unless it is stored now."""
        attributes = dict(event.attributes)
        try:
            hops = int(attributes.get(TTL, HOPS))
        except ValueError:
            hops = HOPS
        if hops <= 0:
            raise LoopError(f"event {event.id} went through the broker {HOPS} times")
        attributes[TTL] = str(hops)
        attributes["knativearrivaltime"] = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        await self._publisher.publish(
            f"{broker.subject}.{type_token(event.type)}",
            events.pack(events.Event(attributes, event.body)),
            message_id=event.id,
        )

    def server(self) -> web.Server:
        """The HTTP server of this ingress, without the router and middlewares it does not need."""

        request = functools.partial(web.BaseRequest, loop=asyncio.get_running_loop(), client_max_size=self._limit)
        return web.Server(self._handle, request_factory=request, access_log=None)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if request.method == "GET" and path == "/metrics":
            return web.Response(body=generate_latest(self._registry), content_type="text/plain")
        if request.method == "GET" and path == "/healthz":
            ready = self._connected()
            return web.Response(status=200 if ready else 503)
        status, text = await self._take(request, path)
        name = path.strip("/") if status != 404 else "unknown"
        self._answers.labels(name, str(status)).inc()
        return web.Response(status=status, text=text or None)

    async def _take(self, request: web.BaseRequest, path: str) -> tuple[int, str]:
        parts = path.strip("/").split("/")
        broker = self.brokers.get((parts[0], parts[1])) if len(parts) == 2 else None
        if request.method != "POST":
            return 405, "only POST"
        if broker is None:
            return 404, f"no broker at {path}"
        if (request.content_length or 0) > self._limit:
            return 413, f"the event is larger than {self._limit} bytes"
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return 413, f"the event is larger than {self._limit} bytes"
        try:
            event = events.from_http(request.headers, body)
            await self.store(broker, event)
        except (events.MalformedEventError, LoopError) as error:
            return 400, error.message
        except TooLargeError as error:
            return 413, error.message
        except StoreError as error:
            return 503, error.message
        return 202, ""


def arrived(event: events.Event) -> float:
    """When the event reached its broker, seconds since 1970; now when it does not say."""
    text = event.get("knativearrivaltime")
    return datetime.fromisoformat(text).timestamp() if text else time.time()
