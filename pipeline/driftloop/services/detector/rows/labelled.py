"""A model's answers and their labels as rows: how right an answer is, the answer, and its label.

Answers that are classes, by the profile that the fit learnt: `right` (1 or 0), `answer` and `label`. Classes are texts here,
`3.0` is `3`; of the numbers of all classes the largest one names the answer, by its name where labels have names, else by
its place. Answers that are numbers: `error` (the absolute one), `answer` and `label`.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftloop.contract.labels import Label, Scalar
from driftloop.contract.profiles import TableProfile
from driftloop.release.tables import BAD_PAYLOAD, AnswerTable, read_answer_table
from driftloop.release.values import category_key, is_missing
from driftloop.services.detector.rows.answers import ANSWER_NAMES, ANSWER_WIDTH
from driftloop.services.detector.rows.marks import PAYLOAD
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.rows.values import RowFaults, Rows

RIGHT, ERROR = "right", "error"
ANSWER, LABEL = "answer", "label"
"""Names of columns."""
NAMES, PLACES = "names", "places"
"""What labels call classes by, of which an answer has a number each."""
NO_ANSWER = "an answer has no value"
"""Why answers are not judged."""
COLUMNS = 3

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


class LabelledReader:
    """Reads answers and labels by the profile of labelled answers."""

    def __init__(self, profile: TableProfile) -> None:
        self._order = profile.order
        self._named = bool(profile.order) and profile.chosen == NAMES
        self.classes = profile.columns[0].name == RIGHT
        """Answers are classes, not numbers."""
        names = [name for name, _ in profile.columns[-1].categories]
        self._codes = {name: float(code) for code, name in enumerate(names)}

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
        return ReadAnswers(known, RowFaults())

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

    def encode_rows(self, answers: tuple[Answer, ...], labels: tuple[Answer, ...]) -> Rows:
        """Return the rows (n x 3) of answers and their labels."""
        rows = np.empty((len(answers), COLUMNS))
        for row, answer, label in zip(rows, answers, labels, strict=True):
            if isinstance(answer, str) or isinstance(label, str):
                row[:] = (answer == label, self._find_code(answer), self._find_code(label))
            else:
                row[:] = (abs(answer - label), answer, label)
        return rows

    def _find_code(self, answer: Answer) -> float:
        return self._codes.get(str(answer), float(len(self._codes)))

    def decode_rows(self, body: bytes, protocol: str | None = None) -> DecodedRows:
        """Return no rows, since an answer alone is none, and what is wrong with the response."""
        return DecodedRows(self.no_rows(), self.read_response(body, protocol).faults)

    def no_rows(self) -> Rows:
        """Return an empty table."""
        return np.empty((0, COLUMNS))


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
