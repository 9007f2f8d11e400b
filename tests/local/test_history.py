"""What the timeline calls the steps of a run."""

import asyncio
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from support.processes import nats, until, url

from driftloop.clients.nats import connect_client
from driftloop.contract.outcomes import OUTCOME_KINDS, RunOutcome
from driftloop.contract.streams import WORKFLOWS
from driftloop.local.ground.files import find_set_aside
from driftloop.local.ground.sentences import (
    describe_cause,
    drop_alarm_ids,
    format_step,
    tell_alarm,
    tell_end,
    tell_phase,
)
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.up.history import RunHistory
from driftloop.retrain.state import Phase


def node(name: str, type: str = "Pod", template: str = "t") -> dict[str, Any]:
    return {"displayName": name, "type": type, "templateName": template}


@pytest.mark.parametrize(
    ("name", "retried", "shown"),
    [
        ("claim", None, "claim"),
        ("claim(0)", "claim", "claim"),
        ("claim(2)", "claim", "claim (try 3)"),
        ("train(1:rate:0.1)(0)", "train(1:rate:0.1)", "train, number 2"),
        (
            'train(1:parameters:{"epochs":12,"rate":0.003},trial:1)(0)',
            'train(1:parameters:{"epochs":12,"rate":0.003},trial:1)',
            "train, trial 1: epochs 12, rate 0.003",
        ),
        (
            'train(0:parameters:{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7},trial:3)(2)',
            'train(0:parameters:{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7},trial:3)',
            "train, trial 3: a 1, b 2, c 3, d 4, e 5, f 6 and 1 more (try 3)",
        ),
        ('train(0:parameters:{"broken,trial:0)', None, "train, trial 0"),
        ("train(0:trial:0,parameters:{})", None, "train, trial 0"),
        ("train(1)", None, "train(1)"),
        ("digits-1.onExit(1)", "digits-1.onExit", "settle (try 2)"),
        ("digits-1.onExit", None, "settle"),
    ],
)
def test_the_name_of_a_step(name: str, retried: str | None, shown: str) -> None:
    nodes = {"x": node("digits-1", "DAG")} | (
        {} if retried is None else {"r": node(retried, "Retry")}
    )
    assert format_step(node(name, template="settle" if "onExit" in name else "t"), nodes) == shown


def test_a_look_for_new_data_is_told_when_it_finds_some(tmp_path: Path) -> None:
    timeline = EventTimeline(tmp_path / "timeline.jsonl")
    history = RunHistory(tmp_path / "history.json", timeline)
    spec = {
        "entrypoint": "on-new-data",
        "workflowTemplateRef": {"name": "digits-train"},
        "arguments": {"parameters": [{"name": "cause", "value": "new data"}]},
    }

    def seen(name: str, phase: str, **nodes: Any) -> list[str]:
        document = {"spec": spec, "status": {"phase": phase, "nodes": nodes}}
        history._record_workflow(f"$KV.driftloop-workflows.n.{name}", json.dumps(document).encode())
        lines = (
            (tmp_path / "timeline.jsonl").read_text().splitlines()
            if (tmp_path / "timeline.jsonl").exists()
            else []
        )
        return [json.loads(line)["what"] for line in lines]

    look = {**node("look", template="look"), "phase": "Succeeded"}
    assert seen("a", "Running", look=look) == []
    assert (
        seen(
            "a",
            "Succeeded",
            look=look,
            main={**node("main", "Skipped", "main"), "phase": "Skipped"},
        )
        == []
    )
    assert history.runs == {}
    history._record_workflow("$KV.driftloop-workflows.n.a", b"")
    assert seen(
        "b", "Running", look=look, main={**node("main", "DAG", "main"), "phase": "Running"}
    ) == [
        "run b began",
        "b: look is done",
    ]
    assert seen("c", "Failed")[-2:] == ["run c began", "run c ended as failed"]


UUID = "6b1f8a1e-0c5a-5d3b-9d52-2f6f0d7a3c11"


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (f"alarm {UUID}: x[24] median 0 -> 13", "because of an alarm: x[24] median 0 -> 13"),
        (f"alarm {UUID}", "because of an alarm"),
        ("person root: first model", "asked for by root: first model"),
        ("person eve (forced)", "asked for by eve (forced)"),
        ("schedule", "because it was time to"),
        ("new data", "because of new data"),
        ("", ""),
        ("a webhook's own words", "a webhook's own words"),
    ],
)
def test_a_cause_is_told_without_what_nobody_types(cause: str, words: str) -> None:
    assert describe_cause(cause) == words


