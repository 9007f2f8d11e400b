"""POST /labels: right answers to requests, which monitors of labels wait for.

A label is acknowledged when the broker has stored it. The door holds nothing itself: what was accepted goes on
to every monitor that reads labels, also when this program ends in the next moment.
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator

import aiohttp
from prometheus_client import CollectorRegistry, Counter

from driftloop.clients import events
from driftloop.clients.events import EventRefusedError
from driftloop.contract.documents import escape_text, parse_json, to_json
from driftloop.contract.events import LABELS_GIVEN, NAMESPACE, PIPELINE, event_source
from driftloop.contract.labels import (
    LABELS,
    LARGEST_SENT,
    LARGEST_TOGETHER,
    MOST_SHOWN,
    MOST_TOGETHER,
    LabelBatch,
    LabelReceipt,
    RequestLabel,
    read_sent,
)

log = logging.getLogger("decision")

MOST_AT_ONCE = 4
"""Requests that are handled at once; more are answered 429."""
RESULTS = ("accepted", "malformed", "refused")


class BusyError(Exception):
    """Too many requests at once."""


class LabelsRefusedError(Exception):
    """The broker did not take all of the labels."""

    def __init__(self, message: str, receipt: LabelReceipt) -> None:
        super().__init__(message)
        self.message = message
        self.receipt = receipt


class LabelDoor:
    """Turns labels into events of the broker."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        namespace: str,
        pipeline: str,
        broker: str,
        registry: CollectorRegistry,
    ) -> None:
        self._session = session
        self._namespace = namespace
        self._pipeline = pipeline
        self._broker = broker
        self._given = 0
        self._handled = 0
        self._labels = Counter(
            "driftloop_decision_labels",
            "Labels that were posted, by result",
            ["result"],
            registry=registry,
        )
        for result in RESULTS:
            self._labels.labels(result)

    async def take_labels(self, body: bytes) -> LabelReceipt:
        """Store the labels in a body; DocumentError for one that has none, BusyError for one of too many, and
        LabelsRefusedError when the broker does not take them."""
        if self._handled >= MOST_AT_ONCE:
            raise BusyError
        self._handled += 1
        try:
            return await self._store_labels(body)
        finally:
            self._handled -= 1

    async def _store_labels(self, body: bytes) -> LabelReceipt:
        sent = read_sent(parse_json(body, label="the body", longest=LARGEST_SENT))
        reasons = tuple(map(escape_text, sent.malformed[:MOST_SHOWN]))
        malformed = len(sent.malformed)
        self._labels.labels("malformed").inc(malformed)
        accepted = 0
        for part in split_labels(sent.labels):
            self._given = max(self._given + 1, time.time_ns() // 1000)
            event = self._make_event(part, given=self._given)
            try:
                await events.post_event(self._session, self._broker, event)
            except EventRefusedError as error:
                self._labels.labels("refused").inc(len(sent.labels) - accepted)
                log.warning("the broker did not take labels: %s", error.message)
                raise LabelsRefusedError(
                    error.message,
                    LabelReceipt(accepted=accepted, malformed=malformed, reasons=reasons),
                ) from error
            accepted += len(part)
            self._labels.labels("accepted").inc(len(part))
        return LabelReceipt(accepted=accepted, malformed=malformed, reasons=reasons)

    async def pass_on(self, part: tuple[RequestLabel, ...], *, id: str, given: int) -> None:
        """Store labels that one event may have, as given at a time (microseconds since 1970); LabelsRefusedError when
        the broker does not take them. The same event however often it is made."""
        event = self._make_event(part, given=given, id=id)
        try:
            await events.post_event(self._session, self._broker, event)
        except EventRefusedError as error:
            self._labels.labels("refused").inc(len(part))
            raise LabelsRefusedError(error.message, LabelReceipt(accepted=0)) from error
        self._labels.labels("accepted").inc(len(part))

    def _make_event(
        self, labels: tuple[RequestLabel, ...], *, given: int, id: str | None = None
    ) -> events.Event:
        return events.make_event(
            LABELS_GIVEN,
            f"{event_source(self._namespace, self._pipeline)}/{LABELS}",
            to_json(LabelBatch(given=given, labels=labels)),
            id=id,
            **{PIPELINE: self._pipeline, NAMESPACE: self._namespace},
        )


def split_labels(labels: Iterable[RequestLabel]) -> Iterator[tuple[RequestLabel, ...]]:
    """Yield labels in parts that one event may have."""
    part: list[RequestLabel] = []
    size = 0
    for label in labels:
        more = len(json.dumps(to_json(label)))
        if part and (len(part) == MOST_TOGETHER or size + more > LARGEST_TOGETHER):
            yield tuple(part)
            part, size = [], 0
        part.append(label)
        size += more
    if part:
        yield tuple(part)
