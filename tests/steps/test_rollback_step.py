"""`step rollback`: what an order of the decision does to git, and what stands against it."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from driftloop.clients.s3 import StoreLocation
from driftloop.contract.handovers import RetrainPolicy
from driftloop.git.head import read_head
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.release_history import read_history
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.operations.rollouts.automatic_rollback import carry_out
from driftloop.release import record
from driftloop.release.minisign import make_signing_key
from driftloop.retrain import store as decisions
from driftloop.retrain.rollbacks import describe_rollback
from driftloop.retrain.state import AlarmEvent, ResumeEvent, RetrainState, RollbackOrder
from tests.pipelines import SPEC
from tests.steps.conftest import BUCKET, World, make_world
from tests.steps.test_release_steps import A, B, C, claim, ended, finish, register, state

POLICY = RetrainPolicy(rollback_on=("quality",))
WORDS = "e1: answers accuracy 0.95 -> 0.4"
CAUSE = f"alarm {WORDS}"


def move(world: World, step) -> None:  # type: ignore[no-untyped-def]
    """A move of the release, as the loop commits it."""

    def message(before, after):  # type: ignore[no-untyped-def]
        return TransitionMessage("Move", after.candidate or after.production, "schedule")

    pipelines.commit_transition(world.repository, "digits", step, message)


@pytest.fixture(scope="module")
def released(
    tmp_path_factory: pytest.TempPathFactory, nats_url: str, s3_url: str
) -> Iterator[World]:
    """B is production, A was before it; made once."""
    with make_world(tmp_path_factory.mktemp("rollback"), nats_url, s3_url) as world:
        register(world, "digits-a")
        world.git("tag", "first", "main")
        register(world, "digits-b")
        move(world, record.promote_candidate)
        world.git("tag", "promoted", "main")
        yield world


@pytest.fixture
def promoted(released: World) -> World:
    """The same for each test, whose decision has had no alarm."""
    restore(released, "promoted")
    return released


def restore(world: World, tag: str) -> None:
    world.git("update-ref", "refs/heads/main", f"refs/tags/{tag}")
    world.namespace = f"rollback{next(NUMBERS)}"


NUMBERS = itertools.count()


def order(world: World, release: str = B, window: int = 7) -> RollbackOrder:
    """Alarms about a release have counted."""
    event = AlarmEvent("quality", release, window, alarm=True, event=WORDS)
    url = world.environment["NATS_URL"]
    found = decisions.apply_once(url, world.namespace, "digits", event, POLICY).rollback
    assert found is not None
    return found


def roll_back(
    world: World, decision: str, *, code: int = 0, run: str = "", **environment: str
) -> str:
    run = run or f"digits-rollback-{decision}"
    names = ("--pipeline", "digits", "--namespace", world.namespace)
    own = ("--run", run, "--decision", decision)
    return world.step("rollback", *names, *own, code=code, **environment).stderr


def release_of(world: World) -> record.Release:
    return world.base().release


def halt_of(world: World) -> str:
    current: RetrainState = state(world)
    assert (current.phase, current.rollback) == ("halted", None)
    return current.halt or ""


def test_production_makes_way_for_the_release_before_by_one_commit(promoted: World) -> None:
    wanted = order(promoted)
    tip = promoted.git("rev-parse", "main")
    assert f"rolled back from {B} to {A}" in roll_back(promoted, wanted.decision)
    assert promoted.git("rev-parse", "main^") == tip
    body = promoted.git("log", "-1", "--format=%B", "main")
    assert body.startswith(f"Roll digits back to {A}\n")
    assert "By the loop itself: monitor quality alarmed" in body
    for line in (f"Cause: {CAUSE}", f"Rolled-Back: {B}", f"Decision: {wanted.decision}"):
        assert f"Driftloop-{line}" in body
    release = release_of(promoted)
    assert (release.production.id, release.previous) == (A, None)  # type: ignore[union-attr]
    (left,) = release.left
    assert (left.release, left.to, left.decision, left.cause) == (B, A, wanted.decision, CAUSE)
    assert halt_of(promoted) == f"rolled back from {B} to {A} because of {CAUSE} (monitor quality)"
    # it is the loop's own: no pause after a person's commit, and no run makes that version again
    head = read_head(promoted.repository, "digits")
    assert head is not None
    assert (head.event.taken_back, head.taken_back, head.decision) == (
        False, (B,), wanted.decision
    )  # fmt: skip
    by_id = {each.id: each for each in read_history(promoted.repository, "digits").entries}
    assert by_id[B].left is not None
    assert (by_id[B].taken_back, by_id[A].left) == (None, None)
    # a second delivery, and a Workflow of another name
    tip = promoted.git("rev-parse", "main")
    assert "nothing is done" in roll_back(promoted, wanted.decision)
    assert "nothing is done" in roll_back(promoted, wanted.decision, run="digits-rollback-other")
    assert promoted.git("rev-parse", "main") == tip


def test_what_died_after_its_commit_finds_it(promoted: World) -> None:
    wanted = order(promoted)
    carry_out(promoted.repository, "digits", wanted, store=promoted.store, keys="", report=print)
    tip = promoted.git("rev-parse", "main")
    assert "commit made before" in roll_back(promoted, wanted.decision)
    assert promoted.git("rev-parse", "main") == tip
    assert halt_of(promoted).startswith(f"rolled back from {B} to {A}")


def test_a_candidate_goes_with_the_production_that_it_was_measured_against(
    promoted: World,
) -> None:
    before = release_of(promoted)
    claim(promoted, "digits-c")
    register(promoted, "digits-c")
    move(promoted, lambda release: record.set_canary(release, 10))
    wanted = order(promoted)
    roll_back(promoted, wanted.decision)
    subjects = promoted.git("log", "-2", "--format=%s", "main").splitlines()
    assert subjects == [
        f"Roll digits back to {A}", f"Take {C} of digits out of its rollout"
    ]  # fmt: skip
    release = release_of(promoted)
    assert (release.phase, release.production.id, release.candidate) == ("stable", A, None)  # type: ignore[union-attr]
    # the run of the rollout hears it from git, and `git revert` of the tip is the release before it
    finish(promoted, "digits-c", "Failed", release=C)
    outcome = ended(promoted, "digits-c")
    assert outcome.kind == "superseded"
    assert f"{B}, which it was measured against, is rolled back" in outcome.reason
    assert halt_of(promoted).startswith("rolled back from")
    below = promoted.git("show", "main^:deployments/digits/release.yaml")
    assert record.load_release(below) == before


def hide_model(world: World) -> str:
    folder = BUCKET / "runs/digits-a/release/model"
    world.store.delete_object(folder / "model.onnx")
    return f"{A} can't come back: its model {folder} does not exist"


def change_detector(world: World) -> str:
    folder = BUCKET / "runs/digits-a/release/detectors/drift"
    put_text(world, folder, "reference.npz", "another")
    return f"{A} can't come back: its detector {folder} has digest"


def put_text(world: World, folder: StoreLocation, name: str, text: str) -> None:
    local = world.folder / "put"
    shutil.rmtree(local, ignore_errors=True)
    local.mkdir()
    (local / name).write_text(text)
    world.store.put_folder(local, folder)


def forge_signature(world: World) -> str:
    """Who may write into git has no key."""

    def sign(release: record.Release) -> record.Release:
        assert release.previous is not None
        signature = make_signing_key().sign("something else")
        signed = release.previous.model_copy(update={"signature": signature})
        return release.model_copy(update={"previous": signed})

    move(world, sign)
    text = f"{SPEC}  signatures: write\n"
    pipelines.commit_spec(world.repository, text, cause="person eve", allow=None)
    return f"release {A} of digits/digits is not trusted"


def leave_by_itself(world: World) -> str:
    """B is what the loop left once, and a person brought back since."""

    def bring_back(release: record.Release) -> record.Release:
        left = record.LeftRelease(release=A, to="rffffffff", decision="0" * 12, cause="alarm e0")
        return release.model_copy(update={"left": (left,)})

    move(world, bring_back)
    return f"the release before it, {A}, was itself left because of alarm e0"


def edit_tree(world: World) -> str:
    clone = world.folder / "clone"
    git = ["git", "-C", str(clone), "-c", "user.name=eve", "-c", "user.email=eve@example.org"]
    subprocess.run(["git", "clone", "-q", str(world.remote), clone], check=True)
    file = clone / "monitors/digits/decision.deployment.yaml"
    file.write_text(file.read_text().replace("replicas: 1", "replicas: 2"))
    subprocess.run([*git, "commit", "-qam", "By hand"], check=True)
    subprocess.run([*git, "push", "-q"], check=True)
    return "monitors/digits/decision.deployment.yaml differs"


@pytest.mark.parametrize(
    "spoil", [hide_model, change_detector, forge_signature, leave_by_itself, edit_tree]
)
def test_what_stands_against_it_is_told_and_nothing_is_committed(
    promoted: World, spoil: Callable[[World], str]
) -> None:
    said = spoil(promoted)
    tip = promoted.git("rev-parse", "main")
    wanted = order(promoted)
    key = make_signing_key().public.text
    told = roll_back(promoted, wanted.decision, DRIFTLOOP_SIGNING_KEYS=key)
    put_text(promoted, BUCKET / "runs/digits-a/release/model", "model.onnx", "digits-a")
    put_text(
        promoted, BUCKET / "runs/digits-a/release/detectors/drift", "reference.npz", "digits-a"
    )
    assert "nothing is committed (refused)" in told
    assert promoted.git("rev-parse", "main") == tip
    halt = halt_of(promoted)
    assert halt.startswith(f"did not go back from {B}: ")
    assert said in halt
    assert describe_rollback(state(promoted)) == "refused"


def test_without_a_release_before_there_is_no_way_back(promoted: World) -> None:
    restore(promoted, "first")
    roll_back(promoted, order(promoted, A).decision)
    assert f"did not go back from {A}: there is no release before {A}" in halt_of(promoted)


def test_what_was_gone_back_to_is_left_by_a_person_only(promoted: World) -> None:
    roll_back(promoted, order(promoted).decision)
    url = promoted.environment["NATS_URL"]
    decisions.apply_once(url, promoted.namespace, "digits", ResumeEvent(), POLICY)
    tip = promoted.git("rev-parse", "main")
    roll_back(promoted, order(promoted, A).decision)
    assert promoted.git("rev-parse", "main") == tip
    assert f"the loop went back to {A} from {B} by itself, and goes back no further" in halt_of(
        promoted
    )


def test_another_production_lets_the_loop_go_on(promoted: World) -> None:
    wanted = order(promoted)
    namespace = promoted.namespace
    restore(promoted, "first")
    promoted.namespace = namespace
    tip = promoted.git("rev-parse", "main")
    assert "nothing is committed (stale)" in roll_back(promoted, wanted.decision)
    assert promoted.git("rev-parse", "main") == tip
    current = state(promoted)
    assert (current.phase, current.halt, current.stale) == ("idle", None, 1)


def test_a_forged_call_of_the_webhook_does_nothing(promoted: World) -> None:
    tip = promoted.git("rev-parse", "main")
    assert "has no order 0123456789ab" in roll_back(promoted, "0123456789ab")
    order(promoted)
    assert "has no order 0123456789ab" in roll_back(promoted, "0123456789ab")
    assert promoted.git("rev-parse", "main") == tip


def test_while_git_is_away_the_next_try_goes_on(promoted: World) -> None:
    wanted = order(promoted)
    away = promoted.remote.with_suffix(".away")
    shutil.move(promoted.remote, away)
    roll_back(promoted, wanted.decision, code=1)
    assert describe_rollback(state(promoted)) == "ordered"
    shutil.move(away, promoted.remote)
    assert f"rolled back from {B} to {A}" in roll_back(promoted, wanted.decision)
