"""The recorder's door: which requests and answers are kept. What an event's release is at this moment is kept
with it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from driftloop.clients.events import Event
from driftloop.clients.http import ServerAnswer
from driftloop.clients.jetstream import Publisher
from driftloop.contract.captures import ROLE_ATTRIBUTE
from driftloop.contract.documents import DocumentError
from driftloop.contract.events import (
    INFERENCE_REQUEST,
    INFERENCE_RESPONSE,
    LABELS_GIVEN,
    PIPELINE,
    RELEASE,
    REQUEST_ID,
)
from driftloop.contract.labels import LabelBatch
from driftloop.contract.recorders import RecorderSettings
from driftloop.contract.streams import RecorderStreams, is_release_token
from driftloop.services import door
from driftloop.services.door import EventDoor, PlacedEvent
from driftloop.services.recorder.yielding import ARRIVAL, Yielder

SIDES = {INFERENCE_REQUEST: "request", INFERENCE_RESPONSE: "answer"}
LABEL_SIDE = "label"
RESULTS = (*door.RESULTS, "left-out")


class RecorderHandler(EventDoor):
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
        yielder: Yielder | None = None,
    ) -> None:
        """`yielder` has events wait where predictions need the same processors."""
        counter = Counter(
            "driftloop_recorder_events",
            "Events received, by result",
            ["result"],
            registry=registry,
        )
        super().__init__(publisher, connected, counter, registry=registry, results=RESULTS)
        self._names = names
        self._settings = settings
        self._describe = describe
        self._yielder = yielder

    def show_page(self, path: str) -> ServerAnswer | None:
        """Return what the recorder has written, and what waits."""
        if path != "/state":
            return None
        return ServerAnswer(200, json.dumps(self._describe()).encode(), "application/json")

    def place_event(self, event: Event) -> PlacedEvent | str:
        """Return the subject of an event's side, or the result of one that is not kept."""
        side, release = SIDES.get(event.type), event.get(RELEASE)
        if event.get(PIPELINE) != self._names.pipeline:
            return "foreign"
        if event.type == LABELS_GIVEN and self._settings.batches is not None:
            return self._place_labels(event)
        if side is None:
            return "foreign"
        if release is None or not is_release_token(release):
            return "malformed"
        if not is_chosen(event.get(REQUEST_ID) or event.id, self._settings.share):
            return "left-out"
        role = self._settings.find_role(release)
        return PlacedEvent(
            event.extend_attributes(**{ROLE_ATTRIBUTE: role}),
            self._names.event_subject(side),
            f"recorder/{event.key}",
        )

    async def hold_event(self, event: Event) -> None:
        """Wait while predictions have the processors."""
        if self._yielder is not None:
            await self._yielder.hold_event(event.get(ARRIVAL))

    def _place_labels(self, event: Event) -> PlacedEvent | str:
        try:
            LabelBatch.read(event.parse_json())
        except DocumentError:
            return "malformed"
        subject = self._names.event_subject(LABEL_SIDE)
        return PlacedEvent(event, subject, f"recorder/{event.key}")


def is_chosen(request: str, share: float) -> bool:
    """Return True for requests that are recorded: by a hash of the id, so that both halves of one are, or
    neither."""
    if share >= 1:
        return True
    digest = hashlib.sha256(request.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
