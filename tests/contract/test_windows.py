"""What people are told of an open window."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from driftloop.contract.windows import OpenWindow, PendingWindows

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
EMPTY = OpenWindow(release="r1", window=8, rows=0, full=500, least=100, repeated=0)
SINCE = replace(EMPTY, rows=37, since="2026-01-31T09:30:00Z")


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (EMPTY, "0 of 500 rows"),
        (
            replace(SINCE, repeated=3),
            "37 of 500 rows since 2026-01-31T09:30:00Z, 3 repeated ones not counted",
        ),
        (
            replace(SINCE, due="2026-01-31T15:30:00Z"),
            "37 of 500 rows since 2026-01-31T09:30:00Z; closes at 2026-01-31T15:30:00Z with 100 or more",
        ),
        (
            replace(SINCE, due="2026-01-31T11:30:00Z"),
            "37 of 500 rows since 2026-01-31T09:30:00Z; was due at 2026-01-31T11:30:00Z, and closes when it has 100",
        ),
        (
            replace(EMPTY, together=PendingWindows(window=10, windows=4, known=1)),
            "0 of 500 rows; windows 7-10 are judged together when the last of them closes, 1 are counted; an alarm "
            "of them counts by itself",
        ),
        (
            replace(SINCE, rows=100, due="2026-01-31T15:30:00Z"),
            "100 of 500 rows since 2026-01-31T09:30:00Z; closes at 2026-01-31T15:30:00Z at the latest",
        ),
    ],
)
def test_an_open_window_says_what_it_waits_for(window: OpenWindow, text: str) -> None:
    assert window.describe(NOW) == f"window 8 of r1 is open, {text}"
