"""Windows: every event in exactly one of them, and a restart at any point cuts them the same way."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.services.detector.payload import DecodedRows
from driftloop.services.detector.values import RowFaults
from driftloop.services.detector.windows import EventWindow, WindowCutter


def event(rows: int, rejected: int = 0) -> DecodedRows:
    return DecodedRows(np.ones((rows, 2)), RowFaults(Counter({"odd": rejected})))


EVENTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2), st.integers(1, 3)), max_size=60)


def cut(cutter: WindowCutter, stream: list[tuple[int, DecodedRows]]) -> list[EventWindow]:
    windows = [cutter.add_event(sequence, decoded, f"id{sequence}") for sequence, decoded in stream]
    return [window for window in windows if window is not None]


def numbered(events: list[tuple[int, int, int]]) -> list[tuple[int, DecodedRows]]:
    """Sequences with gaps: other releases' events lie between."""
    stream, sequence = [], 0
    for rows, rejected, gap in events:
        sequence += gap
        stream.append((sequence, event(rows, rejected)))
    return stream


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.integers(1, 10))
def test_every_event_is_in_one_window_in_order(
    events: list[tuple[int, int, int]], size: int
) -> None:
    stream = numbered(events)
    cutter = WindowCutter(size)
    windows = cut(cutter, stream)
    assert [window.number for window in windows] == list(range(1, len(windows) + 1))
    last = 0
    for window in windows:
        inside = [(s, d) for s, d in stream if last < s <= window.last]
        assert window.first == inside[0][0]
        assert window.events == len(inside)
        assert len(window.rows) == sum(len(d.rows) for _, d in inside) == len(window.requests)
        assert len(window.rows) - len(inside[-1][1].rows) < size <= len(window.rows)
        assert window.faults.rejected["odd"] == sum(d.rejected for _, d in inside)
        last = window.last
    assert cutter.waiting < size


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.integers(1, 10), st.integers(0, 60))
def test_a_restart_changes_nothing(
    events: list[tuple[int, int, int]], size: int, crash: int
) -> None:
    stream = numbered(events)
    whole = cut(WindowCutter(size), stream)
    before = cut(WindowCutter(size), stream[:crash])
    number, last = (before[-1].number, before[-1].last) if before else (0, 0)
    after = cut(WindowCutter(size, number, last), stream)
    described = [(w.number, w.first, w.last, w.events, w.requests) for w in whole]
    assert [(w.number, w.first, w.last, w.events, w.requests) for w in before + after] == described
