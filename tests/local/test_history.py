"""What the timeline calls the steps of a run."""

import json
from pathlib import Path
from typing import Any

import pytest

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
