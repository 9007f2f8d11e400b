"""run.json as the steps of a run write it: begun by the snapshot, completed by the last step of each Workflow."""

import subprocess
import sys
from dataclasses import replace

from support.stored_runs import make_workflow

from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.names import release_id
from driftloop.contract.runs import RunReport
from driftloop.contract.trees import report_key, run_key
from driftloop.operations.commits import releases as pipelines
from driftloop.retrain import store as decisions
from driftloop.retrain.state import AlarmEvent, ClaimEvent
from driftloop.tracking.outbox import TrackingBox
from tests.pipelines import SPEC
from tests.steps.conftest import BUCKET, DATA, World
from tests.steps.test_release_steps import register

POLICY = RetrainPolicy(cooldown=0, while_running="remember", budget=None, hold=0)


def read(world: World, run: str) -> RunReport:
    return RunReport.read(world.store.read_json(BUCKET / report_key(run)))


def claim(world: World, run: str) -> None:
    where = (world.environment["NATS_URL"], world.namespace, "digits")
    decisions.apply_once(*where, ClaimEvent(run, run.removeprefix("digits-"), "person eve"))


def claim_alarmed(world: World) -> str:
    """A run that two alarms in a row started holds the lease; its id."""
    where = (world.environment["NATS_URL"], world.namespace, "digits")
    state = decisions.read_once(*where)
    for window in range(3, 9):
        event = AlarmEvent("drift", "r1a2b3c4d", window, True, f"e{window}: hue 1 -> 2")
        state = decisions.apply_once(*where, event, POLICY)
        if state.decision is not None:
            break
    assert state.decision is not None
    run = f"digits-{state.decision}"
    assert (
        decisions.apply_once(*where, ClaimEvent(run, state.decision, state.cause or "")).run == run
    )
    return run


def finish(world: World, run: str, *more: str, status: str = "Succeeded") -> None:
    world.step(
        "finish",
        *("--pipeline", "digits", "--namespace", world.namespace, "--run", run),
        *("--status", status, *more, "--out", str(world.folder / "finish")),
    )


def snapshot(world: World, run: str) -> None:
    world.store.write_object(DATA / "a.npz", b"one")
    world.step(
        "snapshot",
        *("--pipeline", "digits", "--run", run, "--uri", str(DATA), "--cause", "schedule"),
        *("--recipe", "sha256:" + "b" * 64, "--out", str(world.folder / "snapshot")),
    )


def test_a_run_is_seen_as_soon_as_it_has_its_data(world: World) -> None:
    snapshot(world, "digits-a")
    report = read(world, "digits-a")
    assert report.outcome is None
    assert report.started is not None
    assert report.commit == world.git("rev-parse", "main")
    assert (report.trigger, report.namespace) == ("schedule", "digits")
    assert report.data is not None
    assert (report.data.batches, report.digests.recipe) == (1, "sha256:" + "b" * 64)


def test_the_last_step_completes_it(world: World) -> None:
    run = claim_alarmed(world)
    snapshot(world, run)
    register(world, run)
    world.around.objects[f"workflows/{run}"] = make_workflow(run, {0: 0.9, 1: None}, chosen=0)
    finish(world, run)
    report = read(world, run)
    assert report.outcome is not None
    assert report.outcome.kind == "released"
    assert report.release == release_id(run)
    assert report.commit is not None
    assert report.alarm is not None
    assert (report.alarm.monitor, report.alarm.release) == ("drift", "r1a2b3c4d")
    assert report.alarm.event == f"e{report.alarm.last}"
    assert report.alarm.first <= report.alarm.last
    assert report.started == "2026-01-31T09:10:00Z"
    assert len(report.steps) == 5
    assert [trial.failed for trial in report.trials] == ["", "it diverged"]
    page = world.store.read_object(BUCKET / run_key(run, "report.html")).decode()
    assert f"Release {report.release} of digits" in page
    assert f"{report.release} was trained by {run}" in page


