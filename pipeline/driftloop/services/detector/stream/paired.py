"""Requests and answers of a detector's stream as rows of both, for estimates of errors.

Everything that the stream holds is read again when a process begins: which answers had their request is known by that alone.
"""

from nats.aio.msg import Msg

from driftloop.clients import events
from driftloop.clients.nats import DUPLICATE_WINDOW, MessagePosition
from driftloop.contract.events import INFERENCE_REQUEST, INFERENCE_RESPONSE, PROTOCOL, REQUEST_ID
from driftloop.contract.labels import LabelCounts
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.times import SECOND
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.rows.pairing import RequestPairing
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.rows.values import RowFaults
from driftloop.services.detector.stream.joined import GIVEN_UP
from driftloop.services.detector.stream.labelled import OTHER_EVENT

WAIT = round(2 * DUPLICATE_WINDOW * SECOND)
"""Nanoseconds for which a request and its answer wait for each other, and either may come again."""


class PairedEvents:
    """Reads requests and answers as paired rows."""

    given_up = (
        "their answers are not judged if they are still to come: raise `events.detector`, or lower the monitor's "
        "`window`"
    )
    counts = None

    def __init__(self, names: DetectorStreams, reader: LabelledReader) -> None:
        self._reader = reader
        self.subject = names.event_subject(names.release)
        self.subjects = (self.subject,)
        self.restart(0, LabelCounts())

    def restart(self, judged: int, counts: LabelCounts) -> None:
        """Forget all; the stream is read from its beginning."""
        self._pairing = RequestPairing(self._reader, WAIT)
        self._judged = judged
        self._open: int | None = None
        self._next = 1

    def find_needed(self) -> int:
        """Return the first event that is still needed."""
        known = (self._pairing.oldest, self._open, self._next)
        return min(each for each in known if each is not None)

    def close_window(self) -> None:
        """Take note that all rows so far are judged."""
        self._open = None

    def give_up_oldest(self) -> int:
        """Give up the oldest requests for want of room; how many these are."""
        return self._pairing.give_up_oldest(GIVEN_UP)

    def count_all(self) -> None:
        """Nothing is counted but rows."""

    def read_event(self, message: Msg, where: MessagePosition) -> tuple[str, DecodedRows]:
        """Return the rows that an event pairs, and their request."""
        self._next = where.stream + 1
        oldest = self._pairing.oldest
        event = events.unpack_event(message.data)
        request = event.get(REQUEST_ID) or event.id
        rows, faults = self._reader.no_rows(), RowFaults()
        protocol = event.get(PROTOCOL)
        if event.type == INFERENCE_REQUEST:
            asked = self._reader.read_request(event.body, protocol)
            rows = self._pairing.add_request(where.stream, where.time, request, asked)
        elif event.type == INFERENCE_RESPONSE:
            read = self._reader.read_response(event.body, protocol)
            faults.add_faults(read.faults)
            if read.answers:
                answers = self._reader.encode_answers(read)
                rows = self._pairing.add_answers(where.stream, where.time, request, answers)
        else:
            faults.rejected[OTHER_EVENT] += 1
        faults.add_faults(self._pairing.take_faults())
        if len(rows) and where.stream > self._judged and self._open is None:
            # its rows may have parts in any event since the oldest request
            self._open = where.stream if oldest is None else oldest
        return request, DecodedRows(rows, faults)
