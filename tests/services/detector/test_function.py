"""A detector that asks a function of the user's: in a fit, and as a service on a real NATS server."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from support import functions, streams
from support.detector import WIDTH, profile_rows
from support.processes import Process, url

from driftloop.clients import events
from driftloop.clients.nats import open_connection
from driftloop.contract.functions import FunctionSettings
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.contract.verdicts import read_changes, read_failure
from driftloop.services.detector.detectors import fit_detector
from driftloop.services.detector.detectors.function import FunctionProgram
from driftloop.services.detector.errors import FitError
from driftloop.services.detector.fitting.artifact import DetectorArtifact
from driftloop.services.detector.fitting.selftest import SelfTest, examine_fit

Serve = Callable[..., Process]

MEANS = """\
def judge(reference, window):
    moved = {}
    for name, values in window.items():
        before = sum(reference[name]) / len(reference[name])
        moved[name] = abs(sum(values) / len(values) - before)
    if max(moved.values()) > 50:
        raise ValueError("never seen")
    if max(moved.values()) > 20:
        while True:
            pass
    return {"score": max(moved.values()), "threshold": 0.7,
            "columns": {name: part for name, part in moved.items() if part > 0.5}}
"""
"""Alarms when a mean has moved by 0.7; fails, or hangs, when one has moved far."""
WHOLE = MEANS.replace('raise ValueError("never seen")', "pass").replace("while True:", "while 0:")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[Process] = []

    def start(text: str, **settings: Any) -> Process:
        started.append(functions.serve(tmp_path / f"code{len(started)}", text, **settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def address(program: Process) -> str:
    return f"http://127.0.0.1:{program.port}"


def fit(text: str, serve: Serve) -> SelfTest:
    """What a fit on standard normal rows says of a function."""
    program = FunctionProgram(address(serve(text)), strict=True)
    config = DetectorSettings("function", window=100, function=FunctionSettings("watch:judge"))
    table = np.random.default_rng(0).normal(size=(600, WIDTH))
    profile = profile_rows(table, (), lambda values: ())
    return examine_fit(
        DetectorArtifact(config, table, profile),
        lambda rows: fit_detector(config, rows, profile, program),
    )


def test_a_fit_tests_the_function_on_its_own_reference(serve: Serve) -> None:
    first, *_ = fit(WHOLE, serve).describe()
    assert first.startswith("self-test: 0 of ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def judge(reference, window): return {'alarm': True}", "function alarms on "),
        ("def judge(reference, window): return {'alarm': False}", "function can't alarm"),
        (
            MEANS.replace("> 50", "> -1"),
            "`watch:judge` failed: ValueError: never seen (watch.py, line 7)",
        ),
        (
            "def judge(reference, window): return {'alarm': 1}",
            "the alarm `1`, must be true or false",
        ),
    ],
    ids=["cries wolf", "is blind", "raises", "returns no verdict"],
)
def test_a_function_that_cannot_work_is_refused_with_the_reason(
    serve: Serve, text: str, says: str
) -> None:
    with pytest.raises(FitError) as refused:
        fit(text, serve)
    assert says in refused.value.message


def test_a_detector_without_its_program_is_refused() -> None:
    config = DetectorSettings("function", function=FunctionSettings("watch:judge"))
    table = np.zeros((20, 1))
    with pytest.raises(FitError, match="needs the program of the user's function"):
        fit_detector(config, table, profile_rows(table, (), lambda values: ()))


def rows(count: int, shift: float = 0.0) -> list[list[float]]:
    table = np.random.default_rng(5).normal(size=(count, WIDTH))
    table[:, 2] += shift
    listed: list[list[float]] = table.tolist()
    return listed


async def send(port: int, window: list[list[float]]) -> None:
    event = events.make_event(
        "io.seldon.serving.inference.request",
        "test",
        {"data": {"ndarray": window}},
        inferenceservicename="mine",
        endpoint="r1",
        requestid=str(uuid.uuid4()),
    )
    async with aiohttp.ClientSession() as session:
        address = f"http://127.0.0.1:{port}/"
        async with session.post(address, data=event.body, headers=events.to_http(event)) as answer:
            assert answer.status == 202


async def test_windows_are_judged_by_the_function_and_its_failures_are_told(
    server: Process,
    start: Callable[..., Process],
    serve: Serve,
    tmp_path: Path,
) -> None:
    # fitted by a function that never fails, as one did before its traffic changed
    program = serve(WHOLE)
    settings = {"pipeline": "mine", "kind": "function", "window": 50}
    start(server, **settings, function=address(program)).kill()
    program.kill()
    failing = serve(MEANS, timeout=2.0)
    detector = start(server, **settings, function=address(failing))

    async def judge(number: int, shift: float) -> Any:
        await send(detector.port, rows(50, shift))
        subject = DetectorStreams("n", "mine", "drift", "r1").verdicts
        async with open_connection(url(server), name="test") as js:
            for _ in range(900):
                found = await streams.stored(js, VERDICTS.name, subject=subject)
                if len(found) >= number:
                    return json.loads(found[number - 1].data)
                await asyncio.sleep(0.1)
        raise AssertionError(detector.log.read_text())

    quiet = await judge(1, 0.0)
    assert (quiet["alarm"], read_failure(quiet["details"])) == (False, "")
    alarm = await judge(2, 1.5)
    assert alarm["alarm"]
    assert alarm["score"] > alarm["threshold"] >= 0.7, "the guess, or what the fit raised it to"
    (change,) = read_changes(alarm["details"])
    assert change.column == "x[2]"
    assert change.after > change.before + 1
    failed = await judge(3, 99.0)
    assert failed["alarm"] is False
    assert read_failure(failed["details"]) == (
        "`watch:judge` failed: ValueError: never seen (watch.py, line 7)"
    )
    hung = await judge(4, 30.0)
    assert read_failure(hung["details"]) == "`watch:judge` was stopped after 2 s"
    assert (await judge(5, 1.5))["alarm"], "the function has its reference again"
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{detector.port}/metrics") as answer,
    ):
        text = await answer.text()
    assert 'driftloop_detector_windows_total{alarm="unknown"} 2.0' in text
    assert "driftloop_detector_failed 0.0" in text
