"""kill -9 of broker, NATS and detector during traffic: every acknowledged event is in exactly one verdict."""

import asyncio
import functools
import json
import random
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError
from support.detector import WIDTH
from support.processes import Process, free_port, nats, tell_nats, until, url
from support.streams import stored

from driftloop.clients import events
from driftloop.clients.nats import open_connection, read_position
from driftloop.contract.times import SECOND
from driftloop.contract.verdicts import LastingRecord
from driftloop.services.detector.rows.payload import DecodedRows
from driftloop.services.detector.stream.windows import WindowCutter, WindowRule

SUBJECT = "driftloop.verdicts.n.digits.drift.r1"
WINDOW = 50
EVENTS = WindowRule(WINDOW, WINDOW)


def objects() -> list[dict[str, Any]]:
    delivery = {"retry": 50, "backoffPolicy": "linear", "backoffDelay": "PT0.1S", "timeout": "PT5S"}
    return [
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Broker",
            "metadata": {"name": "default", "namespace": "n"},
            "spec": {},
        },
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": "digits-drift", "namespace": "n"},
            "spec": {
                "broker": "default",
                "filter": {
                    "attributes": {"type": "io.seldon.serving.inference.request", "endpoint": "r1"}
                },
                "subscriber": {
                    "ref": {"apiVersion": "v1", "kind": "Service", "name": "digits-drift"}
                },
                "delivery": delivery,
            },
        },
    ]


class Chain:
    """NATS, broker and detector as processes, and a logger that posts until it has its 202."""

    def __init__(
        self,
        folder: Path,
        start: Callable[..., Process],
        window: WindowRule = EVENTS,
        *,
        kind: str = "ks",
        mean: float = 0.0,
    ) -> None:
        self.server = nats(folder / "nats").start()
        broker = free_port()
        timed = (
            {}
            if window.at_most is None
            else {"at_most": window.at_most / SECOND, "least": window.least}
        )
        self.detector = start(
            self.server,
            kind=kind,
            window=window.rows,
            broker=f"http://127.0.0.1:{broker}/n/default",
            **timed,
        )
        run = folder / "run"
        run.mkdir()
        (run / "ports.json").write_text(json.dumps({"nats": self.server.port, "broker": broker}))
        tell_nats(folder, self.server)
        self.run = run
        self.send_to(self.detector)
        (run / "objects.json").write_text(json.dumps({"revision": "1", "objects": objects()}))
        argv = [sys.executable, "-m", "driftloop.local.knative", "--state", str(folder)]
        self.broker = Process(argv, folder / "broker.log", broker, "/healthz").start()
        self.report = run / "broker.json"
        self.acknowledged: list[str] = []
        self.random = random.Random(7)
        self.mean = mean

    def send_to(self, detector: Process) -> None:
        """The address of the Trigger's Service is that of a detector."""
        addresses = {"digits-drift.n.svc.cluster.local:80": f"127.0.0.1:{detector.port}"}
        made = self.run / "addresses.new"
        made.write_text(json.dumps(addresses))
        made.replace(self.run / "addresses.json")

    def kill(self) -> None:
        for process in (self.broker, self.detector, self.server):
            process.kill()

    async def post(self, session: aiohttp.ClientSession, *, retried: bool = False) -> None:
        """One event until it is acknowledged: the same id again and again, as a logger with patience would; when
        it is `retried`, then the client's second request, with an event id of its own."""
        row = [self.random.gauss(self.mean, 1) for _ in range(WIDTH)]
        request = str(uuid.uuid4())
        for _ in range(1 + retried):
            event = events.make_event(
                "io.seldon.serving.inference.request",
                "test",
                {"data": {"ndarray": [row]}},
                inferenceservicename="digits",
                endpoint="r1",
                requestid=request,
            )
            await self._post_event(session, event)

    async def _post_event(self, session: aiohttp.ClientSession, event: events.Event) -> None:
        while True:
            try:
                await events.post_event(
                    session, f"http://127.0.0.1:{self.broker.port}/n/default", event, timeout=8
                )
            except events.EventRefusedError:
                await asyncio.sleep(0.1)
                continue
            self.acknowledged.append(event.id)
            return

    async def traffic(self, total: int, senders: int = 8) -> None:
        left = iter(range(total))
        async with aiohttp.ClientSession() as session:

            async def sender() -> None:
                for _ in left:
                    await self.post(session)
                    await asyncio.sleep(0.01)

            await asyncio.gather(*(sender() for _ in range(senders)))

    async def verdicts(self) -> list[dict[str, Any]]:
        async with open_connection(url(self.server), name="test") as js:
            found = []
            try:
                info = await js.stream_info("DRIFTLOOP_VERDICTS")
            except NotFoundError:
                return []
            for sequence in range(max(1, info.state.first_seq), info.state.last_seq + 1):
                message = await js.get_msg("DRIFTLOOP_VERDICTS", sequence)
                if message.subject == SUBJECT:
                    found.append(json.loads(message.data or b"{}"))
            return found

    async def delivered(self) -> list[tuple[int, str]]:
        """Sequence and id of each event on the detector's stream."""
        async with open_connection(url(self.server), name="test") as js:
            found = await stored(js, "DRIFTLOOP_N_DIGITS_DRIFT")
        return [(message.sequence, message.id.rpartition(" ")[2]) for message in found]

    async def cut_again(self, rule: WindowRule) -> tuple[list[tuple[int, ...]], int]:
        """First and last event, rows and repeats of each window that a reader cuts which is never interrupted
        and looks once, now; and the rows that are left."""
        cutter, windows = WindowCutter(rule), []
        async with open_connection(url(self.server), name="test") as js:
            subscription = await js.pull_subscribe(
                "driftloop.events.n.digits.drift.r1",
                stream="DRIFTLOOP_N_DIGITS_DRIFT",
                config=ConsumerConfig(ack_policy=AckPolicy.NONE, inactive_threshold=30),
            )
            left = (await subscription.consumer_info()).num_pending or 0
            while left:
                for message in await subscription.fetch(min(left, 500), timeout=60):
                    left -= 1
                    where, event = read_position(message), events.unpack_event(message.data)
                    rows = np.array(json.loads(event.body)["data"]["ndarray"])
                    taken = cutter.add_event(
                        where.stream, where.time, DecodedRows(rows), event.get("requestid") or ""
                    )
                    windows += taken.windows
            last = cutter.close_due(time.time_ns())
            windows += [] if last is None else [last]
        return [(w.first, w.last, len(w.rows), w.repeated) for w in windows], cutter.waiting


