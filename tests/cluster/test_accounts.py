"""Who may do what in the cluster's NATS, asked of a real server: each user does its work, and meets nothing of the
others, whatever it tries."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass

import nats
import nats.errors
import pytest
from support.accounts import Accounts
from support.processes import url

from driftloop.clients import events
from driftloop.clients.jetstream import Publisher, Puller
from driftloop.clients.nats import (
    connect_client,
    ensure_contract_stream,
    ensure_stream,
    open_connection,
    publish_message,
)
from driftloop.contract.accounts import KNATIVE_USER, RIGHTS, NatsRole
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.streams import (
    DEAD_LETTERS,
    DECISIONS,
    VERDICTS,
    AnalysisStreams,
    DetectorStreams,
    dead_letter_subject,
    decision_key,
)
from driftloop.contract.verdicts import VerdictRecord
from driftloop.errors import StoreError
from driftloop.operations.traces.capturing import read_captured
from driftloop.retrain.state import HaltEvent, TickEvent
from driftloop.retrain.store import DecisionStore, apply_once
from driftloop.services.decision.evidence import find_stored

SPACES = ("a", "team-a")
FULL = tuple(role for role, rights in RIGHTS.items() if not rights.publish)
QUICK = 0.4


@dataclass(frozen=True)
class Held:
    """A stream of an account, with a subject of its own that holds one message: the account's name."""

    account: str
    name: str
    subject: str
    owner: str
    """URL of a user that may do all there."""


def detector(namespace):
    return DetectorStreams(namespace, "p", "drift", "r1")


@pytest.fixture
def server(tmp_path):
    accounts = Accounts.start(tmp_path / "nats", *SPACES)
    yield accounts
    accounts.process.kill()


def held(server):
    for space in SPACES:
        streams = {
            NatsRole.DETECTOR: [
                (detector(space).stream, detector(space).event_subject("r1")),
                (VERDICTS.name, detector(space).verdicts),
            ],
            NatsRole.JUDGE: [
                (AnalysisStreams(space, "p").responses.name, AnalysisStreams(space, "p").subject("r1"))
            ],
            NatsRole.DECISION: [
                (DEAD_LETTERS.name, dead_letter_subject(space, "p")),
                (DECISIONS.stream, DECISIONS.prefix + decision_key(space, "p")),
            ],
            # Argo Events has these names in every namespace
            NatsRole.BUS: [("default", "default.p-retrain.retrain"), ("KV_p-retrain", "$KV.p-retrain.Triggers")],
        }  # fmt: skip
        for role, entries in streams.items():
            for name, subject in entries:
                account = RIGHTS[role].account.of(space)
                yield Held(account, name, subject, server.url(space, role))
        channel = f"KN_{space.upper().replace('-', '_')}__DEFAULT"
        subject = f"{space}.default-kne-trigger._knative"
        yield Held(KNATIVE_USER, channel, subject, server.knative)


def users(server):
    for space in SPACES:
        for role, rights in RIGHTS.items():
            yield role.of(space), rights.account.of(space), role, server.url(space, role)
    yield KNATIVE_USER, KNATIVE_USER, None, server.knative


@asynccontextmanager
async def connected(address):
    async def told(_):
        """Refusals are seen in what is not stored."""

    client = await nats.connect(address, error_cb=told)
    try:
        yield client
    finally:
        await client.close()


async def ask(client, subject, request):
    """The server's answer; None for one that says no, and when there is none."""
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    try:
        answer = json.loads((await client.request(subject, data, timeout=QUICK)).data)
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
        return None
    return None if "error" in answer else answer


async def attempt(client, at):
    """What somebody gets who tries all on one stream."""
    read = await ask(client, f"$JS.API.STREAM.MSG.GET.{at.name}", {"last_by_subj": at.subject})
    config = {
        "deliver_policy": "all",
        "ack_policy": "none",
        "inactive_threshold": 10**10,
        "name": "c",
    }
    made = await ask(
        client, f"$JS.API.CONSUMER.CREATE.{at.name}.c", {"stream_name": at.name, "config": config}
    )
    return base64.b64decode(read["message"]["data"]).decode() if read else None, made is not None


