"""What a detector says of rows of files that are replayed through it: printed by `driftloop-detector
replay`, read by `driftloop backtest`."""

from dataclasses import dataclass

from driftloop.contract.documents import document_key, from_json, is_whole, to_json
from driftloop.contract.verdicts import WindowRecord


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(is_whole(count, 0) for count in value.values())


@dataclass(frozen=True, kw_only=True)
class ReplayRecord:
    """A replay: the windows of all rows, in their order."""

    windows: tuple[WindowRecord, ...] = document_key(
        "windows",
        "a list of verdicts",
        lambda v: isinstance(v, list),
        read=lambda v: tuple(map(WindowRecord.read, v)),
        write=lambda v: [to_json(window) for window in v],
    )
    """Verdicts without a time; the sequences are numbers of rows, from 1."""
    rows: int = document_key("rows", "a number of rows", lambda v: is_whole(v, 0))
    """Rows of the files."""
    waiting: int = document_key("waiting", "a number of rows", lambda v: is_whole(v, 0))
    """Rows at the end that fill no window."""
    rejected: tuple[tuple[str, int], ...] = document_key(
        "rejected",
        "numbers of rows by reason",
        _is_counts,
        read=lambda v: tuple(v.items()),
        write=dict,
    )
    """Rows that could not be judged."""

    @classmethod
    def read(cls, document: object) -> "ReplayRecord":
        """Read the record from plain data; DocumentError."""
        return from_json(cls, document, label="the replay", closed=False)