async def covered(chain: Chain, events: int) -> bool:
    return sum(verdict["size"] for verdict in await chain.verdicts()) >= events


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "victims", [["broker"], ["detector"], ["server"], ["server", "detector", "broker"]]
)
async def test_every_acknowledged_event_is_judged_exactly_once(
    victims: list[str], tmp_path: Path, start: Callable[..., Process]
) -> None:
    chain = Chain(tmp_path, start)
    try:
        await until(chain.report.exists)
        total = 12 * WINDOW
        sending = asyncio.create_task(chain.traffic(total))
        for victim in victims * (2 if len(victims) == 1 else 1):
            await asyncio.sleep(0.7)
            process: Process = getattr(chain, victim)
            process.kill()
            await asyncio.sleep(0.3)
            await asyncio.to_thread(process.start)
        await asyncio.wait_for(sending, 300)
        assert len(chain.acknowledged) == len(set(chain.acknowledged)) == total
        await until(lambda: covered(chain, total), every=0.5, what="the last verdict")
        verdicts, delivered = await chain.verdicts(), await chain.delivered()
        assert [verdict["window"] for verdict in verdicts] == list(range(1, 13))
        assert sum(verdict["details"]["events"] for verdict in verdicts) == total
        judged: list[str] = []
        for verdict in verdicts:
            first, last = verdict["firstSequence"], verdict["lastSequence"]
            judged += [id for sequence, id in delivered if first <= sequence <= last]
        assert sorted(judged) == sorted(chain.acknowledged)
    finally:
        chain.kill()


