"""POST /: keep the event and answer 202. Nothing is scored here, so the answer is fast and a
restart loses nothing."""

import json
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, generate_latest

from driftloop.clients import events
from driftloop.clients.http import ServerAnswer, ServerRequest
from driftloop.clients.jetstream import Publisher, TooLargeError
from driftloop.contract.documents import to_json
from driftloop.contract.events import LABELS_GIVEN, PIPELINE, RELEASE
from driftloop.contract.streams import GIVEN_LABELS, DetectorStreams, is_release_token
from driftloop.contract.windows import OpenWindow
from driftloop.errors import StoreError
from driftloop.services.detector.stream.kept import KeptEvents
from driftloop.services.detector.stream.unjudged import UnjudgedWindows

LIMIT = 4 * 1024 * 1024
RESULTS = ("stored", "repeated", "malformed", "foreign", "refused")


class DetectorHandler:
    """The HTTP side of a detector."""

    def __init__(
        self,
        publisher: Publisher,
        connected: Callable[[], bool],
        names: DetectorStreams,
        *,
        registry: CollectorRegistry,
        unjudged: UnjudgedWindows,
        kept: KeptEvents,
        find_window: Callable[[], OpenWindow],
        labelled: bool = False,
    ) -> None:
        """`labelled`: it takes labels, too, and windows of other releases are not counted."""
        self._publisher = publisher
        self._connected = connected
        self._names = names
        self._registry = registry
        self._events = Counter(
            "driftloop_detector_events",
            "Events received, by result",
            ["result"],
            registry=registry,
        )
        self._unjudged = unjudged
        self._kept = kept
        self._find_window = find_window
        self._labelled = labelled
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
            case "/window":
                return ServerAnswer(200, json.dumps(to_json(self._find_window())).encode())
        return ServerAnswer(404 if request.method == "GET" else 405)

    async def _take_event(self, request: ServerRequest) -> int:
        """202 also for what can't be an event of ours: any other answer would have it sent
        again, or dropped unseen."""
        if request.body is None:
            return self._count_result("malformed", 202)
        try:
            event = events.from_http(request.headers, request.body)
        except events.MalformedEventError:
            return self._count_result("malformed", 202)
        given = self._labelled and event.type == LABELS_GIVEN
        release = GIVEN_LABELS if given else event.get(RELEASE)
        if release is None or not is_release_token(release):
            return self._count_result("malformed", 202)
        if event.get(PIPELINE) != self._names.pipeline:
            return self._count_result("foreign", 202)
        packed = events.pack_event(event)
        try:
            new = await self._publisher.publish(
                self._names.event_subject(release),
                packed,
                message_id=f"{self._names.detector}/{event.key}",
            )
        except TooLargeError:
            return self._count_result("malformed", 202)
        except StoreError:
            return self._count_result("refused", 503)
        if new and release not in (self._unjudged.reference, GIVEN_LABELS):
            if not self._labelled:
                await self._unjudged.add_event(release, event)
            await self._kept.add_event(release, len(packed))
        return self._count_result("stored" if new else "repeated", 202)

    def _count_result(self, result: str, status: int) -> int:
        self._counters[result].inc()
        return status
