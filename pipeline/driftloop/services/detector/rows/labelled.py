"""A model's answers and their labels as rows: how right an answer is, the answer, and its label.

Answers that are classes, by the profile that the fit learnt: `right` (1 or 0), `answer` and `label`. Classes are texts here,
`3.0` is `3`; of the numbers of all classes the largest one names the answer, by its name where labels have names, else by
its place. Answers that are numbers: `error` (the absolute one), `answer` and `label`.

Of probabilities of classes these follow, then the columns of the request that errors are estimated from, and then those by
whose values answers are judged apart: codes of categories.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftloop.contract.labels import Label, Scalar
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.release.tables import BAD_PAYLOAD, AnswerTable, read_answer_table
from driftloop.release.values import category_key, is_missing
from driftloop.services.detector.rows.answers import ANSWER_NAMES, ANSWER_WIDTH
from driftloop.services.detector.rows.marks import PAYLOAD
from driftloop.services.detector.rows.payload import DecodedRows, RowDecoder
from driftloop.services.detector.rows.values import RowFaults, Rows

RIGHT, ERROR = "right", "error"
ANSWER, LABEL = "answer", "label"
"""Names of columns."""
NAMES, PLACES = "names", "places"
"""What labels call classes by, of which an answer has a number each."""
NO_ANSWER = "an answer has no value"
"""Why answers are not judged."""
COLUMNS = 3
"""Columns of all rows."""

Answer = str | float
"""The class of a row, or its number."""


class UnreadableLabelError(Exception):
    """A label that fits no answer."""


@dataclass(frozen=True)
class ReadAnswers:
    """The answers in a response."""

    answers: tuple[Answer, ...]
    """One of each row; empty when one of them can't be read."""
    faults: RowFaults
    chances: Rows | None = None
    """Probability of each class (n x classes), in the order of the profile; None of other answers."""


class LabelledReader:
    """Reads answers and labels by the profile of labelled answers."""

    def __init__(self, profile: TableProfile) -> None:
        self._order = profile.order
        self._named = bool(profile.order) and profile.chosen == NAMES
        self.classes = profile.columns[0].name == RIGHT
        """Answers are classes, not numbers."""
        names = [name for name, _ in profile.columns[COLUMNS - 1].categories]
        self._codes = {name: float(code) for code, name in enumerate(names)}
        self._chances = count_chances(profile)
        self._asked = tuple(_decode_asked(profile))
        self._of_request = len(list_inputs(profile)) + len(list_slices(profile))
        """Columns of the request that a row has, the last ones."""
        self._width = len(profile.columns)

    def read_response(self, body: bytes, protocol: str | None = None) -> ReadAnswers:
        """Return the answers in a response; those of one that can't be read are rejected rows."""
        try:
            table = read_answer_table(body, protocol)
        except BAD_PAYLOAD:
            return ReadAnswers((), RowFaults(Counter({PAYLOAD: 1})))
        reason = self._find_fault(table)
        answers = [] if reason else [self.read_answer(table.names, row) for row in table.rows]
        known = tuple(answer for answer in answers if answer is not None)
        if reason or len(known) < len(table.rows):
            # a label is of all rows of a request
            return ReadAnswers((), RowFaults(Counter({reason or NO_ANSWER: len(table.rows)})))
        return ReadAnswers(known, RowFaults(), self._read_chances(table))

    def _read_chances(self, table: AnswerTable) -> Rows | None:
        if not self._chances:
            return None
        names = table.names or self._order
        places = [names.index(name) for name in self._order]
        return np.array(table.rows, dtype=np.float64)[:, places]

    def read_request(self, body: bytes, protocol: str | None = None) -> Rows | None:
        """Return what rows have of a request (n x columns of it), NaN for a value that is not there; None when it
        can't be read."""
        parts = [decoder.decode_rows(body, protocol).rows for decoder in self._asked]
        counts = {len(part) for part in parts}
        return np.concatenate(parts, axis=1) if len(counts) == 1 and counts != {0} else None

    def _find_fault(self, table: AnswerTable) -> str:
        if any(len(row) != len(self._order) for row in table.rows):
            return ANSWER_WIDTH
        other = table.names and sorted(table.names) != sorted(self._order)
        return ANSWER_NAMES if other and len(self._order) > 1 else ""

    def read_answer(self, names: tuple[str, ...], row: list[Any]) -> Answer | None:
        """Return the answer of one row, whose values have these names or none; None for one without a
        value."""
        if len(row) == 1:
            return self._read_value(row[0])
        if any(is_missing(v) or isinstance(v, bool | str | list | dict) for v in row):
            return None
        values = [float(row[names.index(name)]) for name in self._order] if names else row
        best = max(range(len(values)), key=lambda place: values[place])
        return self._order[best] if self._named else str(best)

    def _read_value(self, value: Any) -> Answer | None:
        if is_missing(value):
            return None
        return category_key(value) if self.classes else _read_number(value)

    def read_label(self, label: Label, rows: int) -> tuple[Answer, ...]:
        """Return the label of each row of a request; UnreadableLabelError for one that does not fit."""
        values = label if isinstance(label, list) else [label]
        if len(values) != rows:
            raise UnreadableLabelError
        return tuple(map(self._read_label, values))

    def _read_label(self, value: Scalar) -> Answer:
        if self.classes:
            key = category_key(value)
            if key is None:
                raise UnreadableLabelError
            whole = _drop_fraction(key)
            return next((each for each in (key, whole, key.lower()) if each in self._codes), whole)
        number = _read_number(value)
        if number is None:
            raise UnreadableLabelError
        return number

    def encode_rows(
        self,
        answers: tuple[Answer, ...],
        labels: tuple[Answer, ...],
        chances: Rows | None = None,
        asked: Rows | None = None,
    ) -> Rows:
        """Return the rows (n x columns of the profile) of answers and their labels; what is not known is NaN."""
        rows = np.full((len(answers), self._width), np.nan)
        for row, answer, label in zip(rows, answers, labels, strict=True):
            if isinstance(answer, str) or isinstance(label, str):
                row[:COLUMNS] = (answer == label, self._find_code(answer), self._find_code(label))
            else:
                row[:COLUMNS] = (abs(answer - label), answer, label)
        if chances is not None:
            self.place_chances(rows, chances)
        if asked is not None:
            self.place_asked(rows, asked)
        return rows

    def place_chances(self, rows: Rows, chances: Rows) -> None:
        """Write the probabilities of all classes (n x classes) into rows."""
        if self._chances:
            rows[:, COLUMNS : COLUMNS + self._chances] = chances

    def place_asked(self, rows: Rows, asked: Rows) -> None:
        """Write what rows have of their request into them; nothing of a request of other rows."""
        if len(asked) == len(rows) and self._of_request:
            rows[:, -self._of_request :] = asked

    def _find_code(self, answer: Answer) -> float:
        return self._codes.get(str(answer), float(len(self._codes)))

    def encode_answers(self, read: ReadAnswers) -> Rows:
        """Return the rows (n x columns of the profile) of answers without labels."""
        rows = np.full((len(read.answers), self._width), np.nan)
        for row, answer in zip(rows, read.answers, strict=True):
            row[1] = self._find_code(answer) if isinstance(answer, str) else answer
        if read.chances is not None:
            self.place_chances(rows, read.chances)
        return rows

    def decode_rows(self, body: bytes, protocol: str | None = None) -> DecodedRows:
        """Return no rows, since an answer alone is none, and what is wrong with the response."""
        return DecodedRows(self.no_rows(), self.read_response(body, protocol).faults)

    def no_rows(self) -> Rows:
        """Return an empty table."""
        return np.empty((0, self._width))


