"""The detector's door: events of its release, of others, which are kept for their detectors, and labels."""

import json
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from driftloop.clients.events import Event
from driftloop.clients.http import ServerAnswer
from driftloop.clients.jetstream import Publisher
from driftloop.contract.documents import to_json
from driftloop.contract.events import LABELS_GIVEN, PIPELINE, RELEASE
from driftloop.contract.streams import GIVEN_LABELS, DetectorStreams, is_release_token
from driftloop.contract.windows import OpenWindow
from driftloop.services.detector.stream.kept import KeptEvents
from driftloop.services.detector.stream.unjudged import UnjudgedWindows
from driftloop.services.door import EventDoor, PlacedEvent


class DetectorHandler(EventDoor):
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
        joined: bool = False,
    ) -> None:
        """`joined`: its rows are of several events, such as labels, and windows of other releases are not counted."""
        counter = Counter(
            "driftloop_detector_events",
            "Events received, by result",
            ["result"],
            registry=registry,
        )
        super().__init__(publisher, connected, counter, registry=registry)
        self._names = names
        self._unjudged = unjudged
        self._kept = kept
        self._find_window = find_window
        self._joined = joined

    def show_page(self, path: str) -> ServerAnswer | None:
        """Return the window that is not closed yet."""
        if path != "/window":
            return None
        return ServerAnswer(200, json.dumps(to_json(self._find_window())).encode())

    def place_event(self, event: Event) -> PlacedEvent | str:
        """Return the subject of an event's release, or of labels, or the result of one that is not kept."""
        release = self._find_release(event)
        if release is None or not is_release_token(release):
            return "malformed"
        if event.get(PIPELINE) != self._names.pipeline:
            return "foreign"
        return PlacedEvent(
            event, self._names.event_subject(release), f"{self._names.detector}/{event.key}"
        )

    async def note_stored(self, placed: PlacedEvent, size: int) -> None:
        """Count the rows of other releases, which no detector judges now, and the room that they take."""
        release = self._find_release(placed.event)
        if release is None or release in (self._unjudged.reference, GIVEN_LABELS):
            return
        if not self._joined:
            await self._unjudged.add_event(release, placed.event)
        await self._kept.add_event(release, size)

    def _find_release(self, event: Event) -> str | None:
        """Return whose subject an event belongs to; labels have one of their own."""
        given = self._joined and event.type == LABELS_GIVEN
        return GIVEN_LABELS if given else event.get(RELEASE)
