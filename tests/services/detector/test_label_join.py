"""Answers and labels in any order, repeated and corrected: what is counted of them is what the whole says."""

import itertools
import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contract.documents import to_json
from driftloop.contract.labels import LabelBatch, LabelCounts, RequestLabel, is_label
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.times import SECOND
from driftloop.services.detector.rows.join import LabelJoin
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.stream.windows import WindowCutter, WindowRule

CLASSES = ("cat", "dog", "0", "1")
WAIT = 1000 * SECOND


def column(name: str, type_: Any, categories: tuple[str, ...] = ()) -> ColumnProfile:
    counts = tuple((each, 1) for each in categories)
    return ColumnProfile(name=name, type=type_, rows=4, missing=0, distinct=2, categories=counts)


def classes(order: tuple[str, ...] = ("class",), chosen: str = "") -> TableProfile:
    columns = (
        column("right", "boolean"),
        column("answer", "category", CLASSES),
        column("label", "category", CLASSES),
    )
    return TableProfile(columns=columns, order=order, of="labelled", chosen=chosen)


NUMBERS = TableProfile(
    columns=tuple(column(name, "number") for name in ("error", "answer", "label")),
    order=("answer",),
    of="labelled",
)


@dataclass(frozen=True)
class Came:
    """An event: the answer to a request, or a label to it."""

    request: str
    values: tuple[Any, ...]
    given: int = 0
    """0: it is an answer."""

    def label(self) -> Any:
        return self.values[0] if len(self.values) == 1 else list(self.values)


def add(join: LabelJoin, sequence: int, came: Came, time: int = 0) -> Any:
    if not came.given:
        return join.add_answers(sequence, time, came.request, came.values)
    label = RequestLabel(request=came.request, label=came.label())
    batch = LabelBatch(given=came.given, labels=(label,))
    return join.add_labels(sequence, time, f"e{sequence}", batch)


VALUES = st.tuples(st.sampled_from(CLASSES)) | st.tuples(
    st.sampled_from(CLASSES), st.sampled_from(CLASSES)
)


@st.composite
def histories(draw: st.DrawFn) -> list[Came]:
    """At most one answer to each request, and labels, all given at another time, in any order."""
    answers = draw(st.dictionaries(st.sampled_from("abcdefgh"), VALUES))
    labels = draw(st.lists(st.tuples(st.sampled_from("abcdefgh"), VALUES), max_size=20))
    events = [Came(request, values) for request, values in answers.items()]
    events += [Came(request, values, n) for n, (request, values) in enumerate(labels, 1)]
    return draw(st.permutations(events))


def offline(events: list[Came]) -> tuple[int, int]:
    """Rows with a label, and those answered right: by the last label that fits."""
    answers = {each.request: each.values for each in events if not each.given}
    rows = right = 0
    for request, values in answers.items():
        fitting = [
            each
            for each in events
            if each.given and each.request == request and len(each.values) == len(values)
        ]
        if fitting:
            last = max(fitting, key=lambda each: each.given).values
            rows += len(values)
            right += sum(a == b for a, b in zip(values, last, strict=True))
    return rows, right


@given(histories(), st.data())
@settings(max_examples=300, deadline=None)
def test_live_accuracy_is_the_offline_one_in_any_order_and_after_any_stop(
    history: list[Came], data: st.DataObject
) -> None:
    # a broker may deliver an event again
    events = (
        [*history, *data.draw(st.lists(st.sampled_from(history), max_size=5))] if history else []
    )
    stop = data.draw(st.integers(0, len(events)))
    join = LabelJoin(LabelledReader(classes()), WAIT)
    for sequence, came in enumerate(events[:stop], 1):
        add(join, sequence, came)
    # a process that begins reads all again, and goes on from what was stored at the last verdict
    stored = LabelCounts.read(to_json(join.current))
    again = LabelJoin(LabelledReader(classes()), WAIT)
    for sequence, came in enumerate(events[:stop], 1):
        add(again, sequence, came)
    again.recall(stored)
    assert again.current == join.current
    for sequence, came in enumerate(events[stop:], stop + 1):
        add(again, sequence, came)
    rows, right = offline(history)
    assert (again.counts.rows, again.counts.right) == (rows, right)
    answered = {each.request for each in history if not each.given}
    labelled = {each.request for each in history if each.given}
    assert again.current.early == len(labelled - answered)