class UnlabelledReader:
    """Reads answers as rows without labels, by the profile of labelled answers."""

    def __init__(self, profile: TableProfile) -> None:
        self._reader = LabelledReader(profile)

    def decode_rows(self, body: bytes, protocol: str | None = None) -> DecodedRows:
        """Return the answers of a response; those of one that can't be read are rejected."""
        read = self._reader.read_response(body, protocol)
        return DecodedRows(self._reader.encode_answers(read), read.faults)

    def no_rows(self) -> Rows:
        """Return an empty table."""
        return self._reader.no_rows()


def count_chances(profile: TableProfile) -> int:
    """Return how many columns of labelled answers are probabilities of classes."""
    return len(profile.columns) - COLUMNS - (profile.inputs or 0) - (profile.slices or 0)


def list_inputs(profile: TableProfile) -> tuple[ColumnProfile, ...]:
    """Return the columns of requests that errors of answers are estimated from."""
    return profile.columns[find_inputs(profile)]


def find_inputs(profile: TableProfile) -> slice:
    """Return where these columns are."""
    last = len(profile.columns) - (profile.slices or 0)
    return slice(last - (profile.inputs or 0), last)


def list_slices(profile: TableProfile) -> tuple[ColumnProfile, ...]:
    """Return the columns of requests that labelled answers are judged by."""
    return profile.columns[-profile.slices :] if profile.slices else ()


def _decode_asked(profile: TableProfile) -> Iterator[RowDecoder]:
    """Yield decoders of what rows have of a request: what errors are estimated from, and the slices. Both may have a
    column, and not of the same values."""
    if profile.inputs:
        inputs = TableProfile(
            columns=list_inputs(profile),
            order=profile.asked or (),
            features=profile.features,
            arrays=profile.arrays,
        )
        yield RowDecoder(inputs, complete=False)
    if profile.slices:
        slices = TableProfile(
            columns=list_slices(profile), order=profile.asked or (), features=profile.features
        )
        yield RowDecoder(slices, complete=False)


def _read_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _drop_fraction(key: str) -> str:
    """Return a class as it is without the fraction that spreadsheets add: `3.0` as `3`."""
    whole, point, fraction = key.partition(".")
    return whole if point and not fraction.strip("0") and whole.lstrip("-").isdigit() else key