def test_a_sentence_of_the_loop_has_no_id_of_an_alarm() -> None:
    text = "runs because of alarm 56938782-7e21-56ce-bb6f-f48dd1ccfdcc: hue 1 -> 2"
    assert drop_alarm_ids(text) == "runs because of an alarm: hue 1 -> 2"
    kept = "Its cause is kept, alarm bb114854-4647-5717-a04b-a1d2dc1ae914: hue 1 -> 2"
    assert drop_alarm_ids(kept) == "Its cause is kept, an alarm: hue 1 -> 2"
    assert drop_alarm_ids("waits") == "waits"


def test_alarms_loops_and_ends_are_sentences() -> None:
    told = tell_alarm(
        "digits", "drift", "r1", 7, score="214", threshold="3.008", changes="x[24] median 0 -> 13"
    )
    assert told == (
        "drift of digits raised an alarm on r1",
        "window 7: x[24] median 0 -> 13; score 214 against 3.008",
    )
    for phase in get_args(Phase):
        what, why = tell_phase("digits", phase, f"waits, alarm {UUID}", f"alarm {UUID}: a", "")
        assert what.startswith("the loop of digits ")
        assert UUID not in what + why
    for kind in OUTCOME_KINDS:
        what, why = tell_end("digits-1", RunOutcome.now(kind, "so it is"))
        assert what.startswith("run digits-1 ")
        assert why == "so it is"


async def test_a_damaged_position_is_read_again_from_the_streams(
    tmp_path: Path,
) -> None:
    """What the streams hold is shown again, and the timeline, which has it, repeats nothing."""
    record, file = tmp_path / "history.json", tmp_path / "timeline.jsonl"
    server = nats(tmp_path).start()
    client = await connect_client(url(server), name="test")
    js = client.jetstream()
    workflows = await js.create_key_value(bucket=WORKFLOWS.name)
    far = {**node("train"), "phase": "Running", "progress": "3/12"}
    document = json.dumps({"spec": {}, "status": {"phase": "Failed", "nodes": {"n": far}}}).encode()

    async def follow(*names: str) -> list[str]:
        history = RunHistory(record, EventTimeline(file))
        following = asyncio.create_task(history.follow_streams(js))
        for number, name in enumerate(names):
            await until(lambda number=number: len(history.runs) >= number and not history._rebuilds)
            await workflows.put(f"n.{name}", document)
        await until(lambda: {"n/one", *(f"n/{name}" for name in names)} <= history.runs.keys())
        told = [{"step": "train", "progress": "3/12", "startedAt": None}]
        assert history.runs["n/one"]["progress"] == told
        await until(record.exists)
        while not following.done():
            # a reply that comes in the same moment takes the cancellation's place
            following.cancel()
            await asyncio.wait([following], timeout=1)
        return [json.loads(line)["what"] for line in file.read_text().splitlines()]

    first = [
        f"run {name} {what}" for name in ("one", "two") for what in ("began", "ended as failed")
    ]
    assert await follow("one", "two") == first
    record.unlink()
    find_set_aside(record).write_text("damaged")
    assert await follow() == first
    again = await follow("three")
    await client.close()
    server.kill()
    assert again == [*first, "run three began", "run three ended as failed"]


def test_a_run_that_waits_for_a_person_stays_in_sight_of_those_that_find_it_busy(
    tmp_path: Path,
) -> None:
    history = RunHistory(tmp_path / "history", EventTimeline(tmp_path / "timeline", lambda _: None))

    def tell(name: str, phase: str, held: str = "") -> None:
        asked = {"id": "h", "type": "Suspend", "phase": held, "startedAt": "2026-01-02T03:04:05Z"}
        workflow = {
            "metadata": {"name": name, "namespace": "digits"},
            "spec": {"workflowTemplateRef": {"name": "digits-train"}},
            "status": {"phase": phase, "nodes": {"h": asked} if held else {}},
        }
        history._record_workflow(f"{WORKFLOWS.prefix}digits.{name}", json.dumps(workflow).encode())

    def shown() -> tuple[str, bool]:
        run = history.runs["digits/digits-train"]
        return run["name"], "hold" in run

    tell("digits-1", "Running", "Running")
    tell("digits-2", "Succeeded")
    assert shown() == ("digits-1", True)
    tell("digits-1", "Running", "Succeeded")
    assert shown() == ("digits-1", False)
    tell("digits-3", "Running", "Running")
    history._record_workflow(f"{WORKFLOWS.prefix}digits.digits-3", b"")
    tell("digits-4", "Succeeded")
    assert shown() == ("digits-4", False)