@given(histories())
@settings(max_examples=200, deadline=None)
def test_every_joined_row_is_in_one_window_with_the_label_it_had_at_its_end(
    history: list[Came],
) -> None:
    join = LabelJoin(LabelledReader(classes()), WAIT)
    cutter = WindowCutter(WindowRule(4, 4))
    windows, requests = [], []
    for sequence, came in enumerate(history, 1):
        decoded = add(join, sequence, came)
        assert len(decoded.rows) == len(decoded.requests)
        for window in cutter.add_event(sequence, 1, decoded, "").windows:
            windows.append(window)
            requests += list(window.requests)
    rows, _ = offline(history)
    assert len(requests) + cutter.waiting == rows
    counts = {request: requests.count(request) for request in requests}
    answers = {each.request: len(each.values) for each in history if not each.given}
    assert all(counts[request] == answers[request] for request in counts)
    for window in windows:
        until = offline_until(history, window.last, set(window.requests))
        assert int(window.rows[:, 0].sum()) == until


def offline_until(history: list[Came], last: int, requests: set[str]) -> int:
    return offline([each for each in history[:last] if each.request in requests])[1]


def test_what_waits_too_long_is_given_up_and_told() -> None:
    join = LabelJoin(LabelledReader(classes()), WAIT)
    add(join, 1, Came("a", ("cat",)))
    add(join, 2, Came("b", ("cat",), given=1))
    add(join, 3, Came("c", ("cat",)), time=WAIT)
    assert (join.current.waiting, join.current.early) == (2, 1)
    add(join, 4, Came("a", ("cat",), given=2), time=WAIT + 1)
    assert (join.counts.expired, join.counts.unknown, join.counts.rows) == (1, 1, 0)
    assert (join.current.waiting, join.current.early) == (1, 1)
    add(join, 5, Came("c", ("cat",), given=3), time=WAIT + 1)
    assert (join.counts.rows, join.counts.right) == (1, 1)


def test_labels_of_another_releases_answers_are_told() -> None:
    join = LabelJoin(LabelledReader(classes()), WAIT)
    add(join, 1, Came("a", ("cat",), given=1))
    join.add_foreign(2, 0, "a")
    join.add_foreign(3, 0, "b")
    add(join, 4, Came("b", ("cat",), given=2))
    assert (join.counts.foreign, join.current.early) == (2, 0)
    # this release answers it after all: a client used the id twice
    decoded = add(join, 5, Came("b", ("cat",)))
    assert decoded.requests == ("b",)
    assert join.counts.right == 1


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    join = LabelJoin(LabelledReader(classes()), WAIT, most=3)
    for number in range(5):
        add(join, number + 1, Came(str(number), ("cat",)))
    assert (join.current.waiting, join.counts.expired, join.oldest) == (3, 2, 3)
    assert join.give_up_oldest(0.5) == 1
    assert (join.current.waiting, join.counts.expired) == (2, 3)


def test_a_request_that_is_given_up_for_another_label_of_its_batch_keeps_its_rows() -> None:
    join = LabelJoin(LabelledReader(classes()), WAIT, most=2)
    for number, request in enumerate("ab", 1):
        add(join, number, Came(request, ("cat",)))
    labels = tuple(RequestLabel(request=request, label="cat") for request in "ac")
    decoded = join.add_labels(3, 0, "e3", LabelBatch(given=1, labels=labels))
    assert decoded.requests == ("a",)
    assert (join.counts.rows, join.counts.right) == (1, 1)
    assert (join.current.waiting, join.current.early) == (1, 1)


@pytest.mark.parametrize(
    ("label", "reads"),
    [
        ("cat", "cat"),
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        ("horse", "horse"),
        ("7.0", "7"),
        (True, "true"),
        ("1.5", "1.5"),
    ],
)
def test_labels_are_classes_by_their_text(label: Any, reads: str) -> None:
    assert LabelledReader(classes()).read_label(label, 1) == (reads,)


def test_errors_of_numbers_and_their_correction() -> None:
    join = LabelJoin(LabelledReader(NUMBERS), WAIT)
    add(join, 1, Came("a", (3.0,)))
    rows = add(join, 2, Came("a", ("5.5",), given=1)).rows
    assert rows.tolist() == [[2.5, 3.0, 5.5]]
    assert (join.counts.mae, join.counts.rmse, join.counts.accuracy) == (2.5, 2.5, None)
    add(join, 3, Came("a", (4.0,), given=2))
    assert rows.tolist() == [[1.0, 3.0, 4.0]], "it is in the open window"
    assert (join.counts.mae, join.counts.contradicting) == (1.0, 1)
    add(join, 4, Came("a", ("much",), given=3))
    assert (join.counts.mae, join.counts.unreadable) == (1.0, 1)
    assert "mean absolute error 1 (RMSE 1) of 1 labelled rows" in join.current.describe()


