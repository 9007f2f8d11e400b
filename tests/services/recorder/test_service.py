"""The recorder as a process: what its door answers, what it writes, and what becomes of it without a store."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import nats.js.errors
import pytest
from support.processes import until, url
from support.recorder import NAMESPACE, PIPELINE, RecorderWorld, make_answer, make_request

from driftloop.clients.nats import open_connection
from driftloop.contract.streams import RecorderStreams

Start = Callable[..., RecorderWorld]
LONG = 150.0


def ids(world: RecorderWorld) -> Counter[str]:
    return Counter(row["request_id"] for row in world.read_rows())


async def count_events(world: RecorderWorld, events: int) -> bool:
    """True when the recorder says that so many events are written."""
    return bool((await world.read_state())["counts"].get("events") == events)


async def is_purged(world: RecorderWorld) -> bool:
    return await count_kept(world) == 0


async def count_kept(world: RecorderWorld) -> int:
    """Events that the recorder's stream still has."""
    async with open_connection(url(world.nats), name="test") as js:
        try:
            stream = RecorderStreams(NAMESPACE, PIPELINE).events_stream.name
            return (await js.stream_info(stream)).state.messages
        except nats.js.errors.NotFoundError:
            return 0


@pytest.mark.timeout(400)
async def test_requests_and_answers_become_rows(start: Start) -> None:
    world = start()
    made = [
        make_request("a", [[1.0, 2.0]], names=["fare", "miles"]),
        make_answer("a", [[0.25, 0.75]]),
        make_request("b", [["UA", 3], ["AA", 4]], names=["carrier", "miles"], release="r2"),
        make_answer("b", [[1], [0]], release="r2"),
        make_request("c", body=b"odd"),
        make_answer("c"),
    ]
    assert await world.post(made) == [202] * 6
    assert await world.post(made[:1]) == [202], "a repeat is acknowledged"
    await until(lambda: ids(world).total() == 4, within=LONG)
    rows = {(row["request_id"], row["row"]): row for row in world.read_rows()}
    assert rows["a", 0]["fare"] == 1.0
    assert rows["a", 0]["answer"] == [0.25, 0.75]
    assert (rows["a", 0]["release"], rows["a", 0]["role"]) == ("r1", "production")
    assert rows["a", 0]["status"] == 200
    assert rows["a", 0]["latency_ms"] >= 0
    assert [rows["b", n]["carrier"] for n in (0, 1)] == ["UA", "AA"]
    assert [rows["b", n]["answer"] for n in (0, 1)] == [1.0, 0.0]
    assert rows["b", 0]["role"] == "shadow"
    assert rows["c", 0]["raw_request"] == b"odd"
    await until(lambda: count_events(world, 6), within=LONG)
    state = await world.read_state()
    counts = state["counts"]
    assert (counts["rows"], counts["pairs"], counts["undecoded"]) == (4, 3, 1)
    assert state["trouble"] is None
    await until(lambda: is_purged(world), within=LONG)


@pytest.mark.timeout(400)
async def test_what_is_not_its_own_is_acknowledged_and_not_kept(start: Start) -> None:
    world = start(share=0.0)
    other = make_request("a", pipeline="other")
    assert await world.post([other, make_request("b")]) == [202, 202]
    assert await count_kept(world) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_without_the_store_events_wait_and_nothing_is_lost(start: Start) -> None:
    world = start()
    world.s3.kill()
    for number in range(20):
        made = [make_request(f"id-{number}"), make_answer(f"id-{number}")]
        assert await world.post(made) == [202, 202]

    async def is_troubled() -> bool:
        return (await world.read_state())["trouble"] is not None

    await until(is_troubled, within=120)
    trouble = (await world.read_state())["trouble"]
    assert datetime.fromisoformat(trouble["since"]) <= datetime.now(UTC)
    assert "S3" in trouble["why"]
    world.s3.start()
    await until(lambda: ids(world).total() == 20, within=120)
    assert set(ids(world).values()) == {1}

    async def is_well() -> bool:
        return (await world.read_state())["trouble"] is None

    await until(is_well, within=LONG)


@pytest.mark.timeout(400)
async def test_a_full_stream_refuses_until_there_is_room(start: Start) -> None:
    world = start(stream_bytes=8192, every=3600.0)
    statuses = await world.post(make_request(f"id-{n}", body=b"x" * 1000) for n in range(12))
    assert set(statuses) == {202, 503}
    assert statuses == sorted(statuses)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_restart_goes_on_where_it_was(start: Start) -> None:
    world = start(every=2.0)
    await world.post([make_request("a"), make_request("b"), make_answer("b")])
    await until(lambda: ids(world) == {"b": 1}, within=LONG)
    world.recorder.kill()
    world.recorder.start()
    await world.post([make_answer("a")])
    await until(lambda: ids(world).total() == 2, within=LONG)
    row = next(row for row in world.read_rows() if row["request_id"] == "a")
    assert (row["status"], row["x"], row["answer"]) == (200, [1.0, 2.0], [0.25, 0.75])


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_days_are_deleted_that_are_not_kept(start: Start) -> None:
    world = start(keep=2 * 86400.0)
    await world.post([make_request("a"), make_answer("a")])
    await until(lambda: ids(world) == {"a": 1}, within=LONG)
    (part, file), *_ = world.list_files()
    world.recorder.kill()
    days = {}
    for age in (2, 4):
        day = (datetime.now(UTC) - timedelta(days=age)).date().isoformat()
        days[age] = world.traffic / f"day={day}" / "release=r1" / file.name
        days[age].parent.mkdir(parents=True)
        shutil.copy(file, days[age])
    # the store remembers what its folders hold for two seconds
    await asyncio.sleep(3)
    world.recorder.start()
    await until(lambda: not days[4].exists(), within=LONG)
    assert days[2].exists()
    assert file.exists()
    assert part.rows == 1


@pytest.mark.timeout(400)
async def test_columns_are_not_written_that_are_dropped(start: Start) -> None:
    world = start(drop=["name"], hash=["email"])
    row: list[Any] = ["Ann", "ann@example.org", 7]
    names = ["name", "email", "n"]
    await world.post([make_request("a", [row], names=names), make_answer("a")])
    await world.post([make_request("b", [row], names=names), make_answer("b")])
    await until(lambda: ids(world).total() == 2, within=LONG)
    first, second = world.read_rows()
    assert "name" not in first
    assert first["n"] == 7.0
    assert first["email"] == second["email"]
    assert first["email"] != "ann@example.org"
    assert not any(b"example.org" in file.read_bytes() for _, file in world.list_files())