def test_a_rollout_adds_its_steps_and_the_outcome(world: World) -> None:
    register(world, "digits-a")
    run = claim_alarmed(world)
    register(world, run)
    world.around.objects[f"workflows/{run}"] = make_workflow(run, {0: 0.9}, chosen=0)
    finish(world, run)
    before = read(world, run)
    id = release_id(run)
    assert (before.outcome, before.release) == (None, id)
    assert before.rollout == f"digits-release-{id}"
    rollout = make_workflow(before.rollout, {}, chosen=0, phase="Failed")
    rollout["spec"] = {"workflowTemplateRef": {"name": "digits-release"}}
    rollout["status"]["storedWorkflowTemplateSpec"] = {"templates": []}
    world.around.objects[f"workflows/{before.rollout}"] = rollout
    finish(world, run, "--release", id, status="Failed")
    after = read(world, run)
    assert after.outcome is not None
    assert after.outcome.kind == "failed"
    assert after.steps[: len(before.steps)] == before.steps
    assert len(after.steps) > len(before.steps)
    same = replace(after, outcome=None, finished=None, steps=before.steps, notes=before.notes)
    assert same == before


def test_a_card_is_stored_with_the_run_of_a_release(world: World) -> None:
    claim(world, "digits-a")
    register(world, "digits-a")
    finish(world, "digits-a")
    assert not world.store.has_object(BUCKET / run_key("digits-a", "card.md"))
    words = "{owner: o, contact: c, intendedUse: reads digits, limits: not letters}"
    pipelines.commit_spec(world.repository, f"{SPEC}  card: {words}\n")
    finish(world, "digits-a")
    text = world.store.read_object(BUCKET / run_key("digits-a", "card.md")).decode()
    assert text.startswith(f"# Model card: release {release_id('digits-a')} of digits")
    assert "not letters" in text
    page = world.store.read_object(BUCKET / run_key("digits-a", "card.html")).decode()
    assert "reads digits" in page


def test_a_tracking_server_is_told_of_each_state_of_a_run(world: World) -> None:
    box = TrackingBox(world.store, BUCKET, "digits")
    claim(world, "digits-a")
    register(world, "digits-a")
    finish(world, "digits-a")
    assert not box.list_waiting()
    finish(world, "digits-a", "--tracking")
    finish(world, "digits-a", "--tracking")
    (keys,) = box.list_waiting().values()
    assert len(keys) == 1
    assert box.is_waiting("digits-a")
    world.store.write_object(BUCKET / report_key("digits-a"), b"another state")
    box.add("digits-a")
    (both,) = box.list_waiting().values()
    assert set(keys) < set(both)
    # who sent the first one has not seen the second
    box.remove(keys)
    assert box.is_waiting("digits-a")
    box.add("digits-none")
    assert list(box.list_waiting()) == ["digits-a"]


def test_a_run_whose_workflow_is_gone_has_one_too(world: World) -> None:
    claim(world, "digits-a")
    register(world, "digits-a")
    finish(world, "digits-a")
    report = read(world, "digits-a")
    assert report.outcome is not None
    assert report.outcome.kind == "released"


def test_a_look_that_finds_nothing_leaves_none(world: World) -> None:
    run = "digits-data-1"
    looked = {"metadata": {"name": run}, "spec": {"entrypoint": "on-new-data"}, "status": {}}
    world.around.objects[f"workflows/{run}"] = looked
    finish(world, run)
    assert not world.store.has_object(BUCKET / report_key(run))


def test_a_damaged_one_is_composed_anew(world: World) -> None:
    claim(world, "digits-a")
    register(world, "digits-a")
    world.store.write_json(BUCKET / report_key("digits-a"), ["damaged"])
    finish(world, "digits-a")
    outcome = read(world, "digits-a").outcome
    assert outcome is not None
    assert outcome.kind == "released"
    assert world.around.events


def test_the_end_of_a_run_removes_what_its_steps_handed_on(world: World) -> None:
    claim(world, "digits-a")
    register(world, "digits-a")
    for name in ("data/recent/a.npz", "split/train/recent/a.npz", "trials/0/model/model.onnx"):
        world.store.write_object(BUCKET / f"runs/digits-a/{name}", b"x" * 100)
    finish(world, "digits-a")
    left = {entry.key for entry in world.store.list_folder(BUCKET / "runs/digits-a")}
    assert "runs/digits-a/trials/0/model/model.onnx" in left
    assert "runs/digits-a/release/model/model.onnx" in left
    assert not {key for key in left if "/data/" in key or "/split/" in key}


def test_a_step_that_renders_nothing_loads_no_renderer() -> None:
    check = (
        "import sys, driftloop.steps.snapshot, driftloop.steps.claim, driftloop.steps.gate\n"
        "print([name for name in ('driftloop.render', 'driftloop.resources', 'driftloop.spec.model') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
