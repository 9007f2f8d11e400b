"""POST /: keep the event and answer 202. What its release is at this moment is kept with it; nothing is
decoded here."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest

from driftloop.clients import events
from driftloop.clients.http import ServerAnswer, ServerRequest
from driftloop.clients.jetstream import Publisher, TooLargeError
from driftloop.contract.captures import ROLE_ATTRIBUTE, RecorderSettings
from driftloop.contract.events import (
    INFERENCE_REQUEST,
    INFERENCE_RESPONSE,
    PIPELINE,
    RELEASE,
    REQUEST_ID,
)
from driftloop.contract.streams import RecorderStreams, is_release_token
from driftloop.errors import StoreError

LIMIT = 4 * 1024 * 1024
SIDES = {INFERENCE_REQUEST: "request", INFERENCE_RESPONSE: "answer"}
RESULTS = ("stored", "repeated", "malformed", "foreign", "refused", "left-out")


class RecorderHandler:
    """The HTTP side of a recorder."""

    def __init__(
        self,
        publisher: Publisher,
        connected: Callable[[], bool],
        names: RecorderStreams,
        settings: RecorderSettings,
        *,
        registry: CollectorRegistry,
        describe: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._publisher = publisher
        self._connected = connected
        self._names = names
        self._settings = settings
        self._registry = registry
        self._describe = describe
        self._events = Counter(
            "driftloop_recorder_events",
            "Events received, by result",
            ["result"],
            registry=registry,
        )
        self._counters = {name: self._events.labels(name) for name in RESULTS}
        self.ready = False

    async def handle_request(self, request: ServerRequest) -> ServerAnswer:
        """Answer one request."""
        if request.method == "POST":
            return ServerAnswer(await self._take_event(request))
        match request.path:
            case "/healthz":
                return ServerAnswer(200 if self.ready and self._connected() else 503)
            case "/metrics":
                return ServerAnswer(200, generate_latest(self._registry))
            case "/state":
                return ServerAnswer(200, json.dumps(self._describe()).encode(), "application/json")
        return ServerAnswer(404 if request.method == "GET" else 405)

    async def _take_event(self, request: ServerRequest) -> int:
        """202 also for what can't be an event of ours: sent again it would be no better."""
        if request.body is None:
            return self._count_result("malformed", 202)
        try:
            event = events.from_http(request.headers, request.body)
        except events.MalformedEventError:
            return self._count_result("malformed", 202)
        side, release = SIDES.get(event.type), event.get(RELEASE)
        if side is None or event.get(PIPELINE) != self._names.pipeline:
            return self._count_result("foreign", 202)
        if release is None or not is_release_token(release):
            return self._count_result("malformed", 202)
        if not is_chosen(event.get(REQUEST_ID) or event.id, self._settings.share):
            return self._count_result("left-out", 202)
        role = self._settings.find_role(release)
        packed = events.pack_event(event.extend_attributes(**{ROLE_ATTRIBUTE: role}))
        try:
            new = await self._publisher.publish(
                self._names.event_subject(side), packed, message_id=f"recorder/{event.key}"
            )
        except TooLargeError:
            return self._count_result("malformed", 202)
        except StoreError:
            return self._count_result("refused", 503)
        return self._count_result("stored" if new else "repeated", 202)

    def _count_result(self, result: str, status: int) -> int:
        self._counters[result].inc()
        return status


def is_chosen(request: str, share: float) -> bool:
    """Return True for requests that are recorded: by a hash of the id, so that both halves of one are, or
    neither."""
    if share >= 1:
        return True
    digest = hashlib.sha256(request.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
