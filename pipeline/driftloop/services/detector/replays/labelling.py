"""Answers and their labels as a replay judges them: in the order of the answers, each label so long after its
answer as is said."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.contract.documents import DocumentError, from_json
from driftloop.contract.labels import Label, RequestLabel, is_label
from driftloop.services.detector.fitting.artifact import ArtifactError
from driftloop.services.detector.replays.asking import AnsweredRow
from driftloop.services.detector.rows.labelled import LabelledReader, UnreadableLabelError
from driftloop.services.detector.rows.payload import DecodedRows, EventDecoder
from driftloop.services.detector.rows.tables import TableFile
from driftloop.services.detector.rows.values import RowFaults

UNREADABLE = "a label fits no answer"
"""Why an answer with a label is not judged."""


@dataclass(frozen=True)
class LabelledRow:
    """The answer to one row, and its label."""

    body: bytes | None
    """The response; None: there was none."""
    label: Label | None
    """None: there is none."""

    def decode(self, decoder: EventDecoder) -> DecodedRows:
        """Return the row that both make; none without one of them, or by a decoder of something else."""
        nothing = decoder.no_rows()
        if self.body is None or self.label is None or not isinstance(decoder, LabelledReader):
            return DecodedRows(nothing, RowFaults())
        read = decoder.read_response(self.body)
        if not read.answers:
            return DecodedRows(nothing, read.faults)
        try:
            label = decoder.read_label(self.label, len(read.answers))
        except UnreadableLabelError:
            return DecodedRows(nothing, RowFaults(Counter({UNREADABLE: 1})))
        return DecodedRows(decoder.encode_rows(read.answers, label, read.chances), RowFaults())


def read_labels(file: Path) -> dict[str, Label]:
    """Read a file of labels, one a line as `{"request": "ID", "label": 3}`; of several for one request the last one
    counts. ArtifactError."""
    labels = {}
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            place = f"{file.name}, line {number}"
            given = from_json(RequestLabel, json.loads(line), label=place)
            labels[given.request] = given.label
    except (OSError, ValueError, DocumentError) as error:
        raise ArtifactError(f"{file.name} can't be read: {error}") from error
    return labels


def join_labels(
    answers: Sequence[AnsweredRow], requests: Sequence[str], labels: Mapping[str, Label]
) -> tuple[LabelledRow, ...]:
    """Return the answers with the labels of their requests; a list is of the rows of a request in turn."""
    counts = Counter(requests)
    taken: Counter[str] = Counter()
    joined = []
    for answer, request in zip(answers, requests, strict=True):
        label = _choose_label(labels.get(request), taken[request], counts[request])
        taken[request] += 1
        joined.append(LabelledRow(answer.body, label))
    return tuple(joined)


def _choose_label(given: Label | None, row: int, rows: int) -> Label | None:
    """Return the label of one of a request's rows; one that fits none of them where there are not as many."""
    if given is None:
        return None
    values = given if isinstance(given, list) else [given]
    return values[row] if len(values) == rows else []


def label_tables(
    answers: Sequence[AnsweredRow], tables: Sequence[TableFile], target: str
) -> tuple[LabelledRow, ...]:
    """Return the answers with the values of a column; ArtifactError when a file has no such column."""
    labels = [label for table in tables for label in _list_labels(table, target)]
    if len(labels) != len(answers):
        raise ArtifactError(
            f"there are {len(answers)} answers, must be one for each of the {len(labels)} rows",
            hint="write `null` where a row has no answer",
        )
    return tuple(
        LabelledRow(answer.body, label) for answer, label in zip(answers, labels, strict=True)
    )


def _list_labels(table: TableFile, target: str) -> Iterator[Any]:
    if target not in table.values:
        raise ArtifactError(
            f"{table.file} has no column `{target}` with the right answers",
            hint="name a file of labels by their requests: --labels, with captured traffic",
        )
    for value in table.values[target].tolist():
        yield value if is_label(value) else None
