"""A rollout that waits for a person: the step that watches the candidate, the approval, and the promotion."""

import json
import subprocess
import time
from typing import Any

import pytest
from support.commands import type_command
from support.processes import PATIENCE

from driftloop.contract.approvals import list_approvals
from driftloop.contract.times import format_now
from driftloop.operations.commits import releases as pipelines
from tests.pipelines import SPEC
from tests.steps.conftest import BUCKET, World
from tests.steps.test_release_steps import (
    CANARY,
    A,
    B,
    advance,
    applies,
    claim,
    finish,
    measured,
    register,
    state,
    walk,
)

WORKFLOW = f"digits-release-{B}"
MANUAL = f"{SPEC}  rollout: {{promote: manual}}\n"
LONG_AGO = "2026-01-01T00:00:00Z"


def suspended(world: World, *approvers: str, since: str = "") -> dict[str, Any]:
    """The Workflow of a rollout that waits for a person, as Argo writes it."""
    given = {
        "run": "digits-b",
        "asks": f"{B} becomes production",
        "approvers": json.dumps(approvers),
    }
    node = {
        "id": f"{WORKFLOW}-1",
        "name": f"{WORKFLOW}.approval",
        "displayName": "approval",
        "type": "Suspend",
        "templateName": "approval",
        "phase": "Running",
        "startedAt": since or format_now(),
        "inputs": {"parameters": [{"name": k, "value": v} for k, v in given.items()]},
        "outputs": {
            "parameters": [
                {"name": name, "valueFrom": {"supplied": {}}} for name in ("who", "when", "reason")
            ]
        },
    }
    labels = {"app.kubernetes.io/name": "digits"}
    return {
        "metadata": {"name": WORKFLOW, "resourceVersion": "7", "labels": labels},
        "status": {"phase": "Running", "nodes": {node["id"]: node}},
    }


def hold(world: World, *approvers: str, since: str = "") -> None:
    """The API server has the Workflow, alone or in the list of those that are not over."""
    key = f"workflows/{WORKFLOW}"
    world.around.objects[key] = suspended(world, *approvers, since=since)
    world.around.objects[f"{world.namespace}/workflows"] = lambda: {
        "items": [world.around.objects[key]]
    }


def node(world: World) -> dict[str, Any]:
    (found,) = world.around.objects[f"workflows/{WORKFLOW}"]["status"]["nodes"].values()
    return dict(found)


@pytest.fixture
def held(world: World) -> World:
    """A candidate with half of the traffic, whose rollout waits for anybody."""
    pipelines.commit_spec(world.repository, MANUAL, allow=None)
    register(world, "digits-a")
    applies(world, A, B)
    world.around.judgement = measured()
    register(world, "digits-b")
    walk(world, "50", limits=CANARY)
    hold(world)
    world.around.user = "ann"
    return world


def watch(world: World, within: float = 600) -> tuple[str, ...]:
    return (
        *("watch", "--pipeline", "digits", "--namespace", world.namespace, "--run", "digits-b"),
        *("--release", B, "--workflow", WORKFLOW, "--hold", "approval"),
        *("--limits", json.dumps(CANARY), "--within", str(within)),
    )


