"""Windows: every event in exactly one of them, a restart at any point and a look at any moment cut them the same way."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contract.documents import DocumentError
from driftloop.contract.handovers import DetectorSettings
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.rows.repeats import KEYS
from driftloop.services.detector.rows.values import RowFaults
from driftloop.services.detector.stream.windows import EventWindow, WindowCutter, WindowRule


@dataclass(frozen=True)
class Sent:
    """An event of a stream."""

    sequence: int
    time: int
    request: str
    rows: tuple[tuple[int, int], ...]
    rejected: int = 0

    @property
    def decoded(self) -> DecodedRows:
        values = np.array(self.rows, dtype=float).reshape(len(self.rows), 2)
        return DecodedRows(values, RowFaults(Counter({"odd": self.rejected})))


@dataclass
class Store:
    """A detector that stores what it cuts, and can be killed: what it has cut and not stored is lost."""

    rule: WindowRule
    stored: list[EventWindow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cutter = WindowCutter(self.rule)

    def store(self, windows: list[EventWindow]) -> None:
        self.stored += windows

    def read(self, event: Sent) -> list[EventWindow]:
        taken = self.cutter.add_event(event.sequence, event.time, event.decoded, event.request)
        return taken.windows

    def look(self, moment: int) -> list[EventWindow]:
        window = self.cutter.close_due(moment)
        return [] if window is None else [window]

    def start_again(self, stream: list[Sent]) -> None:
        """Read again from the stored window's first event, as the service does."""
        last = self.stored[-1] if self.stored else None
        self.cutter = (
            WindowCutter(self.rule, last.number, last.last) if last else WindowCutter(self.rule)
        )
        for event in stream:
            if last is None or event.sequence >= last.first:
                self.store(self.read(event))


def described(windows: list[EventWindow]) -> list[Any]:
    return [
        (w.number, w.first, w.last, w.events, w.requests, w.rows.tolist(), w.since, w.until, w.end, w.repeated, w.faults)
        for w in windows
    ]  # fmt: skip


@dataclass
class Expected:
    """A window by the rule's words alone."""

    events: list[Sent] = field(default_factory=list)
    rows: Counter[tuple[str, tuple[int, int]]] = field(default_factory=Counter)
    seen: Counter[tuple[str, tuple[int, int]]] = field(default_factory=Counter)
    starts: list[int] = field(default_factory=list)

    def add(self, event: Sent, before: Counter[Any]) -> None:
        rows = Counter((event.request, row) for row in event.rows)
        # of rows that an earlier event of the request has, here or in the window before, only more count
        fresh = rows - (self.seen | before)
        self.events.append(event)
        self.rows += fresh
        self.seen |= rows
        if fresh:
            self.starts.append(event.time)

    def closes(self, rule: WindowRule, time: int) -> bool:
        rows = self.rows.total()
        late = rule.at_most is not None and rows >= rule.least
        return rows >= rule.rows or (late and time - min(self.starts) >= (rule.at_most or 0))


def expected(stream: list[Sent], rule: WindowRule, end: int) -> list[Expected]:
    windows: list[Expected] = []
    open_, before = Expected(), Counter[Any]()
    for event in [*stream, None]:
        if open_.closes(rule, end if event is None else event.time):
            windows.append(open_)
            open_, before = Expected(), open_.seen
        if event is None:
            break
        open_.add(event, before)
        if open_.closes(rule, event.time):
            windows.append(open_)
            open_, before = Expected(), open_.seen
    return windows


