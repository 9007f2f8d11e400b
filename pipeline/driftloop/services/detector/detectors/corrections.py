"""One correction over the tests of all columns."""

import math
from collections.abc import Sequence


def find_changed(scores: Sequence[float], threshold: float) -> set[int]:
    """Return the columns that have changed: Bonferroni's correction is Holm's for the first, and each
    column after it need only hold against those that are left."""
    count = len(scores)
    changed: set[int] = set()
    for rank, number in enumerate(sorted(range(count), key=lambda n: -scores[n])):
        if scores[number] + math.log10(count / (count - rank)) < threshold:
            break
        changed.add(number)
    return changed
