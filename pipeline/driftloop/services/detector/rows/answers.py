"""A model's answers as rows of typed columns: a class, the probabilities of classes, a score, a number.

A detector of answers is fitted on what the model answered in its rehearsal (`answer_learning`), so the
answers that come later have the same columns: by their names (Seldon's `names`, the names of v2 tensors,
keys of objects), by position when they have none. Seldon's own names `t:0`, `t:1`, ... are none. An answer
with other columns is not judged, and counted.

Numbers are read to six digits: the same row asked alone and among others has answers that differ beyond, and
equal answers would no longer be.
"""

from collections import Counter

import numpy as np

from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.release.tables import BAD_PAYLOAD, AnswerTable, read_answer_table
from driftloop.services.detector.rows.marks import PAYLOAD
from driftloop.services.detector.rows.payload import DecodedRows, drop_gaps
from driftloop.services.detector.rows.values import ColumnEncoder, RowFaults, Rows, round_numbers

ANSWER_WIDTH = "an answer has another number of values than those of the rehearsal"
ANSWER_NAMES = "an answer has other names than those of the rehearsal"
"""Why answers are not judged."""
DIGITS = 6
"""Significant digits of a number."""


class AnswerDecoder:
    """Reads responses as rows of the profile of a model's answers.

    With `complete`, an answer with a missing or unreadable value is not judged: the detector takes numbers
    only.
    """

    def __init__(self, profile: TableProfile, *, complete: bool) -> None:
        columns = {column.name: column for column in profile.columns}
        self._profile = profile
        self._complete = complete
        # the numbers of all classes tell which is chosen; what else is not watched is not read
        self._encoders = {
            name: ColumnEncoder.from_profile(columns.get(name, _unseen_number(name)))
            for name in profile.order
            if profile.chosen or name in columns
        }

    def decode_rows(self, body: bytes, protocol: str | None = None) -> DecodedRows:
        """Return the answers of a response; one that can't be read is one rejected row."""
        faults = RowFaults()
        try:
            table = read_answer_table(body, protocol)
        except BAD_PAYLOAD:
            return DecodedRows(self.no_rows(), RowFaults(Counter({PAYLOAD: 1})))
        rows = self._encode_table(table, faults)
        if self._complete and len(rows):
            rows = drop_gaps(self._profile, rows, faults)
        return DecodedRows(rows, faults)

    def no_rows(self) -> Rows:
        """Return an empty table."""
        return np.empty((0, len(self._profile.columns)))

    def _encode_table(self, table: AnswerTable, faults: RowFaults) -> Rows:
        order = self._profile.order
        good = [row for row in table.rows if len(row) == len(order)]
        if len(good) < len(table.rows):
            faults.rejected[ANSWER_WIDTH] += len(table.rows) - len(good)
        if good and table.names and sorted(table.names) != sorted(order):
            faults.rejected[ANSWER_NAMES] += len(good)
            return self.no_rows()
        if not good:
            return self.no_rows()
        names = table.names or order
        values = dict(zip(names, zip(*good, strict=True), strict=True))
        encoded = np.full((len(good), len(order)), np.nan)
        for number, name in enumerate(order):
            if name in self._encoders:
                encoded[:, number] = self._encoders[name].encode_values(list(values[name]), faults)
        return assemble_rows(self._profile, encoded)


def assemble_rows(profile: TableProfile, values: Rows) -> Rows:
    """Return the columns of a profile (n x columns) from the values of answers in its order (n x width)."""
    values = round_numbers(values, DIGITS)
    places = {name: number for number, name in enumerate(profile.order)}
    columns = [
        find_classes(values) if column.name == profile.chosen else values[:, places[column.name]]
        for column in profile.columns
    ]
    return np.stack(columns, axis=1)


def find_classes(values: Rows) -> Rows:
    """Return the place of the largest number of each row (n); NaN for a row that lacks one."""
    missing = np.isnan(values).any(axis=1)
    return np.where(missing, np.nan, np.argmax(np.nan_to_num(values), axis=1))


def _unseen_number(name: str) -> ColumnProfile:
    """Return the column of a number that is read, but not judged."""
    return ColumnProfile(name=name, type="number", rows=0, missing=0, distinct=0)