@st.composite
def streams(draw: st.DrawFn) -> list[Sent]:
    """Sequences with gaps (other releases' events lie between), times that mostly rise, and repeats: whole
    events, parts of them, and with rows of their own besides."""
    stream: list[Sent] = []
    sequence, time = 0, 100
    for number in range(draw(st.integers(0, 25))):
        sequence += draw(st.integers(1, 3))
        time = max(1, time + draw(st.sampled_from([0, 0, 1, 2, 5, 20, -3])))
        rows = [(number, n // 2) for n in range(draw(st.integers(0, 5)))]
        request = f"id{number}"
        if stream and draw(st.integers(0, 3)) == 0:
            copied = stream[-draw(st.integers(1, min(12, len(stream))))]
            request = copied.request
            kept = copied.rows[: draw(st.integers(0, len(copied.rows)))]
            rows = [*kept, *rows[: draw(st.sampled_from([0, 0, 1]))]]
        stream.append(Sent(sequence, time, request, tuple(rows), draw(st.integers(0, 1))))
    return stream


@st.composite
def rules(draw: st.DrawFn) -> WindowRule:
    rows = draw(st.integers(1, 10))
    if draw(st.booleans()):
        return WindowRule(rows, rows)
    return WindowRule(rows, draw(st.integers(1, rows)), draw(st.integers(1, 30)))


@settings(max_examples=60, deadline=None)
@given(streams(), rules())
def test_windows_are_what_the_rule_says(stream: list[Sent], rule: WindowRule) -> None:
    end = max((event.time for event in stream), default=0) + 5
    store = Store(rule)
    for event in stream:
        store.store(store.read(event))
    store.store(store.look(end))
    assert [w.number for w in store.stored] == list(range(1, len(store.stored) + 1))
    wanted = expected(stream, rule, end)
    for window, told in zip(store.stored, wanted, strict=True):
        events = told.events
        assert (window.first, window.last) == (events[0].sequence, events[-1].sequence)
        assert window.events == len(events)
        rows = map(tuple, window.rows.astype(int).tolist())
        assert Counter(zip(window.requests, rows, strict=True)) == told.rows
        assert window.repeated == sum(len(e.rows) for e in events) - told.rows.total()
        assert (window.since, window.until) == (min(told.starts), events[-1].time)
        assert rule.least <= len(window.rows)
    covered = [event for told in wanted for event in told.events]
    assert covered == stream[: len(covered)]


@settings(max_examples=80, deadline=None)
@given(streams(), rules(), st.data())
def test_neither_restarts_nor_looks_change_a_window(
    stream: list[Sent], rule: WindowRule, data: st.DataObject
) -> None:
    whole = Store(rule)
    for event in stream:
        whole.store(whole.read(event))
    store = Store(rule)
    for number, event in enumerate(stream):
        cut = store.read(event)
        match data.draw(st.sampled_from(["go on", "go on", "kill", "look", "look and kill"])):
            case "kill":
                store.start_again(stream[: number + 1])
                continue
            case "look" | "look and kill" as chosen:
                store.store(cut)
                # all that was stored until now was read, and what comes next is not older
                after = stream[number + 1].time if number + 1 < len(stream) else event.time
                moment = data.draw(st.integers(event.time, max(event.time, after)))
                late = store.look(moment)
                if chosen == "look and kill":
                    store.start_again(stream[: number + 1])
                else:
                    store.store(late)
            case _:
                store.store(cut)
    assert described(store.stored) == described(whole.stored)


def cut(rule: WindowRule, *events: Sent) -> list[EventWindow]:
    store = Store(rule)
    for event in events:
        store.store(store.read(event))
    return store.stored


A, B, C = (1, 0), (2, 0), (3, 0)


def test_a_retry_counts_once_also_in_the_next_window_and_with_another_event_between() -> None:
    retried = [Sent(n, n, "x", (A, B)) for n in (1, 3, 5)]
    others = [Sent(2, 2, "y", (A,)), Sent(4, 4, "z", (B,)), Sent(6, 6, "v", (C,))]
    windows = cut(WindowRule(3, 3), *sorted((*retried, *others), key=lambda event: event.sequence))
    assert [(w.requests, w.repeated) for w in windows] == [(("x", "x", "y"), 0)]
    windows = cut(
        WindowRule(3, 3), *retried[:1], *others, Sent(7, 7, "x", (A, B)), Sent(8, 8, "u", (A,))
    )
    assert [w.requests for w in windows] == [("x", "x", "y"), ("z", "v", "u")]
    assert [w.repeated for w in windows] == [0, 2]  # fmt: skip


def test_a_retry_may_have_rows_of_its_own_besides() -> None:
    windows = cut(WindowRule(2, 2), Sent(1, 1, "x", (A,)), Sent(2, 2, "x", (A, B)))
    assert [(w.requests, w.rows.tolist()) for w in windows] == [(("x", "x"), [[1, 0], [2, 0]])]


def test_equal_rows_are_no_repeats() -> None:
    """Neither of several requests, nor of one event; a retry of that event is."""
    windows = cut(
        WindowRule(6, 6),
        Sent(1, 1, "x", (A, A)),
        Sent(2, 2, "y", (A,)),
        Sent(3, 3, "x", (A, A, A)),
        Sent(4, 4, "z", (A, B)),
    )
    assert [(w.requests, w.repeated) for w in windows] == [(("x", "x", "y", "x", "z", "z"), 2)]


def test_a_request_id_that_comes_with_other_rows_hides_none() -> None:
    """A client that sends one id for a session, or always the same, is judged all the same."""
    events = (Sent(n, n, "session", ((n, 0),)) for n in range(1, 5))
    assert [len(w.rows) for w in cut(WindowRule(4, 4), *events)] == [4]


def test_what_a_repeat_has_wrong_counts_once() -> None:
    windows = cut(
        WindowRule(2, 2),
        Sent(1, 1, "x", (A,), rejected=1),
        Sent(2, 2, "x", (A,), rejected=1),
        Sent(3, 3, "y", (), rejected=1),
        Sent(4, 4, "z", (A,)),
    )
    assert windows[0].faults.rejected == Counter({"odd": 2})


def test_what_is_remembered_is_bounded() -> None:
    store = Store(WindowRule(10, 10))
    for number in range(500):
        store.store(store.read(Sent(number + 1, number, f"id{number}", (A,))))
        store.store(store.read(Sent(number + 1001, number, f"id{number // 2}", (A,))))
    assert len(store.cutter._repeats._open) <= KEYS * 10 + 1
    assert len(store.cutter._repeats._before) <= KEYS * 10 + 1


def test_a_clock_that_is_set_back_does_not_keep_a_window_open() -> None:
    rule = WindowRule(10, 1, 5)
    windows = cut(rule, Sent(1, 1000, "x", (A,)), Sent(2, 10, "y", (B,)), Sent(3, 15, "z", (C,)))
    assert [(w.requests, w.since, w.until) for w in windows] == [(("x", "y"), 10, 10)]


def test_settings_of_a_timed_window_come_together() -> None:
    settings = DetectorSettings("ks", window=500, at_most=21600.0, least=100)
    assert WindowRule.from_settings(settings) == WindowRule(500, 100, 21_600_000_000_000)
    with pytest.raises(DocumentError, match="have one of `atMost` and `least`, must have both"):
        DetectorSettings("ks", at_most=3.0)
    with pytest.raises(DocumentError, match="`least` is 501, must be at most `window`, 500"):
        DetectorSettings("ks", window=500, at_most=3.0, least=501)
