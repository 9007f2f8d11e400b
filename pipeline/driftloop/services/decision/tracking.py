"""Messages to a tracking server: runs that wait to be sent, and aliases that follow git.

Beside the decision and in no way of it: each look runs in a thread, and what fails is tried again
later, with longer pauses.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping
from dataclasses import replace

from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.clients.mlflow import MlflowClient
from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.contract.platform import S3_BUCKET
from driftloop.contract.times import format_now
from driftloop.contract.tracking import TrackingStatus
from driftloop.errors import PipelineError
from driftloop.services.decision.head import HeadReader
from driftloop.tracking.mirror import TrackingServer
from driftloop.tracking.outbox import TrackingBox
from driftloop.tracking.roles import load_versions
from driftloop.tracking.sync import send_aliases, send_waiting

log = logging.getLogger("decision")

LOOK = 10.0
"""Seconds between two looks."""
LONGEST_PAUSE = 300.0
"""Seconds between two looks at most, while the server does not answer."""
ATTEMPTS = 2
"""Of a call of the object store: another look follows anyway."""


class TrackingLoop:
    """Tells one pipeline's tracking server."""

    def __init__(
        self,
        box: TrackingBox,
        server: TrackingServer,
        head: HeadReader | None,
        registry: CollectorRegistry,
    ) -> None:
        self._box = box
        self._server = server
        self._head = head
        self._stopped = threading.Event()
        self._told: str | None = None
        self.status = TrackingStatus(server=server.client.url)
        self._sent = Counter(
            "driftloop_tracking_sent", "Runs sent to the tracking server", registry=registry
        )
        self._waiting = Gauge(
            "driftloop_tracking_waiting",
            "Runs that wait to be sent to the tracking server",
            registry=registry,
        )
        self._failing = Gauge(
            "driftloop_tracking_failing",
            "1 while the tracking server can't be told of something",
            registry=registry,
        )

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        *,
        pipeline: str,
        url: str,
        name: str,
        head: HeadReader | None,
        registry: CollectorRegistry,
    ) -> "TrackingLoop":
        """Return the loop of a server; StoreError or MissingSettingError when the environment has no
        object store."""
        store = ObjectStore.from_environment(environment, attempts=ATTEMPTS)
        box = TrackingBox(store, StoreLocation(S3_BUCKET.read(environment)), pipeline)
        server = TrackingServer(MlflowClient.from_environment(url, environment), name or pipeline)
        return cls(box, server, head, registry)

    async def run(self) -> None:
        """Look for ever."""
        pause = LOOK
        try:
            while True:
                commit, text = self._head.read_text() if self._head is not None else (None, None)
                well = await asyncio.to_thread(self._look, commit, text)
                pause = LOOK if well else min(2 * pause, LONGEST_PAUSE)
                await asyncio.sleep(pause)
        finally:
            # a thread can't be cancelled; it ends before its next run
            self._stopped.set()

    def _look(self, commit: str | None, text: str | None) -> bool:
        """Send what waits; False when something must be tried again."""
        waiting = 0
        try:
            waiting = len(self._box.list_waiting())
            result = send_waiting(self._box, self._server, go_on=lambda: not self._stopped.is_set())
            self._sent.inc(len(result.sent))
            waiting = max(0, waiting - len(result.sent))
            problems = result.problems
            if text is not None and (commit != self._told or result.sent):
                moved = send_aliases(self._box, self._server, load_versions(text))
                problems += moved.problems
                self._told = commit if not moved.problems else None
                for alias in moved.aliases:
                    log.info("tracking: %s", alias)
        except PipelineError as error:
            self._note((error.message,), waiting)
            return False
        if result.sent:
            log.info("tracking: %d runs are sent to %s", len(result.sent), self.status.server)
        self._note(problems, waiting)
        return not problems

    def _note(self, problems: tuple[str, ...], waiting: int) -> None:
        error = problems[0] if problems else ""
        if error and error != self.status.error:
            log.warning("tracking: %s; %d runs wait, tried again later", error, waiting)
        since = (self.status.since or format_now()) if error else None
        done = format_now() if not error else self.status.time
        self.status = replace(self.status, waiting=waiting, error=error, since=since, time=done)
        self._waiting.set(waiting)
        self._failing.set(bool(error))