def approve(world: World, *more: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    return type_command(
        *("approve", "digits", *more, "--namespace", world.namespace, "--reason", "looked  at it"),
        folder=world.folder,
        environment=world.environment,
        code=code,
    )


def promote(world: World, *approvers: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """The last step, with what the node's outputs say."""
    given = {item["name"]: item["value"] for item in node(world)["outputs"]["parameters"]}
    return world.step(
        *advance("promote"),
        world.namespace,
        *(word for name, value in given.items() for word in (f"--approval-{name}", value)),
        *("--approvers", json.dumps(approvers)),
        code=code,
    )


def test_an_approval_ends_the_wait_and_stands_in_commit_and_record(held: World) -> None:
    watching = held.begin(*watch(held))
    for line in watching.stderr or ():
        if "waits since" in line:
            break
    said = approve(held, "-o", "json")
    assert json.loads(said.stdout) | {"when": ""} == {
        "pipeline": "digits",
        "run": "digits-b",
        "workflow": WORKFLOW,
        "step": "approval",
        "who": "ann",
        "when": "",
        "reason": "looked at it",
    }
    assert watching.wait(PATIENCE) == 0
    assert "approved by ann: looked at it" in (watching.stderr.read() if watching.stderr else "")
    promote(held)
    assert held.base().release.production.id == B
    body = held.git("log", "-1", "--format=%b", "main")
    assert "Approved by ann: looked at it." in body
    assert held.git("log", "-1", "--format=%(trailers:key=Approved-by,valueonly)", "main") == "ann"
    reason = held.git("log", "-1", "--format=%(trailers:key=Driftloop-Reason,valueonly)", "main")
    assert reason == "the rollout ended, approved by ann: looked at it"
    claim(held, "digits-b")
    finish(held, "digits-b", "Succeeded", release=B)
    report = held.store.read_json(BUCKET / "runs/digits-b/run.json")
    (approval,) = report["approvals"]
    assert approval["when"] == json.loads(said.stdout)["when"]
    assert (approval["run"], approval["step"], approval["who"], approval["reason"]) == (
        *("digits-b", "approval", "ann", "looked at it"),
    )


def test_whoever_may_not_approve_is_told_who_may(held: World) -> None:
    hold(held, "bob", "eve")
    said = approve(held, code=1).stderr
    assert f"`ann` may not approve that {B} becomes production, must be one of: bob, eve" in said
    assert node(held)["phase"] == "Running"
    # Argo lets everybody end the node who may patch Workflows: the promotion looks again
    held.around.user = "bob"
    approve(held)
    assert "`bob` may not approve it, must be one of: eve" in promote(held, "eve", code=1).stderr
    assert held.base().release.production.id == A
    promote(held, "bob")
    assert held.base().release.production.id == B


def test_who_is_not_known_approves_nothing(held: World) -> None:
    held.around.user = None
    assert "does not say who you are" in approve(held, code=1).stderr
    held.around.user = "ann"
    wrong = approve(held, "digits-other", code=1).stderr
    assert "run `digits-other` does not wait for a person" in wrong
    assert f"what waits: digits-b ({B} becomes production)" in wrong
    approve(held, "digits-b")
    assert "nothing of `digits` waits for a person" in approve(held, code=1).stderr


def test_of_two_who_approve_at_once_one_does(held: World) -> None:
    """The second has read the Workflow before the first has written it."""
    key = f"workflows/{WORKFLOW}"
    before = held.around.objects[key]
    held.around.objects[f"{held.namespace}/workflows"] = lambda: {"items": [before]}
    approve(held)
    held.around.user = "eve"
    said = approve(held, code=1).stderr
    assert "run `digits-b` was approved by ann: looked at it meanwhile" in said
    assert [each.who for each in list_approvals(held.around.objects[key])] == ["ann"]


def test_a_candidate_that_turns_bad_while_it_waits_is_rejected(held: World) -> None:
    begun: list[float] = []

    def judge(question: dict[str, str]) -> Any:
        since = float(question["since"])
        if since not in begun:
            begun.append(since)
        # the first stretches are good: a limit that breaks later must count by itself
        return measured(errors=9 if len(begun) > 2 else 0)(question)

    held.around.judgement = judge
    said = held.step(*watch(held), code=1).stderr
    assert "error rate 9.00%, allowed 2.00%" in said
    assert (held.base().release.candidate, held.base().release.production.id) == (None, A)
    assert held.git("log", "-1", "--format=%s", "main") == f"Reject {B} of digits"
    assert node(held)["phase"] == "Failed"
    assert "error rate 9.00%" in node(held)["message"]
    # its pod is lost between commit and patch, and starts again
    hold(held)
    held.step(*watch(held))
    assert node(held)["phase"] == "Skipped"
    claim(held, "digits-b")
    finish(held, "digits-b", "Failed", release=B)
    assert state(held).outcome == "rejected"


def test_nobody_approves_in_time(held: World) -> None:
    hold(held, since=LONG_AGO)
    said = held.step(*watch(held, within=3600), code=1).stderr
    assert "nobody approved it within 1 h" in said
    assert held.base().release.candidate is None
    assert "nobody approved it within 1 h" in held.git("log", "-1", "--format=%b", "main")
    assert node(held)["phase"] == "Failed"


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_a_person_ends_the_wait_otherwise(held: World, command: str) -> None:
    watching = held.begin(*watch(held))
    time.sleep(1)
    more = ("--unchecked",) if command == "rollback" else ()
    type_command(
        *(command, "digits", *more, "--repository", held.environment["DRIFTLOOP_GIT_URL"]),
        folder=held.folder,
        environment=held.environment,
    )
    assert watching.wait(PATIENCE) == 0
    assert node(held)["phase"] == "Skipped"
    assert held.base().release.production.id == (B if command == "promote" else A)


def test_who_may_not_approve_does_not_promote_past_it(held: World) -> None:
    pipelines.commit_spec(held.repository, f"{MANUAL}  approvers: [bob]\n", allow=None)
    said = type_command(
        *("promote", "digits", "--repository", held.environment["DRIFTLOOP_GIT_URL"]),
        folder=held.folder,
        environment=held.environment,
        code=1,
    ).stderr
    assert "may not approve a promotion of `digits`, must be one of: bob" in said


def test_a_workflow_that_is_gone_ends_the_watch(held: World) -> None:
    del held.around.objects[f"workflows/{WORKFLOW}"]
    said = held.step(*watch(held), code=1).stderr
    assert f"workflow `{WORKFLOW}` does not exist any more" in said


def test_a_run_that_nobody_lets_go_on_fails_by_name(world: World) -> None:
    """Argo ends what is suspended when the deadline of its Workflow is over."""
    claim(world, "digits-c")
    workflow = suspended(world)
    (waits,) = workflow["status"]["nodes"].values()
    waits |= {"displayName": "approve-label", "phase": "Failed", "startedAt": LONG_AGO}
    waits["message"] = "Step exceeded its deadline"
    world.around.objects["workflows/digits-c"] = workflow
    finish(world, "digits-c", "Failed")
    assert state(world).outcome == "failed"
    said = f"approve-label: nobody has approved it since {LONG_AGO} ({B} becomes production)"
    assert state(world).reason == said
