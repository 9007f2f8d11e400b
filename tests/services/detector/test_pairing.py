"""Answers and their requests, paired in whatever order they come; what can't be paired is counted; and a detector of both as a
process, killed in between."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from nats.js.errors import NotFoundError
from support.detector import write_answers
from support.processes import Process, url

from driftloop.clients import events
from driftloop.clients.nats import open_connection
from driftloop.contract.documents import parse_json
from driftloop.contract.events import INFERENCE_REQUEST, INFERENCE_RESPONSE
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.quality import read_estimate
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.services.detector.rows.labelled import LabelledReader
from driftloop.services.detector.rows.pairing import (
    NO_REQUEST,
    OTHER_ROWS,
    UNREADABLE_REQUEST,
    RequestPairing,
)

WAIT = 100
WINDOW = 40


def pairing(most: int = 100) -> RequestPairing:
    names = ("error", "answer", "label", "way")
    columns = tuple(
        ColumnProfile(name=name, type="number", rows=0, missing=0, distinct=0) for name in names
    )
    profile = TableProfile(
        columns=columns, order=("answer",), of="labelled", asked=("way",), inputs=1
    )
    return RequestPairing(LabelledReader(profile), WAIT, most)


def answers(*values: float) -> Any:
    rows = np.full((len(values), 4), np.nan)
    rows[:, 1] = values
    return rows


def test_rows_are_the_same_in_either_order() -> None:
    first, second = pairing(), pairing()
    assert not len(first.add_request(1, 10, "a", np.array([[7.0], [8.0]])))
    one = first.add_answers(2, 11, "a", answers(1, 2))
    assert not len(second.add_answers(1, 10, "a", answers(1, 2)))
    other = second.add_request(2, 11, "a", np.array([[7.0], [8.0]]))
    assert one[:, [1, 3]].tolist() == other[:, [1, 3]].tolist() == [[1, 7], [2, 8]]
    assert not first.take_faults().found


def test_an_answer_that_comes_again_has_its_rows_again_for_the_window_to_count() -> None:
    pairs = pairing()
    pairs.add_request(1, 10, "a", np.array([[7.0]]))
    assert len(pairs.add_answers(2, 11, "a", answers(1))) == 1
    assert not len(pairs.add_request(3, 12, "a", np.array([[9.0]])))
    assert pairs.add_answers(4, 13, "a", answers(1))[0, 3] == 7.0


def test_what_is_not_paired_is_counted_by_reason() -> None:
    pairs = pairing()
    pairs.add_answers(1, 10, "late", answers(1, 2, 3))
    pairs.add_request(2, 11, "broken", None)
    assert not len(pairs.add_answers(3, 12, "broken", answers(1)))
    pairs.add_request(4, 13, "other", np.array([[7.0]]))
    assert not len(pairs.add_answers(5, 14, "other", answers(1, 2)))
    assert pairs.take_faults().rejected == {UNREADABLE_REQUEST: 1, OTHER_ROWS: 2}
    pairs.add_request(6, 10 + WAIT + 1, "next", np.array([[7.0]]))
    assert pairs.take_faults().rejected == {NO_REQUEST: 3}
    assert pairs.oldest == 2


def test_a_request_without_an_answer_is_nothing_that_is_lost() -> None:
    pairs = pairing(most=1)
    pairs.add_request(1, 10, "a", np.array([[7.0]]))
    pairs.add_answers(2, 11, "b", answers(1))
    assert not pairs.take_faults().found
    assert pairs.give_up_oldest(1.0) == 1
    assert pairs.take_faults().rejected == {NO_REQUEST: 1}


def ask(
    random: np.random.Generator, number: int, *, far: bool
) -> tuple[events.Event, events.Event]:
    """A request and its answer; errors grow with the way."""
    way = float(random.uniform(8, 10) if far else random.uniform(0, 10))
    bodies = ({"names": ["way"], "ndarray": [[way]]}, {"ndarray": [[3 * way]]})
    request, response = (
        events.make_event(
            kind,
            "test",
            {"data": body},
            inferenceservicename="delays",
            endpoint="r1",
            requestid=f"request-{number}",
        )
        for kind, body in zip((INFERENCE_REQUEST, INFERENCE_RESPONSE), bodies, strict=True)
    )
    return request, response


def rehearse(folder: Path, random: np.random.Generator) -> None:
    ways = random.uniform(0, 10, 200)
    labels = 3 * ways + random.normal(size=200) * (0.1 + ways)
    responses = [{"data": {"ndarray": [[3 * way]]}} for way in ways]
    write_answers(folder / "answers.jsonl", responses, labels=labels.tolist())
    rows = [{"features": [way], "label": None, "recent": True} for way in ways]
    (folder / "rows.json").write_text(json.dumps({"names": ["way"], "rows": rows, "note": ""}))


async def post(port: int, sent: Iterator[events.Event]) -> None:
    async with aiohttp.ClientSession() as session:
        for event in sent:
            headers = events.to_http(event)
            address = f"http://127.0.0.1:{port}/"
            async with session.post(address, data=event.body, headers=headers) as answer:
                assert answer.status == 202


@pytest.mark.timeout(600)
async def test_windows_are_of_paired_rows_through_a_kill_and_repeats(
    server: Process, start: Callable[..., Process], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    rehearse(tmp_path, random)
    told = {"kind": "estimate", "on": "response", "by": "dle", "window": WINDOW}
    named = {"pipeline": "delays", "detector": "estimate"}
    detector = start(server, **told, **named)
    pairs = [ask(random, number, far=number >= WINDOW) for number in range(2 * WINDOW)]
    # every other answer comes before its request
    ordered = [
        event
        for number, (request, response) in enumerate(pairs)
        for event in ((request, response), (response, request))[number % 2]
    ]
    # the last one of these is a request without its answer yet
    half = 2 * WINDOW + 31
    await post(detector.port, iter(ordered[:half]))
    detector.kill()
    again = start(server, **told, **named)
    # the last ten are sent again by their callers, under other event ids
    repeated = (
        replace(event, attributes={**event.attributes, "id": f"{event.id}-again"})
        for event in ordered[-20:]
    )
    await post(again.port, iter([*ordered[half:], *repeated]))
    names = DetectorStreams("n", "delays", "estimate", "r1")
    async with open_connection(url(server), name="test") as js:
        second: dict[str, Any] = {"window": 0}
        while second["window"] < 2:
            # the first window may not be judged yet
            with suppress(NotFoundError):
                last = await js.get_last_msg(VERDICTS.name, names.verdicts)
                second = parse_json(last.data or b"", label="a verdict")
            await asyncio.sleep(0.2)
    assert (second["size"], second["alarm"]) == (WINDOW, True), second
    assert second["details"]["rejected"] == 0
    estimate = read_estimate(second["details"])
    assert estimate is not None
    assert (estimate.by, estimate.rows) == ("dle", WINDOW)
    before, after = estimate.figures["absolute error mean"]
    assert after > 1.4 * before
    metrics = ""
    while 'driftloop_detector_rows_total{result="repeated"} 10.0' not in metrics:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{again.port}/metrics") as answer,
        ):
            metrics = await answer.text()
        await asyncio.sleep(0.2)
    assert 'driftloop_detector_estimated_quality{measure="mae",of="window"}' in metrics
