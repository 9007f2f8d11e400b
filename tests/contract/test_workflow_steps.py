"""How far the steps of a run are, from its nodes to what `driftloop status` shows."""

from datetime import UTC, datetime
from typing import Any

from driftloop.cli.status import _format_status
from driftloop.contract.workflow_steps import describe_steps, list_progress
from driftloop.operations.watching.status import PlatformStatus, RunStatus, _add_left

TRIAL = 'train(0:parameters:{"rate":0.1},trial:1)'


def node(name: str, progress: str, phase: str = "Running", type: str = "Pod") -> dict[str, Any]:
    return {
        "displayName": name, "type": type, "phase": phase, "progress": progress,
        "startedAt": "2026-01-31T09:30:00Z",
    }  # fmt: skip


def workflow() -> dict[str, Any]:
    nodes = {
        "dag": node("digits-1", "1/12", type="DAG"),
        "retry": node(TRIAL, "0/1", type="Retry"),
        "again": node(f"{TRIAL}(1)", "3/12"),
        "silent": node("split", "0/1"),
        "done": node("claim", "4/4", phase="Succeeded"),
    }
    return {"metadata": {"name": "digits-1"}, "status": {"nodes": nodes}}


def test_only_steps_that_go_on_and_say_how_far_they_are_count() -> None:
    (step,) = list_progress(workflow())
    assert (step.step, step.progress) == (f"{TRIAL} (try 2)", "3/12")
    later = datetime(2026, 1, 31, 9, 31, tzinfo=UTC)
    assert step.describe(later) == "3 of 12, about 3 min left"
    assert step.measure_left(later) == 180
    assert describe_steps({"status": {}}) == {}


def test_status_shows_how_far_and_how_long_in_text_and_json() -> None:
    run = {
        "name": "digits-1", "phase": "Running", "finishedAt": None, "message": "",
        **describe_steps(workflow()),
    }  # fmt: skip
    document = {
        **dict.fromkeys(("pid", "uptime", "gateway", "tip", "applied", "refused", "stuck")),
        "state": "here", "waiting": [], "processes": [], "memory": None, "decisions": {}, "releases": {},
        "verdicts": {}, "runs": {"digits/digits-train": run},
    }  # fmt: skip
    _add_left(document)
    (told,) = document["runs"]["digits/digits-train"]["progress"]
    assert told["progress"] == "3/12"
    assert told["secondsLeft"] > 0
    status = PlatformStatus.from_json(document)
    lines = [line for line in _format_status(status) if line.startswith("run")]
    assert lines[0] == "run      digits/digits-train: digits-1 Running"
    assert lines[1].startswith(
        "run      digits/digits-train: train, trial 1: rate 0.1 (try 2): 3 of 12, about "
    )
    assert lines[1].endswith(" left")


def test_a_run_that_says_nothing_has_none() -> None:
    document = {"name": "digits-1", "phase": "Running"}
    assert RunStatus.from_json(document).progress == ()
