"""Joining requests and answers: each event once, whatever the order and wherever the parts are cut."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contract.times import SECOND
from driftloop.services.recorder.joining import Exchange, KeptEvent, Side, join_events

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["request", "answer"]),
        st.integers(0, 5),
        st.sampled_from(["r1", "r2"]),
        st.integers(0, 30),
    ),
    max_size=40,
)
"""Side, number of the request id, release, and seconds since the event before."""


def kept(sequence: int, side: Side = "request", request: str = "a", at: int = 0) -> KeptEvent:
    return KeptEvent(sequence, at * SECOND, at * SECOND, side, request, "r1", "production")


def make_stream(drawn: list[tuple[Side, int, str, int]]) -> list[KeptEvent]:
    events, now = [], 1000
    for sequence, (side, number, release, later) in enumerate(drawn, 1):
        now += later
        event = kept(sequence, side, f"id-{number}", now)
        events.append(replace(event, release=release))
    return events


def record(events: list[KeptEvent], cuts: set[int], *, most_open: int = 100) -> list[Exchange]:
    """What a recorder writes that cuts its parts after these sequences."""
    written: list[Exchange] = []
    waiting: list[KeptEvent] = []
    new: list[KeptEvent] = []
    for event in events:
        new.append(event)
        if event.sequence in cuts:
            joined = join_events([*waiting, *new], event.stored, most_open=most_open)
            written += joined.exchanges
            waiting, new = list(joined.open), []
    joined = join_events([*waiting, *new], 10**6 * SECOND, most_open=most_open)
    assert joined.open == ()
    return written + joined.exchanges


@settings(deadline=None)
@given(EVENTS, st.sets(st.integers(1, 40)), st.integers(0, 5))
def test_each_event_is_written_once(
    drawn: list[tuple[Side, int, str, int]], cuts: set[int], most_open: int
) -> None:
    events = make_stream(drawn)
    written = record(events, cuts, most_open=most_open)
    found = Counter(event.sequence for exchange in written for event in exchange.events)
    assert found == Counter(event.sequence for event in events)
    for exchange in written:
        assert len({(event.release, event.request) for event in exchange.events}) == 1


@settings(deadline=None)
@given(EVENTS, st.sets(st.integers(1, 40)))
def test_where_parts_are_cut_makes_no_difference_to_what_came_in_time(
    drawn: list[tuple[Side, int, str, int]], cuts: set[int]
) -> None:
    events = [replace(event, stored=0) for event in make_stream(drawn)]
    moment = 0
    waiting: list[KeptEvent] = []
    pairs = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        part = [event for event in events if start < event.sequence <= end]
        joined = join_events([*waiting, *part], moment)
        pairs += joined.exchanges
        waiting = list(joined.open)
    whole = join_events(events, moment)
    assert sorted(pairs, key=lambda each: each.sequence) == whole.exchanges
    assert tuple(sorted(waiting, key=lambda each: each.sequence)) == whole.open


def test_a_request_waits_for_its_answer_and_no_longer_than_that() -> None:
    events = [kept(1, at=100), kept(2, "answer", "b", at=130)]
    early = join_events(events, 159 * SECOND)
    assert [event.sequence for event in early.open] == [1, 2]
    late = join_events(events, 161 * SECOND)
    assert [exchange.request for exchange in late.exchanges] == [events[0]]
    assert [event.sequence for event in late.open] == [2]


def test_an_id_that_is_used_twice_makes_two_exchanges() -> None:
    events = [kept(1), kept(2), kept(3, "answer"), kept(4, "answer")]
    joined = join_events(events, 0)
    assert [[event.sequence for event in each.events] for each in joined.exchanges] == [
        [1, 3],
        [2, 4],
    ]


def test_a_latency_needs_times_of_the_loggers() -> None:
    asked, answered = kept(1, at=100), kept(2, "answer", at=101)
    assert Exchange(asked, answered).latency == 1000.0
    assert Exchange(asked).latency is None
    assert Exchange(asked, replace(answered, exact=False)).latency is None
    assert Exchange(asked, replace(answered, time=0)).latency is None