async def harm(client, at):
    """Everything that changes a stream."""
    return [
        await ask(client, at.subject, b"forged"),
        await ask(client, f"$JS.API.STREAM.UPDATE.{at.name}", {"name": at.name, "subjects": ["x"]}),
        await ask(client, f"$JS.API.STREAM.PURGE.{at.name}", {}),
        await ask(client, f"$JS.API.STREAM.DELETE.{at.name}", b""),
    ]


async def fill(server):
    """Make each stream, by the user whose it is."""
    for at in held(server):
        async with open_connection(at.owner, name="owner") as js:
            await ensure_stream(js, at.name, [at.subject])
            await publish_message(js, at.subject, at.account.encode())


async def contents(server):
    result = {}
    for at in held(server):
        async with connected(at.owner) as client:
            info = await client.jetstream().stream_info(at.name)
            last = await client.jetstream().get_last_msg(at.name, at.subject)
            result[at] = (info.config.subjects, info.state.messages, info.state.last_seq, last.data)
    return result


async def test_a_user_meets_nothing_of_another_account(server):
    await fill(server)
    before = await contents(server)
    for user, account, role, address in users(server):
        own = {at.name for at in held(server) if at.account == account}
        async with connected(address) as client:
            tried = await asyncio.gather(*(attempt(client, at) for at in held(server)))
            others = [at for at in held(server) if at.account != account and at.name not in own]
            done = await asyncio.gather(*(harm(client, at) for at in others))
            assert done == [[None] * 4 for _ in others], user
            for at, (read, consumed) in zip(held(server), tried, strict=True):
                if at.account == account:
                    allowed = role is not NatsRole.STEP or at.name == DECISIONS.stream
                    assert (read == account) is allowed, (user, at)
                    assert consumed is (role is not NatsRole.STEP), (user, at)
                    continue
                # a name may be in both accounts: then it is the user's own that answers
                assert read in (None, account), (user, at)
                assert at.name in own or (read, consumed) == (None, False), (user, at)
    assert await contents(server) == before


@pytest.mark.parametrize("role", [NatsRole.STEP, NatsRole.READER])
async def test_who_shares_an_account_may_change_only_what_is_its_own(server, role):
    await fill(server)
    before = await contents(server)
    async with connected(server.url("a", role)) as client:
        for at in held(server):
            if at.account != RIGHTS[role].account.of("a"):
                continue
            stored, *rest = await harm(client, at)
            assert rest == [None] * 3, at
            may = role is NatsRole.STEP and at.name == DECISIONS.stream
            assert (stored is not None) is may, at
    changed = {at.name for at, now in (await contents(server)).items() if now != before[at]}
    assert changed == ({DECISIONS.stream} if role is NatsRole.STEP else set())


async def test_what_goes_around_subject_permissions_does_not_get_into_another_account(server):
    """Inside one account these overwrite the decision's state, or copy it: the server itself writes."""
    await fill(server)
    before = await contents(server)
    target = DECISIONS.prefix + decision_key("a", "p")
    async with connected(server.url("a", NatsRole.DETECTOR)) as client:
        own = {"name": "X", "subjects": ["x.>"], "storage": "file"}
        info = await client.request("$JS.API.STREAM.CREATE.X", json.dumps(own).encode())
        assert "error" not in json.loads(info.data)
        await client.publish("$JS.API.STREAM.INFO.X", b"", reply=target)
        await client.publish("x.1", b"forged", reply=target)
        push = {"durable_name": "p", "deliver_subject": target, "ack_policy": "none"}
        asked = json.dumps({"stream_name": "X", "config": push}).encode()
        await client.request("$JS.API.CONSUMER.DURABLE.CREATE.X.p", asked)
        for more in (
            {"republish": {"src": "x.*", "dest": target}},
            {"sources": [{"name": DECISIONS.stream}]},
        ):
            await client.request("$JS.API.STREAM.UPDATE.X", json.dumps({**own, **more}).encode())
            await client.request("x.2", b"forged")
        await asyncio.sleep(1)
        state = (await client.jetstream().stream_info("X")).state
        assert state.messages == 3
    assert await contents(server) == before


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("", "refuses whoever names no user"),
        ("a_detector:guess@", "refuses the user `a_detector` or its password"),
        ("nobody:guess@", "refuses the user `nobody` or its password"),
    ],
)
async def test_nobody_gets_in_without_a_user(server, user, said):
    with pytest.raises(StoreError) as refused:
        await connect_client(url(server.process).replace("//", f"//{user}"), name="x", wait=2)
    assert said in refused.value.message
    assert "guess" not in str(refused.value)
    assert "secrets init" in (refused.value.hint or "")


