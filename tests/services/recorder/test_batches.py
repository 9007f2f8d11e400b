"""Labelled traffic as training data: what a recorder writes into the folder of the data, once, whatever is killed."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from support.processes import until
from support.recorder import (
    RecorderWorld,
    make_answer,
    make_labels,
    make_request,
    read_whole,
)

from driftloop.contract.batches import BatchRange, BatchResult, BatchSettings, BatchState
from driftloop.contract.captures import RecorderTrouble
from driftloop.contract.recorders import RecorderState
from driftloop.contract.times import SECOND
from driftloop.services.recorder import batching
from driftloop.services.recorder.given import GivenLabel
from driftloop.services.recorder.labelled import LabelledRows, build_target

Start = Callable[..., RecorderWorld]
LONG = 150.0
BATCHES = {"uri": "s3://data/batches", "target": "y", "least": 2, "every": 0.5}
NAMES = ["fare", "carrier"]


def read_batches(world: RecorderWorld) -> list[list[dict[str, Any]]]:
    return [read_whole(file) for file in world.list_batches()]


async def count(world: RecorderWorld, what: str) -> int:
    return int((await world.read_state())["counts"].get(what, 0))


@pytest.mark.timeout(400)
async def test_each_labelled_request_is_in_one_batch_with_its_last_label(start: Start) -> None:
    world = start(batches=BATCHES)
    made = []
    for id, rows in (("a", [[1.0, "UA"]]), ("b", [[2.0, "AA"], [3.0, "DL"]]), ("c", [[4.0, None]])):
        made += [make_request(id, rows, names=NAMES), make_answer(id, [[0.5]] * len(rows))]
    labels = [
        make_labels(20, {"a": 7, "unknown": 1}),
        make_labels(10, {"a": 6, "b": [8, 9]}),
    ]
    # the shadow's copy is the same request
    copy = make_request("a", [[1.0, "UA"]], names=NAMES, release="r2")
    assert await world.post([*labels, *made, copy]) == [202] * 9
    await until(lambda: len(read_batches(world)) == 1, within=LONG)
    (first,) = read_batches(world)
    assert sorted(first, key=lambda row: row["fare"]) == [
        {"carrier": "UA", "fare": 1.0, "y": 7},
        {"carrier": "AA", "fare": 2.0, "y": 8},
        {"carrier": "DL", "fare": 3.0, "y": 9},
    ]
    world.recorder.kill()
    world.recorder.start()
    later = [
        make_labels(30, {"a": 5, "b": [8, 9], "c": [1, 2]}),
        make_request("d", [[5.0, "B6"]], names=NAMES),
        make_answer("d", [[0.5]]),
    ]
    assert await world.post(later) == [202] * 3
    await until(lambda: count_at_least(world, "labels", 7), within=LONG)
    assert await world.post([make_labels(40, {"c": 3, "d": 4})]) == [202]
    await until(lambda: len(read_batches(world)) == 2, within=LONG)
    second = sorted(read_batches(world)[1], key=lambda row: row["fare"])
    assert [(row["fare"], row["y"]) for row in second] == [(4.0, 3), (5.0, 4)]
    assert read_batches(world)[0] == first
    await until(lambda: count_at_least(world, "batches", 2), within=LONG)
    counts = (await world.read_state())["counts"]
    assert (counts["labelled"], counts["corrected"], counts["labels"]) == (5, 1, 9)


async def count_at_least(world: RecorderWorld, what: str, least: int) -> bool:
    return await count(world, what) >= least


@pytest.mark.timeout(400)
async def test_labels_are_not_kept_where_nobody_asks(start: Start) -> None:
    world = start()
    assert await world.post([make_labels(1, {"a": 1}), make_labels(2, {})]) == [202, 202]
    assert (await world.read_state())["waiting"] == 0


def test_a_label_of_another_number_of_rows_is_counted_and_not_written() -> None:
    traffic = pa.table(
        {"request_id": ["a", "a", "b"], "row": [0, 1, 0], "x": [1.0, 2.0, 3.0], "answer": [0, 0, 0]}
    )
    labels = {
        "a": GivenLabel(1, 0, "5"),
        "b": GivenLabel(1, 0, json.dumps([1])),
        "c": GivenLabel(1, 0, "1"),
    }
    rows = LabelledRows()
    rows.add_rows(traffic, labels)
    assert (rows.unfit, rows.targets, list(labels)) == (1, [1], ["c"])
    assert rows.build_table("y").to_pylist() == [{"x": 3.0, "y": 1}]


def test_a_request_that_was_not_read_is_not_written() -> None:
    traffic = pa.table({"request_id": ["a"], "row": [0], "x": pa.array([None], pa.float64())})
    labels = {"a": GivenLabel(1, 0, "5")}
    rows = LabelledRows()
    rows.add_rows(traffic, labels)
    assert (rows.targets, list(labels)) == ([], ["a"])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False], pa.bool_()),
        ([1, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        (["a", "b"], pa.string()),
        (["a", 1], pa.string()),
        ([2**70], pa.float64()),
        ([True, 1], pa.string()),
    ],
)
def test_labels_have_the_type_of_all(values: list[Any], kind: pa.DataType) -> None:
    assert build_target(values).type == kind


def test_a_look_is_due_when_labels_wait_and_time_has_passed() -> None:
    settings = BatchSettings(uri="s3://data/batches", target="y", least=2, every=60.0)
    minute = 60 * SECOND
    state = RecorderState(number=4)
    assert batching.choose_batch(state, settings, minute) is None
    state = batching.note_labels(state, minute, {"labels": 3})
    assert batching.choose_batch(state, None, 9 * minute) is None
    assert batching.choose_batch(state, settings, minute + 1) is None
    range = batching.choose_batch(state, settings, 2 * minute)
    assert range == BatchRange(number=1, after=0, last=4, moment=2 * minute)
    begun = batching.begin_batch(state, range)
    assert batching.choose_batch(begun, settings, 2 * minute + 1) == range
    few = batching.end_batch(begun, range, BatchResult(waiting=3))
    assert few.batch == BatchState(waiting=3, looked=2 * minute)
    failed = batching.note_trouble(begun, "the store is away")
    assert failed.fails
    assert "labelled traffic is not written" in failed.list_troubles("digits", 0)[0][1]
    done = batching.end_batch(failed, range, BatchResult(rows=3, requests=3, after=4, more=True))
    assert not done.fails
    assert (done.batch.number, done.batch.after, done.counts["labelled"]) == (1, 4, 3)
    assert batching.choose_batch(done, settings, 2 * minute + 1) is not None


def test_both_kinds_of_trouble_are_told() -> None:
    trouble = RecorderTrouble(since="2026-01-01T00:00:00Z", why="away")
    state = RecorderState(trouble=trouble, batch=BatchState(trouble=trouble))
    assert len(state.list_troubles("digits", 5)) == 2
