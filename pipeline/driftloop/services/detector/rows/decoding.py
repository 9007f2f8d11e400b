"""Choice of the decoder of a detector's events: that of what its artifact was fitted on.

When the spec changes what a monitor reads, its running release still has the artifact of the other side.
Comparing answers with training data, or requests with answers, means nothing: no row is judged until the next
release, and each is counted with the reason.
"""

from collections import Counter
from dataclasses import replace
from typing import Literal

from driftloop.contract.handovers import LABELLED_KINDS, MIXED_KINDS, DetectorSettings
from driftloop.contract.profiles import TableKind
from driftloop.release.tables import BAD_PAYLOAD, read_answer_table
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.rows.answers import AnswerDecoder
from driftloop.services.detector.rows.labelled import LabelledReader, UnlabelledReader
from driftloop.services.detector.rows.payload import DecodedRows, EventDecoder, RowDecoder
from driftloop.services.detector.rows.values import RowFaults, Rows

OTHER_SIDE = {
    "response": "it was fitted on training data; answers have a reference from the next release on",
    "request": "it was fitted on answers; requests have a reference from the next release on",
}
"""Why no row is judged, by what the detector reads."""


ELSEWHERE = ("function", "alibi")
"""Kinds whose detectors need more than the pod of another kind has."""

SIDES: dict[TableKind, Literal["request", "response", "label"]] = {
    "rows": "request",
    "answers": "response",
    "labelled": "label",
}
"""What a detector reads, by what it was fitted on."""


class ForeignDecoder:
    """Rejects all rows for one reason."""

    def __init__(self, reason: str, rows: EventDecoder) -> None:
        self._reason = reason
        self._rows = rows

    def decode_rows(self, body: bytes, protocol: str | None = None) -> DecodedRows:
        """Return no rows, and their number as rejected."""
        try:
            count = len(read_answer_table(body, protocol).rows)
        except BAD_PAYLOAD:
            count = 1
        return DecodedRows(self.no_rows(), RowFaults(Counter({self._reason: count})))

    def no_rows(self) -> Rows:
        """Return an empty table."""
        return self._rows.no_rows()


def choose_decoder(fitted: DetectorArtifact, config: DetectorSettings) -> EventDecoder:
    """Return the decoder of a detector's events."""
    complete = config.kind not in MIXED_KINDS
    decoder: EventDecoder
    side = SIDES[fitted.profile.of]
    if side == "label" and config.kind == "estimate":
        # of errors the service pairs answers with their requests itself
        return UnlabelledReader(fitted.profile)
    if side == "label":
        decoder = LabelledReader(fitted.profile)
    elif fitted.profile.of == "answers":
        decoder = AnswerDecoder(fitted.profile, complete=complete)
    else:
        marks = config.kind == "schema"
        decoder = RowDecoder(fitted.profile, complete=complete, marks=marks)
    if side == config.on:
        return decoder
    return ForeignDecoder(OTHER_SIDE[config.on], decoder)


def keep_side(fitted: DetectorArtifact, config: DetectorSettings) -> DetectorSettings:
    """Return the settings of a detector: those that its artifact was fitted with where it shall be of another kind
    now. Its rows need fit no other kind, and it goes on as it was until it is fitted anew. A user's function and
    alibi-detect's frameworks may be gone from its pod, so of these the rows are taken as they are."""
    if config.kind == fitted.config.kind:
        return config
    labelled = fitted.profile.of == "labelled"
    if fitted.config.kind in ELSEWHERE and config.kind not in LABELLED_KINDS:
        return config
    # what comes is of the side that the spec names by now
    moved = config.on != "label" and not labelled
    return replace(
        fitted.config, on=config.on if moved else fitted.config.on, private=config.private
    )
