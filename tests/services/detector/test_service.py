"""The detector as a process: what its door answers, what its verdicts say, and that two of them are as good as one."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from support import streams
from support.detector import WIDTH, write_answers
from support.processes import Process, free_port, until, url

from driftloop.clients import events
from driftloop.clients.jetstream import Publisher
from driftloop.clients.nats import ensure_contract_stream, open_connection, read_position
from driftloop.contract.documents import parse_json
from driftloop.contract.events import verdict_id
from driftloop.contract.names import release_id
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.streams import DAY, VERDICTS, DetectorStreams
from driftloop.contract.verdicts import UnjudgedRecord, read_changes
from driftloop.services.detector.rows.answers import ANSWER_WIDTH
from driftloop.services.detector.rows.marks import WIDTH as WIDTH_REASON
from driftloop.services.detector.rows.payload import RowDecoder
from driftloop.services.detector.stream.kept import KeptEvents
from driftloop.services.detector.stream.unjudged import UnjudgedWindows
from driftloop.services.detector.stream.windows import WindowRule


class Broker:
    """Takes verdicts; refuses while it is told to.

    A detector that is killed before it knows that a verdict was taken tells it again: it counts once.
    """

    def __init__(self) -> None:
        self.got: list[events.Event] = []
        self.refuse = False
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if self.refuse:
            return web.Response(status=503)
        event = events.from_http(request.headers, body)
        before = next((told for told in self.got if told.id == event.id), None)
        if before is None:
            self.got.append(event)
        else:
            assert before.parse_json() == event.parse_json()
        return web.Response(status=202)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/n/default"

    def verdicts(self) -> list[Any]:
        return [event.parse_json() for event in self.got]


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    it = Broker()
    runner = web.ServerRunner(web.Server(it.handle))
    await runner.setup()
    it.port = free_port()
    await web.TCPSite(runner, "127.0.0.1", it.port).start()
    yield it
    await runner.cleanup()


def request(
    rows: Any,
    *,
    pipeline: str,
    release: str = "r1",
    id: str | None = None,
    request_id: str | None = None,
) -> events.Event:
    return events.make_event(
        "io.seldon.serving.inference.request",
        "test",
        {"data": {"ndarray": rows}},
        id=id,
        inferenceservicename=pipeline,
        endpoint=release,
        requestid=request_id or str(uuid.uuid4()),
    )


async def post(port: int, *sent: events.Event) -> list[int]:
    async with aiohttp.ClientSession() as session:

        async def one(event: events.Event) -> int:
            address = f"http://127.0.0.1:{port}/"
            async with session.post(
                address, data=event.body, headers=events.to_http(event)
            ) as answer:
                return answer.status

        return list(await asyncio.gather(*(one(event) for event in sent)))


async def metrics(port: int) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        return await answer.text()


def clean(count: int, seed: int = 0) -> list[list[float]]:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).tolist()  # type: ignore[no-any-return]


async def test_verdicts_come_in_order_and_say_what_they_cover(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    detector = start(server, pipeline="order", window=50, broker=broker.address)
    await post(detector.port, *(request([row], pipeline="order") for row in clean(50)))
    await post(detector.port, request((np.array(clean(70, 1)) + 3).tolist(), pipeline="order"))
    await until(lambda: len(broker.got) == 2)
    first, second = broker.verdicts()
    assert (first["window"], first["size"], first["firstSequence"], first["lastSequence"]) == (
        1,
        50,
        1,
        50,
    )
    assert first["alarm"] is False
    assert (second["window"], second["size"], second["firstSequence"], second["lastSequence"]) == (
        2,
        70,
        51,
        51,
    )
    assert second["alarm"] is True
    assert second["score"] < second["threshold"]
    event = broker.got[1]
    assert event.type == "dev.driftloop.drift"
    assert event.id == verdict_id("n", "order", "drift", "r1", 2)
    assert (event.get("inferenceservicename"), event.get("endpoint")) == ("order", "r1")


async def test_answers_that_moved_alarm_by_the_class_and_other_shapes_are_told(
    server: Process, start: Callable[..., Process], broker: Broker, tmp_path: Path
) -> None:
    def answer(label: int, odds: float = 0.9) -> dict[str, Any]:
        row = [odds if n == label else (1 - odds) / 2 for n in range(3)]
        return {"data": {"names": ["cat", "dog", "owl"], "ndarray": [row]}}

    def told(response: dict[str, Any]) -> events.Event:
        return events.make_event(
            "io.seldon.serving.inference.response",
            "test",
            response,
            inferenceservicename="answers",
            endpoint="r1",
            requestid=str(uuid.uuid4()),
        )

    write_answers(tmp_path / "answers.jsonl", [answer(n % 3) for n in range(300)])
    detector = start(
        server, pipeline="answers", kind="tabular", on="response", window=60, broker=broker.address
    )
    await post(detector.port, *(told(answer(n % 3)) for n in range(60)))
    await until(lambda: len(broker.got) == 1)
    await post(detector.port, *(told(answer(max(1, n % 3))) for n in range(60)))
    await until(lambda: len(broker.got) == 2)
    quiet, alarm = broker.verdicts()
    assert not quiet["alarm"], quiet
    assert alarm["alarm"]
    changes = {change.column: change.text for change in read_changes(alarm["details"])}
    assert changes["class"].startswith(("class dog 33 % -> 67 %", "class cat 33 % -> 0 %"))
    assert "distributions" not in alarm["details"], "they are stored, and no event's"
    wide = {"data": {"names": [], "ndarray": [[0.1, 0.2, 0.3, 0.4]]}}
    await post(detector.port, *(told(wide) for _ in range(60)))
    await until(lambda: f"can't read ({ANSWER_WIDTH})" in detector.log.read_text())
    reason = f'driftloop_detector_rejected_rows{{reason="{ANSWER_WIDTH}"}}'
    assert reason in await metrics(detector.port)


async def test_requests_that_can_not_be_judged_are_told_though_no_window_fills(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    detector = start(server, pipeline="texts", window=30, broker=broker.address)
    rows = [["Dream", *row] for row in clean(45)]
    sent = [
        events.make_event(
            "io.seldon.serving.inference.request",
            "test",
            {"data": {"ndarray": [row]}},
            inferenceservicename="texts",
            endpoint="r1",
            requestid=f"q{number}",
        )
        for number, row in enumerate(rows)
    ]
    await post(detector.port, *sent)
    await until(
        lambda: (
            f"32 rows are not judged: requests of r1 whose rows the detector can't read ({WIDTH_REASON})"
            in detector.log.read_text()
        )
    )
    assert "1 rows are not judged" in detector.log.read_text()
    await until_metric(
        detector, f'driftloop_detector_rejected_rows{{reason="{WIDTH_REASON}"}} 45.0'
    )
    await until_metric(detector, 'driftloop_detector_rows_total{result="rejected"} 45.0')
    await until_metric(detector, "driftloop_detector_windows_not_judged_total 1.0")
    reads = 'driftloop_detector_not_judged_time_seconds{reference="r1",requests="r1"}'
    await until_metric(detector, reads)
    assert broker.got == []


async def test_a_window_of_nothing_but_broken_requests_closes_and_alarms(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    detector = start(
        server,
        pipeline="broken",
        detector="requests",
        kind="schema",
        window=30,
        broker=broker.address,
    )
    await post(detector.port, request(clean(30), pipeline="broken"))
    rows = [["Dream", *row] for row in clean(30)]
    await post(detector.port, *(request([row], pipeline="broken") for row in rows))
    await until(lambda: len(broker.got) == 2)
    quiet, alarm = broker.verdicts()
    assert (quiet["alarm"], quiet["size"]) == (False, 30)
    assert (alarm["alarm"], alarm["size"]) == (True, 30)
    (change,) = read_changes(alarm["details"])
    assert change.text == f"rows not judged ({WIDTH_REASON}) 0 % -> 100 %"
    assert broker.got[1].type == "dev.driftloop.requests"


async def test_events_are_read_in_the_protocol_that_they_name(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    detector = start(server, pipeline="words", window=30, broker=broker.address)
    rows = clean(30)
    flat = [value for row in rows[10:20] for value in row]
    bodies = {
        "seldon": {"data": {"ndarray": rows[:10]}},
        "v2": {"inputs": [{"name": "x", "shape": [10, WIDTH], "datatype": "FP32", "data": flat}]},
        "tensorflow": {"instances": rows[20:]},
    }
    sent = [
        events.make_event(
            "io.seldon.serving.inference.request",
            "test",
            bodies[body],
            inferenceservicename="words",
            endpoint="r1",
            requestid=body,
            protocol=protocol,
        )
        for protocol, body in (("v2", "seldon"), *((name, name) for name in bodies))
    ]
    await post(detector.port, sent[0])
    await post(detector.port, *sent[1:])
    await until(lambda: broker.got != [])
    verdict = broker.verdicts()[0]
    assert (verdict["size"], verdict["details"]["events"], verdict["details"]["rejected"]) == (
        30,
        4,
        1,
    )


async def test_outliers_are_named_by_request(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    detector = start(
        server,
        pipeline="noise",
        detector="outlier",
        kind="iforest",
        window=40,
        broker=broker.address,
    )
    odd = request([[50.0] * WIDTH] * 20, pipeline="noise")
    await post(detector.port, request(clean(20), pipeline="noise"), odd)
    await until(lambda: broker.got != [])
    verdict = broker.verdicts()[0]
    assert verdict["alarm"] is True
    assert odd.get("requestid") in verdict["requests"]
    assert broker.got[0].type == "dev.driftloop.outlier"


async def test_malformed_foreign_and_repeated_are_answered_and_counted(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    detector = start(server, pipeline="odd", window=3, broker=broker.address)
    good = request(clean(1), pipeline="odd")
    bodies = [b"", b"\xff\xfe", b'{"data": {"ndarray": [[1, 2]]}}', b"x" * 2_000_000]
    bad = [
        events.Event(good.extend_attributes(id=f"bad{n}").attributes, body)
        for n, body in enumerate(bodies)
    ]
    statuses = await post(
        detector.port,
        good,
        good,
        *bad,
        events.Event({"id": "1"}, b"{}"),
        request(clean(1), pipeline="another"),
        request(clean(1), pipeline="odd", release="no.release >"),
        events.Event({}, b"x" * 5_000_000),
    )
    assert set(statuses) == {202}
    text = await metrics(detector.port)
    for line in ('"stored"} 4.0', '"repeated"} 1.0', '"malformed"} 4.0', '"foreign"} 1.0'):
        assert f"driftloop_detector_events_total{{result={line}" in text
    await post(detector.port, request(clean(2), pipeline="odd"))
    await until(lambda: broker.got != [])
    verdict = broker.verdicts()[0]
    assert (verdict["size"], verdict["details"]["events"], verdict["details"]["rejected"]) == (
        3,
        5,
        3,
    )


async def test_only_its_own_release_is_judged(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    detector = start(server, pipeline="two", window=10, broker=broker.address, release="r1")
    mixed = [
        request([row], pipeline="two", release=f"r{n % 2 + 1}") for n, row in enumerate(clean(20))
    ]
    await post(detector.port, *mixed)
    await until(lambda: broker.got != [])
    other = start(server, pipeline="two", window=10, broker=broker.address, release="r2")
    await until(lambda: len(broker.got) == 2)
    assert [verdict["release"] for verdict in broker.verdicts()] == ["r1", "r2"]
    assert [verdict["window"] for verdict in broker.verdicts()] == [1, 1]
    assert detector.pid != other.pid


async def test_requests_of_another_release_are_counted_and_never_alarm(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    detector = start(server, pipeline="foreign", window=10, broker=broker.address, release="r1")
    far = (np.array(clean(25)) + 9).tolist()
    await post(detector.port, *(request([row], pipeline="foreign", release="r2") for row in far))
    await until_metric(
        detector,
        "driftloop_detector_windows_not_judged_total 2.0",
    )
    await post(detector.port, *(request([row], pipeline="foreign") for row in clean(10)))
    await until(lambda: broker.got != [])
    assert [(v["release"], v["alarm"]) for v in broker.verdicts()] == [("r1", False)]
    assert "a window is not judged: reference of r1, requests of r2" in detector.log.read_text()
    kept = await stored(server, "driftloop.verdicts.n.foreign.drift.r2.unjudged")
    assert [(record.reference, record.release, record.size) for record in kept] == [
        ("r1", "r2", 10)
    ] * 2
    # they waited for the detector of their own release, which judges them
    start(server, pipeline="foreign", window=10, broker=broker.address, release="r2")
    await until(lambda: len(broker.got) == 3)
    assert [(v["release"], v["alarm"]) for v in broker.verdicts()[1:]] == [("r2", True)] * 2


async def test_what_is_kept_for_other_releases_never_fills_the_stream(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    """The oldest are given up and counted; what is judged here, and the newest, stay."""
    room = 256 * 1024
    detector = start(
        server, pipeline="full", window=10, broker=broker.address, stream_bytes=room, release="r1"
    )
    await post(detector.port, *(request([row], pipeline="full") for row in clean(9)))
    rejected = [request(clean(4, n), pipeline="full", release="r2") for n in range(60)]
    promoted = [request(clean(4, n), pipeline="full", release="r3") for n in range(400)]
    for sent in (*rejected, *promoted):
        assert await post(detector.port, sent) == [202]
    async with open_connection(url(server), name="test") as js:
        kept = await streams.stored(js, "DRIFTLOOP_N_FULL_DRIFT")
    ids = [message.id.rpartition(" ")[2] for message in kept]
    assert 100 < len(ids) < 300
    assert not {event.id for event in rejected} & set(ids), "those of a rejected one go first"
    assert ids[9:] == [event.id for event in promoted][-len(ids) + 9 :]
    lost = 9 + len(rejected) + len(promoted) - len(ids)
    await until_metric(detector, f"driftloop_detector_events_given_up_total {lost}.0")
    assert "events of r3, the oldest, are given up" in detector.log.read_text()
    await post(detector.port, request(clean(1), pipeline="full"))
    await until(lambda: broker.got != [])
    assert broker.verdicts()[0]["release"] == "r1"


async def test_rows_of_another_width_are_not_judged_either(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    """The next production has one column more: its detector is the one that can read them."""
    detector = start(server, pipeline="wider", window=10, broker=broker.address, release="r1")
    wider = np.zeros((10, WIDTH + 1)).tolist()
    await post(detector.port, *(request([row], pipeline="wider", release="r2") for row in wider))
    await until_metric(detector, "driftloop_detector_windows_not_judged_total 1.0")


async def test_the_reference_of_another_release_judges_nothing(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    """The artifact says which release it was fitted for; the command line names another."""
    mine, theirs = release_id("p-1"), release_id("p-2")
    wrong = start(
        server, pipeline="wrong", window=10, broker=broker.address, release=mine, run="p-2"
    )
    far = (np.array(clean(20)) + 9).tolist()
    await post(wrong.port, *(request([row], pipeline="wrong", release=mine) for row in far))
    await until_metric(
        wrong,
        f'driftloop_detector_not_judged_time_seconds{{reference="{theirs}",requests="{mine}"}}',
    )
    await until_metric(wrong, "driftloop_detector_windows_not_judged_total 2.0")
    assert broker.got == []
    assert f"the reference is of {theirs}, must be of {mine}" in wrong.log.read_text()
    kept = await stored(server, f"driftloop.verdicts.n.wrong.drift.{mine}.unjudged")
    assert kept[0].text == f"not judged: reference of {theirs}, requests of {mine}"
    wrong.kill()
    start(server, pipeline="wrong", window=10, broker=broker.address, release=mine, run="p-1")
    await until(lambda: len(broker.got) == 2)
    assert [(v["release"], v["window"]) for v in broker.verdicts()] == [(mine, 1), (mine, 2)]


async def stored(server: Process, subject: str) -> list[UnjudgedRecord]:
    """The windows that are not judged, as the verdict stream keeps them."""
    async with open_connection(url(server), name="test") as js:
        kept = await streams.stored(js, VERDICTS.name, subject=subject)
    return [UnjudgedRecord.read(parse_json(message.data, label=subject)) for message in kept]


async def test_two_processes_judge_each_window_once(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    one = start(server, pipeline="both", window=20, broker=broker.address)
    two = start(server, pipeline="both", window=20, broker=broker.address)
    for _ in range(10):
        await post(one.port, *(request([row], pipeline="both") for row in clean(10)))
        await post(two.port, *(request([row], pipeline="both") for row in clean(10)))
    await until(lambda: len({event.id for event in broker.got}) == 10)
    by_window = {verdict["window"]: verdict for verdict in broker.verdicts()}
    assert sorted(by_window) == list(range(1, 11))
    assert [by_window[n]["firstSequence"] for n in sorted(by_window)] == list(range(1, 200, 20))


async def test_a_verdict_is_told_again_until_it_is_taken_even_after_a_crash(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    broker.refuse = True
    detector = start(server, pipeline="told", window=10, broker=broker.address)
    await post(detector.port, *(request([row], pipeline="told") for row in clean(30)))
    await until_metric(detector, 'driftloop_detector_windows_total{alarm="false"} 3.0')
    detector.kill()
    broker.refuse = False
    detector.start()
    await until(lambda: {verdict["window"] for verdict in broker.verdicts()} == {1, 2, 3})
    await until_metric(detector, "driftloop_detector_window 3.0")


async def test_it_says_how_far_behind_it_is(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    detector = start(server, pipeline="behind", window=1000, broker=broker.address)
    await until_metric(detector, "driftloop_detector_behind_events 0.0")
    await post(detector.port, *(request([row], pipeline="behind") for row in clean(40)))
    await until_metric(detector, "driftloop_detector_waiting_rows 40.0")
    assert "driftloop_detector_behind_events 0.0" in await metrics(detector.port)


async def open_window(detector: Process) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{detector.port}/window") as answer,
    ):
        return await answer.json(content_type=None)


async def test_time_closes_a_window_though_no_further_event_comes(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    """Also one that was half full when the process was killed; with too few rows it stays open, and says so."""
    timed = {"pipeline": "slow", "window": 50, "at_most": 2, "least": 20}
    detector = start(server, broker=broker.address, **timed)
    await post(detector.port, *(request([row], pipeline="slow") for row in clean(12)))
    await until_metric(detector, "driftloop_detector_waiting_rows 12.0")
    detector.kill()
    detector.start()
    await until_metric(detector, "driftloop_detector_waiting_rows 12.0")
    found = await open_window(detector)
    assert (found["window"], found["rows"], found["full"], found["least"]) == (1, 12, 50, 20)
    assert found["since"] < found["due"]
    assert broker.got == []
    # all of the time is over: the window closes with its least row
    await asyncio.sleep(2)
    await post(detector.port, *(request([row], pipeline="slow") for row in clean(8, 1)))
    await until(lambda: len(broker.got) == 1)
    # in one event: the time of a window would be over among many
    await post(detector.port, request(clean(25, 2), pipeline="slow"))
    await until(lambda: len(broker.got) == 2)
    first, second = broker.verdicts()
    assert (first["size"], first["details"]["closedBy"], first["details"]["full"]) == (
        20,
        "time",
        50,
    )
    assert (second["size"], second["firstSequence"], second["lastSequence"]) == (25, 21, 21)
    assert second["details"]["from"] <= second["details"]["to"] <= second["time"]
    assert (await open_window(detector))["rows"] == 0
    # and one of another release's requests, which is counted only
    others = (request([row], pipeline="slow", release="r2") for row in clean(20, 3))
    await post(detector.port, *others)
    await until_metric(detector, "driftloop_detector_windows_not_judged_total 1.0")


async def test_retries_count_once_also_those_of_the_window_before_and_after_a_restart(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    """An event's copy has the same id; a client's retry has its own, and the request's."""
    detector = start(server, pipeline="again", window=20, broker=broker.address)
    rows = clean(60)

    def tries(first: int, last: int) -> list[events.Event]:
        return [
            request([rows[n]], pipeline="again", request_id=f"q{n}") for n in range(first, last)
        ]

    await post(detector.port, *tries(0, 15))
    await post(detector.port, *tries(5, 15))
    await until_metric(detector, 'driftloop_detector_rows_total{result="repeated"} 10.0')
    assert (await open_window(detector))["repeated"] == 10
    await post(detector.port, *tries(15, 20))
    await until(lambda: len(broker.got) == 1)
    detector.kill()
    detector.start()
    await post(detector.port, *tries(0, 20))
    await post(detector.port, *tries(20, 40))
    await until(lambda: len(broker.got) == 2)
    # what came twice two windows ago, and not in the last one, is forgotten
    await post(detector.port, *tries(40, 60))
    await until(lambda: len(broker.got) == 3)
    await post(detector.port, *tries(0, 20))
    await until(lambda: len(broker.got) == 4)
    told = [
        (v["size"], v["details"]["events"], v["details"]["repeated"]) for v in broker.verdicts()
    ]
    assert told == [(20, 30, 10), (20, 40, 20), (20, 20, 0), (20, 20, 0)]


