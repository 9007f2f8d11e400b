"""What the timeline calls the steps of a run."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support.processes import nats, until, url

from driftloop.clients.nats import connect_client
from driftloop.contract.streams import WORKFLOWS
from driftloop.local.ground.files import find_set_aside
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.up.history import RunHistory, format_step


def node(name: str, type: str = "Pod", template: str = "t") -> dict[str, Any]:
    return {"displayName": name, "type": type, "templateName": template}


@pytest.mark.parametrize(
    ("name", "retried", "shown"),
    [
        ("claim", None, "claim"),
        ("claim(0)", "claim", "claim"),
        ("claim(2)", "claim", "claim (try 3)"),
        ("train(1:rate:0.1)(0)", "train(1:rate:0.1)", "train(1:rate:0.1)"),
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
        "b: started",
        "b: look done",
    ]
    assert seen("c", "Failed")[-2:] == ["c: started", "c: failed"]


async def test_a_damaged_position_is_read_again_from_the_streams(
    tmp_path: Path,
) -> None:
    """What the streams hold is shown again, and the timeline, which has it, repeats nothing."""
    record, file = tmp_path / "history.json", tmp_path / "timeline.jsonl"
    server = nats(tmp_path).start()
    client = await connect_client(url(server), name="test")
    js = client.jetstream()
    workflows = await js.create_key_value(bucket=WORKFLOWS.name)
    document = json.dumps({"spec": {}, "status": {"phase": "Failed"}}).encode()

    async def follow(*names: str) -> list[str]:
        history = RunHistory(record, EventTimeline(file))
        following = asyncio.create_task(history.follow_streams(js))
        for number, name in enumerate(names):
            await until(lambda number=number: len(history.runs) >= number and not history._rebuilds)
            await workflows.put(f"n.{name}", document)
        await until(lambda: {"n/one", *(f"n/{name}" for name in names)} <= history.runs.keys())
        await until(record.exists)
        while not following.done():
            # a reply that comes in the same moment takes the cancellation's place
            following.cancel()
            await asyncio.wait([following], timeout=1)
        return [json.loads(line)["what"] for line in file.read_text().splitlines()]

    first = ["one: started", "one: failed", "two: started", "two: failed"]
    assert await follow("one", "two") == first
    record.unlink()
    find_set_aside(record).write_text("damaged")
    assert await follow() == first
    again = await follow("three")
    await client.close()
    server.kill()
    assert again == [*first, "three: started", "three: failed"]
