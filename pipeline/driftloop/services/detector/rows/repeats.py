"""Rows that come more than once: retries of a client, and copies under another event id.

A row is a repeat when an earlier event of the same request has it, in the open window or in the one
before. Rows that are merely equal are none: neither two of one event nor those of two requests. Of
what has a request id of its own each time, nothing is a repeat.

What is known of a window depends on the events of that window alone, so a reader that starts again
with the window before the open one knows the same as one that never stopped.
"""

from collections import Counter
from hashlib import blake2b

from driftloop.services.detector.rows.values import Rows

KEYS = 4
"""Rows of a window that are remembered, as a multiple of those it closes at."""
DIGEST = 16
"""Bytes that are kept of each row."""


class RepeatedRows:
    """Remembers the rows of the open window and of the one before."""

    def __init__(self, rows: int) -> None:
        self._most = KEYS * rows
        self._before: set[bytes] = set()
        self._open: set[bytes] = set()

    def find_new(self, request: str, rows: Rows) -> list[bool]:
        """Remember the rows (n x columns) of an event of the open window; true (n) for those that
        are no repeats."""
        keys = _make_keys(request, rows)
        new = [key not in self._open and key not in self._before for key in keys]
        self._remember(keys, self._open)
        return new

    def recall_event(self, request: str, rows: Rows) -> None:
        """Remember the rows of an event of the window before the open one."""
        self._remember(_make_keys(request, rows), self._before)

    def close_window(self) -> None:
        """Forget the window before the open one, which becomes it."""
        self._before, self._open = self._open, set()

    def _remember(self, keys: list[bytes], window: set[bytes]) -> None:
        if len(window) < self._most:
            window.update(keys)


def _make_keys(request: str, rows: Rows) -> list[bytes]:
    """Return what names each row: its request, its values, and which of the equal ones of its
    event it is."""
    name = request.encode(errors="surrogatepass")
    head = len(name).to_bytes(4) + name
    if len(rows) == 1:
        return [_make_key(head, 0, rows.tobytes())]
    counts: Counter[bytes] = Counter()
    keys = []
    for row in rows:
        text = row.tobytes()
        keys.append(_make_key(head, counts[text], text))
        counts[text] += 1
    return keys


def _make_key(head: bytes, number: int, row: bytes) -> bytes:
    return blake2b(head + number.to_bytes(4) + row, digest_size=DIGEST).digest()