async def test_what_is_not_judged_is_counted_on_after_a_restart(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    """Half a window of another release's requests, and the rows that can't be read, which are told once."""
    detector = start(server, pipeline="halves", window=10, broker=broker.address)
    others = [request([row], pipeline="halves", release="r2") for row in clean(25)]
    unread = [request([[*row, 1]], pipeline="halves") for row in clean(3)]
    await post(detector.port, *others[:16])
    for one in unread:
        await post(detector.port, one)
    await until_metric(detector, "driftloop_detector_windows_not_judged_total 1.0")
    await until_metric(detector, 'driftloop_detector_rows_total{result="rejected"} 3.0')
    subject = "driftloop.verdicts.n.halves.drift.{}.unjudged"
    own = [record.size for record in await stored(server, subject.format("r1"))]
    assert own == [1, 2]
    detector.kill()
    detector.start()
    await until_metric(detector, 'driftloop_detector_rows_total{result="rejected"} 3.0')
    await post(detector.port, *others[16:20])
    await until_metric(detector, "driftloop_detector_windows_not_judged_total 1.0")
    assert [record.size for record in await stored(server, subject.format("r2"))] == [10, 10]
    assert [record.size for record in await stored(server, subject.format("r1"))] == own
    shown = 'driftloop_detector_not_judged_time_seconds{reference="r1",requests="r1"}'
    await until_metric(detector, shown)


async def test_what_was_kept_is_counted_to_its_end_when_the_server_counts_none_as_pending(
    server: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that was killed, and has not found all of a stream again."""
    monkeypatch.setattr(
        "driftloop.services.reading.read_position",
        lambda message: read_position(message)._replace(pending=0),
    )
    names, columns = DetectorStreams("n", "pending", "drift", "r1"), [f"x{n}" for n in range(WIDTH)]
    numbers = [
        ColumnProfile(name=name, type="number", rows=9, missing=0, distinct=9) for name in columns
    ]
    async with open_connection(url(server), name="test") as js:
        await ensure_contract_stream(js, names.events_stream)
        await ensure_contract_stream(js, VERDICTS)
        for row in clean(7):
            event = request([row], pipeline="pending", release="r2")
            await js.publish(names.event_subject("r2"), events.pack_event(event))
        unjudged = UnjudgedWindows(
            await Publisher(js._nc).start(),
            names,
            CollectorRegistry(),
            reference="r1",
            rule=WindowRule(10, 10),
            decoder=RowDecoder(
                TableProfile(columns=tuple(numbers), order=tuple(columns)), complete=False
            ),
        )
        await unjudged.count_kept(js)
    assert unjudged._halves["r2"].rows == 7


async def test_no_event_ends_by_its_age_and_what_is_judged_makes_room(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    """A stream of an earlier version is given no age; events that can't be judged, or are, don't fill it."""
    names = DetectorStreams("n", "old", "drift", "r1", max_bytes=256 * 1024)
    async with open_connection(url(server), name="test") as js:
        earlier = replace(names.events_stream, max_age=DAY)
        await ensure_contract_stream(js, earlier)
        start_it = {"pipeline": "old", "window": 50, "stream_bytes": names.max_bytes}
        detector = start(server, broker=broker.address, **start_it)
        assert (await js.stream_info(names.stream)).config.max_age == 0
        unread = np.zeros((4, WIDTH + 1)).tolist()
        for _ in range(700):
            assert await post(detector.port, request(unread, pipeline="old")) == [202]
        rows = clean(1000)
        for row in rows:
            assert await post(detector.port, request([row], pipeline="old")) == [202]
        await until(lambda: len(broker.got) == 20)
        assert sum(verdict["size"] for verdict in broker.verdicts()) == 1000
    assert "is almost full" not in detector.log.read_text()


async def test_a_window_that_has_no_room_is_told(
    server: Process, start: Callable[..., Process], broker: Broker
) -> None:
    """The stream refuses, so that the broker tries again; what is in it waits."""
    settings = {"pipeline": "tight", "window": 5000, "stream_bytes": 256 * 1024}
    detector = start(server, broker=broker.address, **settings)
    answers = []
    for _ in range(30):
        answers += await post(
            detector.port, *(request([row], pipeline="tight") for row in clean(40))
        )
    assert set(answers) == {202, 503}
    await until(lambda: "the stream of events is almost full" in detector.log.read_text())
    assert "(window 1 of r1 is open, " in detector.log.read_text()

    async def all_read() -> bool:
        return bool((await open_window(detector))["rows"] == answers.count(202))

    await until(all_read, what="reading what was taken")


async def test_events_of_a_release_that_is_asked_no_more_are_given_up(
    server: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are judged here stay, however old they are."""
    names, registry = DetectorStreams("n", "gone", "drift", "r1"), CollectorRegistry()
    async with open_connection(url(server), name="test") as js:
        await ensure_contract_stream(js, names.events_stream)
        events_kept = KeptEvents(js, names, registry, reference="r1")
        for release in ("r1", "r2", "r2", "r3"):
            await js.publish(names.event_subject(release), b"{}")
        await events_kept._give_up_old()
        assert (await js.stream_info(names.stream)).state.messages == 4
        monkeypatch.setattr("driftloop.services.detector.stream.kept.LONGEST", -1.0)
        await events_kept._give_up_old()
        info = await js.stream_info(names.stream, subjects_filter=">")
        assert info.state.subjects == {names.event_subject("r1"): 1}
    assert registry.get_sample_value("driftloop_detector_events_given_up_total") == 3


async def until_metric(detector: Process, line: str) -> None:
    async def there() -> bool:
        return line in await metrics(detector.port)

    await until(there, every=0.1)
