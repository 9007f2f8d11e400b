"""The claim reads the last requests of production's callers, for the rehearsal."""

import asyncio
import json

from driftloop.clients import events
from driftloop.clients.nats import ensure_contract_stream, open_connection, publish_message
from driftloop.contract.streams import DetectorStreams
from driftloop.operations.traces import capturing
from tests.steps.conftest import DATA, World
from tests.steps.test_data_steps import released


def claim(world: World, run: str) -> dict[str, object]:
    out = world.folder / run
    world.step(
        "claim",
        *("--pipeline", "digits", "--namespace", world.namespace, "--run", run, "--decision", ""),
        *("--cause", "person eve", "--capture", "drift", "--requests", str(out / "requests")),
        *("--out", str(out)),
    )
    document: dict[str, object] = json.loads((out / "requests" / "requests.json").read_text())
    return document


async def send(world: World, release: str, number: int, *, first: int = 0) -> None:
    """Requests as the broker delivers them to a detector."""
    streams = DetectorStreams(world.namespace, "digits", "drift", release)
    async with open_connection(world.environment["NATS_URL"], name="test") as js:
        await ensure_contract_stream(js, streams.events_stream)
        for n in range(first, first + number):
            event = events.make_event(
                "io.seldon.serving.inference.request",
                "test",
                {"data": {"names": ["a"], "ndarray": [[n]]}},
                endpoint=release,
                protocol="seldon",
            )
            await publish_message(js, streams.event_subject(release), events.pack_event(event))


def test_before_the_first_release_there_are_none(world: World) -> None:
    captured = claim(world, "digits-none")
    assert captured["bodies"] == []
    assert "no production yet" in str(captured["note"])


def test_the_last_requests_of_production_alone_as_they_were_sent(world: World) -> None:
    world.store.write_object(DATA / "a.npz", b"a")
    production = released(world, "digits-a").id
    assert f"drift has kept none of {production}" in str(claim(world, "digits-quiet")["note"])
    asyncio.run(send(world, production, 60))
    asyncio.run(send(world, "r00000000", 200))
    asyncio.run(send(world, production, 70, first=60))
    captured = claim(world, "digits-busy")
    assert captured["release"] == production
    bodies = captured["bodies"]
    assert isinstance(bodies, list)
    assert [json.loads(body)["data"]["ndarray"][0][0] for body in bodies] == list(range(30, 130))
    assert len(bodies) == capturing.MOST
    assert all(json.loads(body)["data"]["names"] == ["a"] for body in bodies)
