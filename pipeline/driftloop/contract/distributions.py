"""Distributions of columns in the reference data and in a window, as the details of a verdict carry it.

A column is a handful of shares: small enough to be kept with each alarm, so that what moved can be looked at when
the rows are gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_number,
    is_text,
    is_texts,
    to_json,
)
from driftloop.contract.profiles import COLUMN_TYPES, ColumnType

DISTRIBUTIONS = "distributions"
"""Key of a verdict's details: StoredDistribution of the columns that changed; not in events."""
MOST_BINS = 12
MOST_COLUMNS = 6


def _is_shares(value: object) -> bool:
    return isinstance(value, list) and all(is_number(item) and item >= 0 for item in value)


def _shares(key: str) -> Any:
    return document_key(key, "a list of shares", _is_shares, read=tuple, write=list)


def _share(key: str) -> Any:
    return document_key(
        key, "a share", lambda v: is_number(v) and 0 <= v <= 1, default=0.0, omits_none=False
    )


@dataclass(frozen=True, kw_only=True)
class StoredDistribution:
    """One column: shares of the rows with each part of its values, and without a value."""

    column: str = document_key("column", "a text", is_text)
    """Name of the column."""
    type: ColumnType = document_key(
        "type", f"one of: {', '.join(COLUMN_TYPES)}", lambda v: v in COLUMN_TYPES
    )
    """Type of the column."""
    labels: tuple[str, ...] = document_key(
        "labels", "a list of texts", is_texts, read=tuple, write=list
    )
    """Categories, the most frequent first; of numbers, and of lengths of texts, the lower end of each bin."""
    upper: str = document_key("upper", "a text", lambda v: isinstance(v, str), default="")
    """Upper end of the last bin; empty of categories."""
    before: tuple[float, ...] = _shares("before")
    """Shares in the reference data."""
    after: tuple[float, ...] = _shares("after")
    """Shares in the window."""
    missing_before: float = _share("missingBefore")
    """Share without a value in the reference data."""
    missing_after: float = _share("missingAfter")
    """Share without a value in the window."""

    @classmethod
    def read(cls, document: object) -> "StoredDistribution":
        """Read the column from plain data; DocumentError."""
        return from_json(cls, document, label="a distribution of the verdict", closed=False)


def read_distributions(details: Mapping[str, Any]) -> tuple[StoredDistribution, ...]:
    """Return the distributions in the details of a verdict; none in one without, or that can't be read."""
    kept = details.get(DISTRIBUTIONS)
    try:
        found = tuple(map(StoredDistribution.read, kept)) if isinstance(kept, list) else ()
    except DocumentError:
        return ()
    return tuple(each for each in found if len(each.labels) == len(each.before) == len(each.after))


def write_distributions(distributions: Sequence[StoredDistribution]) -> list[dict[str, Any]]:
    """Return distributions as the details of a verdict carry them."""
    return [to_json(each) for each in distributions]
