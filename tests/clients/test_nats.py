"""The NATS clients against a real server: races, restarts, repeats, and a consumer that vanishes."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import nats as nats_py
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from support.processes import PATIENCE, Process, nats, until, url

from driftloop.clients.jetstream import Publisher, Puller, TooLargeError
from driftloop.clients.nats import (
    MessagePosition,
    WrongLastSequenceError,
    connect_client,
    ensure_stream,
    key_value,
    list_keys,
    open_connection,
    publish_message,
    read_messages,
    read_position,
)
from driftloop.contract.handovers import RetrainPolicy
from driftloop.errors import StoreError
from driftloop.retrain.decision import is_claimed
from driftloop.retrain.state import AlarmEvent, ClaimEvent, EndEvent, RetrainState
from driftloop.retrain.store import DecisionStore, apply_once


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = nats(tmp_path_factory.mktemp("nats")).start()
    yield process
    process.kill()


@pytest.fixture
async def client(server: Process) -> AsyncIterator[Client]:
    it = await connect_client(url(server), name="test")
    yield it
    await it.close()


async def test_nobody_there_is_a_clear_error() -> None:
    with pytest.raises(StoreError, match=r"no connection to NATS at nats://127\.0\.0\.1:1"):
        await connect_client("nats://127.0.0.1:1", name="test", wait=1)


async def test_jetstream_may_come_a_moment_after_the_connection(server: Process) -> None:
    """So it does for a namespace whose account the server has just read."""
    with_jetstream = list(server.argv)
    server.kill()
    server.argv.remove("-js")
    server.start()
    async with open_connection(url(server), name="early") as js:

        async def make() -> None:
            while True:
                try:
                    return await ensure_stream(js, "S", ["s"])
                except StoreError as error:
                    # a question that was under way when the server ended has no answer
                    if "timeout" not in error.message:
                        raise

        making = asyncio.ensure_future(make())
        await asyncio.sleep(0.5)
        assert not making.done()
        server.argv[:] = with_jetstream
        server.kill()
        server.start()
        await making
        assert (await js.stream_info("S")).config.subjects == ["s"]


async def test_streams_are_made_and_changed(client: Client) -> None:
    js = client.jetstream()
    await ensure_stream(js, "S", ["s.>"], max_age=60)
    await ensure_stream(js, "S", ["s.>"], max_age=120, max_msgs_per_subject=3)
    config = (await js.stream_info("S")).config
    assert (config.max_age, config.max_msgs_per_subject, config.duplicate_window) == (120, 3, 120)
    with pytest.raises(StoreError, match="stream T"):
        await ensure_stream(js, "T", ["s.x"])


async def test_publish_recognises_repeats_and_lost_races(client: Client) -> None:
    js = client.jetstream()
    with pytest.raises(StoreError, match="no stream"):
        await publish_message(js, "s.a", b"1")
    await ensure_stream(js, "S", ["s.>"])
    first = await publish_message(js, "s.a", b"1", message_id="one", expected_last=0)
    assert (await publish_message(js, "s.a", b"1", message_id="one")).duplicate
    with pytest.raises(WrongLastSequenceError):
        await publish_message(js, "s.a", b"2", expected_last=0)
    await publish_message(js, "s.a", b"2", expected_last=first.seq)


async def test_many_publishes_at_once_are_all_stored_once(client: Client) -> None:
    js = client.jetstream()
    await ensure_stream(js, "S", ["s.>"])
    publisher = await Publisher(client).start()
    fresh = await asyncio.gather(
        *(publisher.publish("s.a", b"x", message_id=f"{n % 500}") for n in range(1000))
    )
    assert sum(fresh) == 500
    assert (await js.stream_info("S")).state.messages == 500
    with pytest.raises(TooLargeError):
        await publisher.publish("s.a", b"x" * 2_000_000, message_id="big")
    with pytest.raises(StoreError):
        await publisher.publish("nowhere", b"x", message_id="lost")
    await publisher.stop()


async def test_messages_that_wait_for_others_are_stored_in_order_each_with_its_own_answer(
    client: Client,
) -> None:
    js = client.jetstream()
    await ensure_stream(js, "S", ["s.>"])
    publisher = await Publisher(client, linger=0.2).start()
    sent = [
        asyncio.ensure_future(publisher.publish("s.a", str(n).encode(), message_id=f"{n % 30}"))
        for n in range(40)
    ]
    await asyncio.sleep(0)
    sent[35].cancel()
    done = await asyncio.gather(*sent[:35], *sent[36:])
    assert done == [True] * 30 + [False] * 9
    messages = [await js.get_msg("S", n) for n in range(1, 31)]
    assert [message.data for message in messages] == [str(n).encode() for n in range(30)]
    alone = asyncio.ensure_future(publisher.publish("nowhere", b"x", message_id="lost"))
    with pytest.raises(StoreError, match="no stream"):
        await alone
    await publisher.stop()


async def test_a_full_stream_refuses_with_the_reason(client: Client) -> None:
    from nats.js.api import DiscardPolicy

    js = client.jetstream()
    await ensure_stream(js, "S", ["s.>"], max_bytes=2000, discard=DiscardPolicy.NEW)
    publisher = await Publisher(client).start()

    async def fill() -> None:
        for number in range(20):
            await publisher.publish("s.a", b"x" * 200, message_id=str(number))

    with pytest.raises(StoreError) as error:
        await fill()
    assert "full" in (error.value.hint or "")
    await publisher.stop()


async def test_a_stream_that_refuses_keeps_what_it_holds_when_its_room_shrinks(
    client: Client,
) -> None:
    """As after an upgrade from a tree whose detectors reserved 1 GiB each."""
    from nats.js.api import DiscardPolicy

    js = client.jetstream()
    await ensure_stream(js, "S", ["s.>"], max_bytes=2**20, discard=DiscardPolicy.NEW)
    for _ in range(20):
        await js.publish("s.a", b"x" * 200)
    await ensure_stream(js, "S", ["s.>"], max_bytes=1000, discard=DiscardPolicy.NEW)
    info = await js.stream_info("S")
    assert info.state.messages == 20
    assert info.config.max_bytes == info.state.bytes
    await js.purge_stream("S")
    await ensure_stream(js, "S", ["s.>"], max_bytes=1000, discard=DiscardPolicy.NEW)
    assert (await js.stream_info("S")).config.max_bytes == 1000


async def test_a_message_says_where_it_stands_and_how_many_follow(client: Client) -> None:
    js = client.jetstream()
    await ensure_stream(js, "P", ["p.>"])
    for number in range(5):
        await publish_message(js, "p.a", str(number).encode())
    read = await js.pull_subscribe("p.a", "place")
    messages = await read.fetch(3)
    found = [read_position(one) for one in messages]
    assert found == [MessagePosition(n, n, 1, found[n - 1].time, 5 - n) for n in (1, 2, 3)]
    assert [place.time / 1e9 for place in found] == pytest.approx(
        [one.metadata.timestamp.timestamp() for one in messages], abs=1e-3
    )


@pytest.mark.parametrize("more", ["", ".token"])
def test_a_place_is_read_with_a_domain_too(more: str) -> None:
    reply = f"$JS.ACK.hub.ACCOUNT.S.c.2.17.9.1700000000000000000.4{more}"
    assert read_position(Msg(_client=None, reply=reply)) == MessagePosition(
        17, 9, 2, 1700000000000000000, 4
    )  # type: ignore[arg-type]


async def test_a_puller_outlives_the_server_and_notices_a_lost_consumer(
    server: Process, client: Client
) -> None:
    js = client.jetstream()
    await ensure_stream(js, "S", ["s.>"])
    config = ConsumerConfig(
        durable_name="c", ack_policy=AckPolicy.EXPLICIT, deliver_policy=DeliverPolicy.ALL
    )
    await js.add_consumer("S", config)
    puller = await Puller(client, "S", "c", batch=10, expires=1.0).start()
    assert await puller.next_batch() == []
    for number in range(25):
        await publish_message(js, "s.a", str(number).encode())
    got: list[int] = []

    async def take(count: int) -> None:
        while len(got) < count:
            try:
                messages = await puller.next_batch()
            except StoreError:
                await asyncio.sleep(0.1)
                continue
            for message in messages:
                assert read_position(message).stream == int(message.data) + 1
                got.append(int(message.data))
                await message.ack()

    await asyncio.wait_for(take(25), PATIENCE)
    assert got == list(range(25))
    server.kill()
    server.start()

    async def published() -> bool:
        try:
            await publish_message(js, "s.a", b"25", message_id="25", timeout=1)
        except StoreError:
            return False
        return True

    await until(published)
    await asyncio.wait_for(take(26), PATIENCE)
    await js.delete_consumer("S", "c")

    async def empty() -> None:
        for _ in range(5):
            await puller.next_batch()

    with pytest.raises(StoreError, match="consumer c of S"):
        await empty()
    await puller.stop()


async def test_racing_claims_have_one_winner(server: Process) -> None:
    async def claim(number: int) -> bool:
        async with open_connection(url(server), name=f"racer-{number}") as js:
            store = await DecisionStore.open_bucket(js, "n", "race")
            applied = await store.apply_event(
                ClaimEvent(f"run-{number}", f"d{number}", "person"), RetrainPolicy()
            )
            return is_claimed(applied.state, f"run-{number}")

    assert sum(await asyncio.gather(*(claim(number) for number in range(12)))) == 1


async def test_racing_alarms_are_all_counted(server: Process) -> None:
    policy = RetrainPolicy(consecutive=20)

    async def alarms(part: int) -> None:
        async with open_connection(url(server), name=f"racer-{part}") as js:
            store = await DecisionStore.open_bucket(js, "n", "alarms")
            for window in range(part, 20, 4):
                await store.apply_event(
                    AlarmEvent("drift", "r1", window + 1, True, f"e{window}"), policy
                )

    await asyncio.gather(*(alarms(part) for part in range(4)))
    async with open_connection(url(server), name="reader") as js:
        assert (
            await (await DecisionStore.open_bucket(js, "n", "alarms")).read_state()
        ).phase == "pending"


async def test_steps_claim_and_end_from_outside_a_loop(server: Process) -> None:
    def steps() -> list[RetrainState]:
        where = url(server), "n", "digits"
        return [
            apply_once(*where, ClaimEvent("run-1", "d1", "person")),
            apply_once(*where, ClaimEvent("run-2", "d2", "person")),
            apply_once(*where, EndEvent("run-1", "released")),
            apply_once(*where, ClaimEvent("run-1", "d1", "person")),
        ]

    first, second, ended, again = await asyncio.to_thread(steps)
    assert is_claimed(first, "run-1")
    assert not is_claimed(second, "run-2")
    assert ended.phase == "cooling"
    assert not is_claimed(again, "run-1")


def test_the_library_is_the_one_it_was_written_for() -> None:
    assert hasattr(nats_py, "connect")


async def test_keys_are_listed_however_busy_the_client_is(client: Client) -> None:
    js = client.jetstream()
    assert await list_keys(js, "missing") == ()
    bucket = await key_value(js, "some")
    assert await list_keys(js, "some") == ()
    for number in range(5):
        await bucket.put(f"n.{number}", b"{}")
    await bucket.delete("n.2")
    found = await asyncio.gather(*(list_keys(js, "some") for _ in range(50)))
    assert set(found) == {("n.0", "n.1", "n.3", "n.4")}


async def test_messages_outlive_the_server_until_their_consumer_is_gone(
    server: Process, client: Client
) -> None:
    js = client.jetstream()
    await ensure_stream(js, "NEWS", ["news.>"])
    await js.add_consumer(
        "NEWS", ConsumerConfig(durable_name="reader", ack_policy=AckPolicy.EXPLICIT, ack_wait=1)
    )
    seen: list[bytes] = []

    async def read() -> None:
        subscription = await js.pull_subscribe_bind("reader", "NEWS")
        async for message in read_messages(subscription, batch=10, wait=0.3):
            seen.append(message.data)
            await message.ack()

    reading = asyncio.create_task(read())
    await publish_message(js, "news.one", b"1")
    await until(lambda: seen == [b"1"])
    server.kill()
    await asyncio.sleep(0.5)
    server.start()
    await until(lambda: client.is_connected)
    await publish_message(js, "news.two", b"2")
    await until(lambda: b"2" in seen)
    await js.delete_consumer("NEWS", "reader")
    with pytest.raises(StoreError, match="the consumer was deleted"):
        async with asyncio.timeout(PATIENCE):
            await reading


ENDING = """
import asyncio, logging, sys
from driftloop.clients.nats import connect_client

async def main():
    client = await connect_client(sys.argv[1], name="program")
    await client.publish("x" * 5000, b"")
    await asyncio.sleep(600)

logging.basicConfig()
asyncio.run(main())
"""


def test_a_program_ends_when_nats_closes_its_connection(server: Process) -> None:
    """A line over NATS's limit: it closes the connection for good, and nothing would ever be heard again."""
    command = [sys.executable, "-c", ENDING, url(server)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "NATS closed the connection program" in done.stderr
    assert "maximum control line exceeded" in done.stderr.lower()