async def test_a_further_namespace_and_a_new_password_need_no_restart(server):
    async with connected(server.url("a", NatsRole.JUDGE)) as kept:
        old = server.url("team-a", NatsRole.JUDGE)
        async with open_connection(old, name="old") as js:
            await ensure_stream(js, "OLD", ["old"])
            await publish_message(js, "old", b"kept")
        server.passwords["late"] = type(server.passwords["a"])()
        server.passwords["team-a"] = type(server.passwords["a"])()
        server.reload()
        async with open_connection(server.url("late", NatsRole.DETECTOR), name="late") as js:
            await ensure_contract_stream(js, VERDICTS)
        async with open_connection(server.url("team-a", NatsRole.JUDGE), name="new") as js:
            assert (await js.get_last_msg("OLD", "old")).data == b"kept"
        with pytest.raises(StoreError):
            await connect_client(old, name="old", wait=1)
        assert kept.is_connected
        assert kept.stats["reconnects"] == 0


def verdict(window):
    record = {"detector": "drift", "release": "r1", "window": window, "alarm": True}
    return json.dumps(
        {**record, "size": 1, "first": 1, "last": 1, "score": 1, "threshold": 0}
    ).encode()


async def test_a_detector_stores_events_and_verdicts_and_the_decision_believes_them(server):
    streams = detector("a")
    client = await connect_client(server.url("a", NatsRole.DETECTOR), name="detector")
    js = client.jetstream()
    await ensure_contract_stream(js, streams.events_stream)
    await ensure_contract_stream(js, streams.events_stream)
    await ensure_contract_stream(js, VERDICTS)
    publisher = await Publisher(client).start()
    event = events.Event({"id": "1", "type": "t", "source": "/s"}, b'{"data": 1}')
    assert await publisher.publish(
        streams.event_subject("r1"), events.pack_event(event), message_id="1"
    )
    consumer = await js.add_consumer(streams.stream, name="judge", ack_policy="none")
    puller = await Puller(client, streams.stream, consumer.name, expires=1).start()
    assert len(await puller.next_batch()) == 1
    await publish_message(js, streams.verdicts, verdict(1), message_id="v1", expected_last=0)
    await js.purge_stream(streams.stream, subject=streams.event_subject("old"))

    async with open_connection(server.url("a", NatsRole.READER), name="decision") as reader:
        record = VerdictRecord("drift", "r1", 1, alarm=True)
        assert await find_stored(reader, "a", "p", record)
        assert not await find_stored(reader, "a", "p", VerdictRecord("drift", "r1", 2, alarm=True))
        assert not await find_stored(reader, "a", "p", VerdictRecord("other", "r1", 1, alarm=True))
    captured = await asyncio.to_thread(read_captured, server.url("a", NatsRole.READER), streams)
    assert captured.bodies == ('{"data": 1}',)
    await publisher.stop()
    await client.close()


@pytest.mark.parametrize("first", [NatsRole.STEP, NatsRole.DECISION])
async def test_a_step_and_the_decision_write_the_same_state(server, first):
    for role in (first, NatsRole.DECISION, NatsRole.STEP):
        await asyncio.to_thread(apply_once, server.url("a", role), "a", "p", TickEvent())
    async with open_connection(server.url("a", NatsRole.DECISION), name="decision") as js:
        store = await DecisionStore.open_bucket(js, "a", "p")
        await store.apply_event(HaltEvent("by hand"), RetrainPolicy())
    state = await asyncio.to_thread(
        apply_once, server.url("a", NatsRole.STEP), "a", "p", TickEvent()
    )
    assert state.halt == "by hand"
    # a bucket of this name in the detector's own account is another bucket
    other = server.url("a", NatsRole.DETECTOR)
    assert (await asyncio.to_thread(apply_once, other, "a", "p", TickEvent())).halt is None