@pytest.mark.timeout(600)
async def test_two_detectors_at_once_judge_each_event_once(
    tmp_path: Path, start: Callable[..., Process]
) -> None:
    """As while a pod is replaced: both take events, either is killed and started again."""
    chain = Chain(tmp_path, start)
    other = chain.detector.beside(tmp_path / "other.log").start()
    try:
        await until(chain.report.exists)
        total = 16 * WINDOW
        sending = asyncio.create_task(chain.traffic(total))
        for process in (chain.detector, other, chain.detector, other):
            chain.send_to(other if process is chain.detector else chain.detector)
            await asyncio.sleep(0.5)
            process.kill()
            await asyncio.sleep(0.3)
            await asyncio.to_thread(process.start)
        await asyncio.wait_for(sending, 300)
        await until(lambda: covered(chain, total), every=0.5, what="the last verdict")
        verdicts, delivered = await chain.verdicts(), await chain.delivered()
        assert [verdict["window"] for verdict in verdicts] == list(range(1, 17))
        assert sorted(id for _, id in delivered) == sorted(chain.acknowledged)
        spans = [(verdict["firstSequence"], verdict["lastSequence"]) for verdict in verdicts]
        judged = [id for first, last in spans for place, id in delivered if first <= place <= last]
        assert sorted(judged) == sorted(chain.acknowledged)
    finally:
        other.kill()
        chain.kill()


@pytest.mark.timeout(600)
async def test_evidence_of_windows_together_outlives_kills(
    tmp_path: Path, start: Callable[..., Process]
) -> None:
    """kill -9 of the detector, and of NATS: the windows of four processes are judged together."""
    chain = Chain(tmp_path, start, kind="tabular", mean=0.3)
    try:
        await until(chain.report.exists)
        total = 16 * WINDOW
        sending = asyncio.create_task(chain.traffic(total))
        for windows, victim in ((3, "detector"), (8, "server"), (11, "detector")):
            judged = functools.partial(covered, chain, windows * WINDOW)
            await until(judged, every=0.2, what=f"window {windows}")
            process: Process = getattr(chain, victim)
            process.kill()
            await asyncio.to_thread(process.start)
        await asyncio.wait_for(sending, 300)
        await until(lambda: covered(chain, total), every=0.5, what="the last verdict")
        verdicts = await chain.verdicts()
        assert [verdict["window"] for verdict in verdicts] == list(range(1, 17))
        assert verdicts[-1]["lasting"] == 16, "all of them"
        found = LastingRecord.read(verdicts[-1]["details"]["lasting"])
        assert (found.window, found.windows, found.rows) == (16, 16, total)
        assert found.since == verdicts[0]["details"]["from"]
        assert all(verdict["counts"] for verdict in verdicts)
    finally:
        chain.kill()


@pytest.mark.timeout(600)
async def test_windows_by_time_are_those_of_a_reader_that_was_never_killed(
    tmp_path: Path, start: Callable[..., Process]
) -> None:
    """kill -9 of the detector, and of NATS, in half-filled windows; a fifth of the clients try twice."""
    rule = WindowRule(30, 8, 2 * SECOND)
    chain = Chain(tmp_path, start, rule)
    try:
        await until(chain.report.exists)
        async with aiohttp.ClientSession() as session:
            for victim in ("detector", "server", "detector", None):
                for _ in range(chain.random.randint(4, 40)):
                    await chain.post(session, retried=chain.random.random() < 0.2)
                    await asyncio.sleep(chain.random.choice((0, 0, 0.02, 0.3)))
                if victim is not None:
                    process: Process = getattr(chain, victim)
                    process.kill()
                    await asyncio.to_thread(process.start)

        async def same() -> bool:
            wanted, left = await chain.cut_again(rule)
            found = [
                (v["firstSequence"], v["lastSequence"], v["size"], v["details"]["repeated"])
                for v in await chain.verdicts()
            ]
            return left < rule.least and found == wanted

        await until(same, every=0.5, what="the last verdict")
        verdicts = await chain.verdicts()
        assert "time" in {verdict["details"]["closedBy"] for verdict in verdicts}
        assert sum(verdict["details"]["repeated"] for verdict in verdicts) > 0
    finally:
        chain.kill()