@pytest.mark.parametrize(
    ("profile", "body", "answers"),
    [
        (classes(("0", "1"), "places"), {"ndarray": [[0.1, 0.9], [0.8, 0.2]]}, ("1", "0")),
        (
            classes(("cat", "dog"), "names"),
            {"names": ["dog", "cat"], "ndarray": [[0.9, 0.1]]},
            ("dog",),
        ),
        (classes(), {"ndarray": ["cat", "dog"]}, ("cat", "dog")),
        (classes(), {"ndarray": [[1.0], [0]]}, ("1", "0")),
        (NUMBERS, {"ndarray": [[1.5]]}, (1.5,)),
        (NUMBERS, {"ndarray": [[None]]}, ()),
        (classes(("0", "1"), "places"), {"ndarray": [[0.1, 0.9, 0.0]]}, ()),
    ],
)
def test_answers_are_read_as_labels_call_them(
    profile: TableProfile, body: dict[str, Any], answers: tuple[Any, ...]
) -> None:
    read = LabelledReader(profile).read_response(json.dumps({"data": body}).encode(), "seldon")
    assert read.answers == answers
    assert bool(read.faults.rejected) == (not answers)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_a_label_is_a_scalar_or_a_list_of_some(value: Any) -> None:
    scalars = value if isinstance(value, list) else [value]
    plain = all(isinstance(each, str | bool | int | float) for each in scalars)
    if is_label(value):
        assert plain
        assert scalars
        assert all(np.isfinite(each) for each in scalars if isinstance(each, float))


def test_counts_go_on_from_those_of_a_verdict_without_what_waited() -> None:
    join = LabelJoin(LabelledReader(classes()), WAIT)
    add(join, 1, Came("a", ("cat",)))
    stored = join.current
    assert stored.waiting == 1
    join.recall(replace(stored, rows=7, right=3))
    assert join.current == replace(stored, rows=7, right=3)


def test_what_rows_have_of_their_request_is_there_in_any_order() -> None:
    plain = classes()
    carrier = column("carrier", "category", ("UA", "AA"))
    profile = replace(plain, columns=(*plain.columns, carrier), asked=("carrier",), slices=1)
    events = [
        Came("a", ("cat", "dog")),
        Came("a", ("cat", "cat"), given=1),
        json.dumps({"data": {"names": ["carrier"], "ndarray": [["AA"], ["DL"]]}}).encode(),
    ]
    for order in itertools.permutations(events):
        join = LabelJoin(LabelledReader(profile), WAIT)
        cutter = WindowCutter(WindowRule(2, 2))
        windows = []
        for sequence, event in enumerate((*order, Came("b", ("dog", "dog"))), 1):
            if isinstance(event, bytes):
                asked = join.reader.read_request(event)
                assert asked is not None
                join.add_request(sequence, 0, "a", asked)
                continue
            decoded = add(join, sequence, event)
            rows = decoded.rows
            windows += cutter.add_event(sequence, 0, decoded, "").windows
        known = order.index(events[2]) < 2
        assert len(windows) == 1
        assert windows[0].rows[:, :3].tolist() == [[1, 0, 0], [0, 1, 0]]
        # a window that closed before its request came has none of it
        assert windows[0].rows[:, 3].tolist() == (
            [1, 2] if known else pytest.approx([math.nan] * 2, nan_ok=True)
        )
        assert rows.shape == (0, 4)


def test_a_request_that_comes_late_is_in_the_window_that_is_open() -> None:
    plain = classes()
    carrier = column("carrier", "category", ("UA", "AA"))
    profile = replace(plain, columns=(*plain.columns, carrier), asked=("carrier",), slices=1)
    join = LabelJoin(LabelledReader(profile), WAIT)
    cutter = WindowCutter(WindowRule(2, 2))
    add(join, 1, Came("a", ("cat",)))
    cutter.add_event(2, 0, add(join, 2, Came("a", ("cat",), given=1)), "")
    asked = join.reader.read_request(b'{"data": {"names": ["carrier"], "ndarray": [["UA"]]}}')
    assert asked is not None
    join.add_request(3, 0, "a", asked)
    add(join, 4, Came("b", ("dog",)))
    (window,) = cutter.add_event(5, 0, add(join, 5, Came("b", ("dog",), given=2)), "").windows
    assert window.rows[0].tolist() == [1, 0, 0, 0]
