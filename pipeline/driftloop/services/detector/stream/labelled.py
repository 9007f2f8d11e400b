"""Answers and labels of a detector's stream as rows: what of them is needed, and since when each is counted.

Everything that the stream holds is read again when a process begins, since a label may come long after its answer. What was
counted up to the last verdict stands in that verdict, so that only what follows is counted again.
"""

from collections import Counter
from dataclasses import dataclass

from nats.aio.msg import Msg

from driftloop.clients import events
from driftloop.clients.events import Event, MalformedEventError
from driftloop.clients.nats import MessagePosition
from driftloop.contract.documents import DocumentError
from driftloop.contract.events import (
    INFERENCE_REQUEST,
    INFERENCE_RESPONSE,
    LABELS_GIVEN,
    PROTOCOL,
    REQUEST_ID,
)
from driftloop.contract.labels import LabelBatch, LabelCounts
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.times import SECOND
from driftloop.services.detector.rows.join import LabelJoin
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.rows.values import RowFaults
from driftloop.services.detector.stream.joined import GIVEN_UP

OTHER_EVENT = "the event is not one that the detector reads"
BAD_LABELS = "an event of labels can't be read"


@dataclass(frozen=True)
class _Start:
    """Position that a reader goes on from."""

    judged: int
    """Last event of the last verdict."""
    counts: LabelCounts


class LabelledEvents:
    """Reads answers and labels, and where rows have columns of requests these, as joined rows."""

    given_up = "their labels come too late: raise `events.detector`, or lower the monitor's `wait`"

    def __init__(self, names: DetectorStreams, reader: LabelledReader, wait: float) -> None:
        self._names = names
        self._reader = reader
        self._wait = round(wait * SECOND)
        self._answered = names.event_subject(names.release)
        self.subjects = (self._answered, names.labels)
        self.restart(0, LabelCounts())

    @property
    def subject(self) -> str:
        """Subject of all that it reads: answers of every release, and labels."""
        return self._names.event_subject("*")

    @property
    def counts(self) -> LabelCounts:
        """Counts of labels, and of those that wait."""
        return self._join.current

    def restart(self, judged: int, counts: LabelCounts) -> None:
        """Forget all; the stream is read from its beginning, and counted from the event after `judged` on."""
        self._join = LabelJoin(self._reader, self._wait)
        self._start: _Start | None = _Start(judged, counts)
        self._open: int | None = None
        self._next = 1

    def find_needed(self) -> int:
        """Return the first event that is still needed."""
        known = (self._join.oldest, self._open, self._next)
        return min(each for each in known if each is not None)

    def close_window(self) -> None:
        """Take note that all rows so far are judged."""
        self._open = None

    def give_up_oldest(self) -> int:
        """Give up the oldest requests for want of room; how many these are."""
        return self._join.give_up_oldest(GIVEN_UP)

    def count_all(self) -> None:
        """Begin to count, when there is nothing after the last verdict."""
        if self._start is not None:
            self._join.recall(self._start.counts)
            self._start = None

    def read_event(self, message: Msg, where: MessagePosition) -> tuple[str, DecodedRows]:
        """Return the rows that an event joins; none of them is a repeat."""
        if self._start is not None and where.stream > self._start.judged:
            self.count_all()
        self._next = where.stream + 1
        oldest = self._join.oldest
        try:
            decoded = self._join_event(message, where)
        except (MalformedEventError, DocumentError):
            return "", DecodedRows(self._reader.no_rows(), RowFaults(Counter({BAD_LABELS: 1})))
        if len(decoded.rows) and self._start is None and self._open is None:
            # its rows may have parts in any event since the oldest request
            self._open = where.stream if oldest is None else oldest
        return "", decoded

    def _join_event(self, message: Msg, where: MessagePosition) -> DecodedRows:
        event = events.unpack_event(message.data)
        if event.type == LABELS_GIVEN and message.subject == self._names.labels:
            batch = LabelBatch.read(event.parse_json())
            return self._join.add_labels(where.stream, where.time, event.key, batch)
        if event.type == INFERENCE_REQUEST:
            self._take_request(event, message, where)
            return DecodedRows(self._reader.no_rows(), RowFaults())
        if event.type != INFERENCE_RESPONSE:
            return DecodedRows(self._reader.no_rows(), RowFaults(Counter({OTHER_EVENT: 1})))
        request = event.get(REQUEST_ID) or event.id
        if message.subject != self._answered:
            self._join.add_foreign(where.stream, where.time, request)
            return DecodedRows(self._reader.no_rows(), RowFaults())
        read = self._reader.read_response(event.body, event.get(PROTOCOL))
        if not read.answers:
            return DecodedRows(self._reader.no_rows(), read.faults)
        return self._join.add_answers(where.stream, where.time, request, read.answers, read.chances)

    def _take_request(self, event: Event, message: Msg, where: MessagePosition) -> None:
        """Take what rows have of a request; one of another release, or that can't be read, is as one that did not
        come."""
        if message.subject != self._answered:
            return
        asked = self._reader.read_request(event.body, event.get(PROTOCOL))
        if asked is not None:
            request = event.get(REQUEST_ID) or event.id
            self._join.add_request(where.stream, where.time, request, asked)
