"""Rows that say what of them can't be read, for a detector that judges that, too.

An unreadable value is infinite, not missing, and every row has one more number at its end: 0, or the place
of the reason for which it is none of the model's in REASONS. Such a row has no other values.
"""

from collections import Counter

import numpy as np

from driftloop.services.detector.rows.values import Rows

PAYLOAD = "the payload has no rows that can be read"
NAMES = "none of its names is a column of the training data"
WIDTH = "it has another number of values than the training data have columns"
"""Why rows are not judged."""
REASONS = ("", PAYLOAD, NAMES, WIDTH)


def add_marks(rows: Rows, rejected: Counter[str]) -> Rows:
    """Return rows with marks, followed by those that were rejected."""
    marked = np.concatenate([rows, np.zeros((len(rows), 1))], axis=1)
    codes = [REASONS.index(reason) for reason, count in rejected.items() for _ in range(count)]
    empty = np.full((len(codes), marked.shape[1]), np.nan)
    empty[:, -1] = codes
    return np.concatenate([marked, empty])


def split_marks(rows: Rows, width: int) -> tuple[Rows, dict[str, int]]:
    """Return the rows that could be read, without marks, and the number of others by reason. Rows without
    marks could all be read."""
    if rows.shape[1] == width:
        return rows, {}
    codes = rows[:, -1].astype(np.int64)
    counts = np.bincount(codes, minlength=len(REASONS))
    reasons = {REASONS[code]: int(count) for code, count in enumerate(counts) if code and count}
    return rows[codes == 0, :-1], reasons
