"""register, advance, finish: the steps that move a release, each killed, repeated and interfered with."""

import hashlib
import itertools
import json
import math
import os
import signal
import subprocess
import time

import pytest
import yaml
from support.processes import PATIENCE

from driftloop.clients import s3
from driftloop.contract.handovers import write_digests
from driftloop.contract.names import release_id
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.platform import SIGNING_KEY, SIGNING_KEYS
from driftloop.errors import RenderError
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.release import record
from driftloop.release.judgement import Answers, Measured
from driftloop.release.minisign import make_signing_key
from driftloop.retrain import store as decisions
from driftloop.retrain.state import ClaimEvent, LostEvent, TickEvent
from tests.pipelines import SPEC
from tests.steps.conftest import BUCKET

A, B, C = (release_id(f"digits-{name}") for name in "abc")


def claim(world, run):
    """The run holds the lease, as `step claim` leaves it."""
    decision = run.removeprefix("digits-")
    decisions.apply_once(
        world.environment["NATS_URL"],
        world.namespace,
        "digits",
        ClaimEvent(run, decision, "person eve"),
    )


def state(world):
    return decisions.apply_once(
        world.environment["NATS_URL"], world.namespace, "digits", TickEvent()
    )


def trained(world, run, evaluated=None, content=None):
    """What the steps before `register` leave: a model in the store and the metrics."""
    model = world.folder / f"{run}-model"
    model.mkdir(exist_ok=True)
    (model / "model.onnx").write_text(content or run)
    world.store.put_folder(model, BUCKET / "runs" / run / "release" / "model")
    detector = world.folder / f"{run}-drift"
    detector.mkdir(exist_ok=True)
    (detector / "reference.npz").write_text(run)
    world.store.put_folder(detector, BUCKET / "runs" / run / "release" / "detectors" / "drift")
    metrics = world.folder / f"{run}-metrics.json"
    metrics.write_text(json.dumps(evaluated or EVALUATED))
    for name in ("snapshot", "evaluation"):
        folder = world.folder / f"{run}-{name}"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(run)
        world.store.put_folder(folder, BUCKET / "runs" / run / name)
    return s3.folder_digest(model), metrics


EVALUATED = {
    "candidate": {"all": {"accuracy": 0.97}, "recent": {}},
    "production": None,
    "rows": {"all": 200, "recent": 0},
    "against": None,
}


def fitted(run):
    """The digest of the one detector that `trained` stores."""
    return s3.combined_digest({"reference.npz": hashlib.sha256(run.encode()).hexdigest()})


def recorded(run):
    """The digests of the two folders that `trained` stores beside the release."""
    digest = hashlib.sha256(run.encode()).hexdigest()
    return {
        name: s3.combined_digest({f"{name}.json": digest}) for name in ("snapshot", "evaluation")
    }


def register(
    world,
    run,
    *,
    code=0,
    digest=None,
    detectors=None,
    records=None,
    evaluated=None,
    content=None,
    cause="alarm 42",
    sign=False,
    monitors="",
):
    model, metrics = trained(world, run, evaluated, content)
    out = world.folder / f"{run}-out"
    done = world.step(
        "register",
        *(
            "--pipeline",
            "digits",
            "--run",
            run,
            "--cause",
            cause,
            "--model-digest",
            digest or model,
        ),
        *(
            "--data-digest",
            "sha256:" + "1" * 64,
            "--metrics",
            str(metrics),
            "--detectors",
            "--detector-digests",
            f"drift={fitted(run)}" if detectors is None else detectors,
            "--record-digests",
            write_digests(recorded(run)) if records is None else records,
            *(("--monitors", monitors) if monitors else ()),
            "--out",
            str(out),
            *(("--sign",) if sign else ()),
        ),
        code=code,
    )
    if code:
        return done.stderr
    return (out / "phase").read_text(), (out / "release").read_text()


def advance(to, run="digits-b", limits=None, timeout=180):
    return (
        *(
            "advance",
            "--pipeline",
            "digits",
            "--run",
            run,
            "--release",
            release_id(run),
            "--to",
            to,
        ),
        *("--limits", json.dumps(limits or {}), "--timeout", str(timeout), "--namespace"),
    )


def walk(world, to, *, code=0, run="digits-b", **more):
    return world.step(*advance(to, run, **more), world.namespace, code=code)


def applies(world, *releases):
    """The cluster follows the branch at once, and these releases' Deployments are ready."""
    ready = {
        "metadata": {"generation": 3},
        "spec": {"replicas": 1},
        "status": {
            "observedGeneration": 3,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": 1,
        },
    }

    def kustomization():
        revision = f"main@sha1:{world.git('rev-parse', 'main')}"
        return {
            "status": {
                "lastAppliedRevision": revision,
                "conditions": [{"type": "Ready", "status": "True"}],
            }
        }

    world.around.objects = {"kustomizations/digits-deployments": kustomization}
    world.around.objects |= {f"deployments/digits-{release}": ready for release in releases}


def measured(requests=100, errors=0, joined=100, agreed=95):
    answers = Answers(requests, errors, {0.1: requests, math.inf: requests})
    return lambda question: Measured(10.0, Answers(1000), answers, joined, joined, agreed).to_json()


SHADOW = {"for": 1, "requests": 50, "agreement": 0.9}
CANARY = {"for": 1, "requests": 50, "errorRate": 0.02, "p99": 0.25}


@pytest.fixture
def released(world):
    register(world, "digits-a")
    applies(world, A, B)
    world.around.judgement = measured()
    return world


@pytest.fixture
def shadowed(released):
    register(released, "digits-b")
    return released


def test_the_first_version_is_production_at_once(world):
    assert register(world, "digits-a") == ("stable", A)
    release = world.base().release
    assert release.production.model == "s3://driftloop/runs/digits-a/release/model"
    assert release.production.detectors == "s3://driftloop/runs/digits-a/release/detectors"
    assert release.production.detector_digests == {"drift": fitted("digits-a")}
    assert release.production.record_digests == recorded("digits-a")
    assert release.production.metrics == {"accuracy": 0.97}
    assert "Driftloop-Cause: alarm 42" in world.git("log", "-1", "--format=%B", "main")
    tip = world.git("rev-parse", "main")
    assert register(world, "digits-a") == ("stable", A)
    assert world.git("rev-parse", "main") == tip


def test_the_model_that_is_production_never_becomes_a_candidate(released):
    claim(released, "digits-b")
    model = released.folder / "digits-b-model"
    tip = released.git("rev-parse", "main")
    assert register(released, "digits-b", content="digits-a") == ("refused", B)
    assert released.git("rev-parse", "main") == tip
    assert model.is_dir()
    finish(released, "digits-b", "Succeeded")
    ended = state(released)
    assert (ended.outcome, ended.strikes) == ("refused", 0)
    assert ended.reason == f"nothing new since {A}: the run made the same model again"


OLD, NEW = ("drift=sha256:" + digit * 64 for digit in "45")


def test_the_same_model_releases_its_detectors_where_production_lacks_them(world):
    register(world, "digits-a", monitors=OLD)
    before = world.base().release
    # with the same monitors there is nothing to release
    assert register(world, "digits-b", content="digits-a", monitors=OLD) == ("refused", B)
    claim(world, "digits-c")
    assert register(world, "digits-c", content="digits-a", monitors=NEW) == ("refitted", A)
    after = world.base().release
    assert after.production == before.production.model_copy(
        update={
            "detectors": "s3://driftloop/runs/digits-c/release/detectors",
            "detector_digests": {"drift": fitted("digits-c")},
            "monitor_digests": {"drift": NEW.partition("=")[2]},
            "fitted_by": "digits-c",
        }
    )
    assert (after.phase, after.weights, after.previous) == ("stable", {A: 100}, None)
    body = world.git("log", "-1", "--format=%B", "main")
    assert f"Fit the detectors of {A} of digits anew" in body
    assert "has one of `drift` that was fitted with other settings" in body
    assert f"Driftloop-Release: {A}" in body
    assert "Driftloop-Run: digits-c" in body
    # its pod takes the detector for production's
    pod = yaml.safe_load(world.git("show", "main:monitors/digits/drift.deployment.yaml"))
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    options = dict(itertools.pairwise(container["args"]))
    assert options["--release"] == A
    assert options["--fitted-for"] == release_id("digits-c")
    assert fitted("digits-c") in world.step(*fetching(world)).stderr
    # again, after a crash behind the commit
    tip = world.git("rev-parse", "main")
    assert register(world, "digits-c", content="digits-a", monitors=NEW) == ("refitted", A)
    assert world.git("rev-parse", "main") == tip
    finish(world, "digits-c", "Succeeded")
    ended = state(world)
    assert (ended.outcome, ended.phase) == ("released", "idle")
    assert (
        ended.reason == f"nothing new since {A}, whose model stays; its detectors are fitted anew"
    )


def test_a_forced_run_is_recorded_in_release_and_commit(released):
    register(released, "digits-b", cause="person eve (forced): another seed")
    assert released.base().release.candidate.forced
    body = released.git("log", "-1", "--format=%B", "main")
    assert "A person forced its run." in body
    assert "Driftloop-Forced: true" in body
    assert "Driftloop-Cause: person eve (forced): another seed" in body


def test_the_next_enters_in_shadow(released):
    assert register(released, "digits-b") == ("shadow", B)
    assert released.base().release.weights == {A: 100}
    assert register(released, "digits-b") == ("shadow", B)


def test_a_candidate_left_behind_makes_room(shadowed):
    assert register(shadowed, "digits-c") == ("shadow", C)
    assert shadowed.base().release.candidate.id == C
    assert f"replaces {B}" in shadowed.git("log", "-1", "--format=%b", "main")


def test_what_is_not_in_the_store_as_computed_is_not_registered(world):
    said = register(world, "digits-a", code=1, digest="sha256:" + "3" * 64)
    assert "a release is written once" in said
    assert world.base().release.phase == "empty"


@pytest.mark.parametrize(
    ("detectors", "message"),
    [
        ("drift=sha256:" + "3" * 64, "release/detectors/drift has digest sha256:"),
        ("drift=sha256:33", "`drift=sha256:33` is not a name and its digest"),
        ("../model=sha256:" + "3" * 64, "is not a name and its digest"),
    ],
)
def test_a_detector_that_is_not_stored_as_fitted_is_not_registered(world, detectors, message):
    assert message in register(world, "digits-a", code=1, detectors=detectors)


@pytest.mark.parametrize("name", ["snapshot", "evaluation"])
def test_a_record_that_is_not_stored_as_computed_is_not_registered(world, name):
    said = register(world, "digits-a", code=1, records=f"{name}=sha256:" + "3" * 64)
    assert f"runs/digits-a/{name} has digest sha256:" in said
    assert world.base().release.phase == "empty"


def fetching(world):
    """The arguments of what the detector's pod runs first, as they are committed."""
    (file,) = (
        name
        for name in world.git("ls-tree", "-r", "--name-only", "main", "monitors/digits").split()
        if name.endswith("drift.deployment.yaml")
    )
    pod = yaml.safe_load(world.git("show", f"main:{file}"))["spec"]["template"]["spec"]
    (fetch,) = pod["initContainers"]
    arguments = fetch["args"]
    arguments[arguments.index("--out") + 1] = str(world.folder / "fetched")
    return fetch["command"][2:] + arguments


def test_a_changed_byte_of_a_detector_keeps_it_from_starting(world):
    register(world, "digits-a")
    fetch = fetching(world)
    assert fitted("digits-a") in world.step(*fetch).stderr

    folder = BUCKET / "runs/digits-a/release/detectors/drift"
    changed = world.folder / "changed"
    changed.mkdir()
    (changed / "reference.npz").write_text("digits-b")
    world.store.put_folder(changed, folder)
    said = world.step(*fetch, code=1).stderr
    assert f"{folder} has digest {fitted('digits-b')}, expected {fitted('digits-a')}" in said


def test_a_release_from_before_the_digests_is_loaded_unchecked(world):
    register(world, "digits-a", detectors="")
    assert "detectorDigests" not in world.git("show", "main:deployments/digits/release.yaml")
    assert "not checked" in world.step(*fetching(world)).stderr


@pytest.fixture
def signing(world):
    """A pipeline that serves signed releases only, and the platform's key."""
    key = make_signing_key()
    text = f"{SPEC}  signatures: require\n"
    pipelines.commit_spec(world.repository, text, cause="person eve", allow=None)
    world.environment[SIGNING_KEY.environment] = key.text
    world.environment[SIGNING_KEYS.environment] = f"{key.public.text}\n"
    return world


def test_a_signed_release_is_fetched_and_no_other(signing):
    """Whoever may write into git and into the store, and has no key."""
    assert register(signing, "digits-a", sign=True) == ("stable", A)
    made = signing.base().release
    fetch = fetching(signing)
    assert fitted("digits-a") in signing.step(*fetch).stderr

    changed = signing.folder / "changed"
    changed.mkdir()
    (changed / "reference.npz").write_text("digits-b")
    folder = BUCKET / "runs/digits-a/release/detectors/drift"
    signing.store.put_folder(changed, folder)
    forged = made.production.model_copy(update={"detector_digests": {"drift": fitted("digits-b")}})
    pipelines.commit_transition(
        signing.repository,
        "digits",
        lambda release: release.model_copy(update={"production": forged}),
        lambda before, after: TransitionMessage("Forge", forged, "person mallory"),
    )
    said = signing.step(*fetching(signing), code=1).stderr
    assert f"release {A} of digits/digits is not trusted: the signature by key" in said
    said = signing.step(*fetch, code=1).stderr
    assert f"expected {fitted('digits-a')}" in said

    # the statement of before beside the digest of today
    statement = fetch.index("--statement") + 1
    mixed = [*fetching(signing)]
    mixed[mixed.index("--statement") + 1] = fetch[statement]
    said = signing.step(*mixed, code=1).stderr
    assert f"drift has digest {fitted('digits-b')}, expected {fitted('digits-a')}" in said
    said = signing.step(*mixed[: mixed.index("--part")], *mixed[-2:], code=1).stderr
    assert "with all of --statement, --signature and --part" in said
    del signing.environment[SIGNING_KEYS.environment]
    assert "DRIFTLOOP_SIGNING_KEYS is not set" in signing.step(*fetch, code=1).stderr


def test_a_release_without_a_signature_is_not_committed_where_one_is_demanded(signing):
    said = register(signing, "digits-a", code=1)
    assert "release.yaml: release" in said
    assert "is not trusted: it has no signature, and the spec says `signatures: require`" in said
    assert signing.base().release.phase == "empty"


def test_a_key_that_pods_do_not_trust_signs_nothing(signing):
    other = make_signing_key()
    signing.environment[SIGNING_KEY.environment] = other.text
    said = register(signing, "digits-a", code=1, sign=True)
    assert f"key {other.public.name}, which signs releases, is not among those" in said
    assert f"add `{other.public.text}` to key `signing-keys` of the ConfigMap" in said
    assert signing.base().release.phase == "empty"


def test_signatures_are_written_first_and_required_later(world):
    register(world, "digits-a")
    with pytest.raises(RenderError, match=f"{A} of digits/digits is not trusted") as caught:
        pipelines.commit_spec(world.repository, f"{SPEC}  signatures: require\n", allow=None)
    assert "`signatures: write` serves it until" in caught.value.hint
    pipelines.commit_spec(world.repository, f"{SPEC}  signatures: write\n", allow=None)
    assert "--signature" not in fetching(world)
    key = make_signing_key()
    world.environment[SIGNING_KEY.environment] = key.text
    world.environment[SIGNING_KEYS.environment] = key.public.text
    assert register(world, "digits-b", sign=True) == ("shadow", B)
    assert world.base().release.candidate.signature is not None


def test_the_whole_walk_every_step_in_git(shadowed):
    before = int(shadowed.git("rev-list", "--count", "main"))
    walk(shadowed, "shadow", limits=SHADOW)
    shadowed.around.last = measured()({})
    walk(shadowed, "10", limits=CANARY)
    assert shadowed.base().release.weights == {A: 90, B: 10}
    assert shadowed.git("log", "-1", "--format=%b", "main").startswith(
        "Measured in the stage before: "
        "100 requests, error rate 0.00%, p99 99 ms, 95.0% of 100 answers like production's."
    )
    walk(shadowed, "50", limits=CANARY)
    walk(shadowed, "promote")
    release = shadowed.base().release
    assert (release.phase, release.production.id, release.previous.id) == ("stable", B, A)
    assert int(shadowed.git("rev-list", "--count", "main")) == before + 4
    assert shadowed.git("log", "-4", "--format=%s", "main").splitlines() == [
        f"Promote {B} of digits",
        f"End the rollout of {B} of digits: accepted",
        f"Send 50 % to {B} of digits",
        f"Send 10 % to {B} of digits",
    ]
    for line in shadowed.git(
        "log", "-4", "--format=%(trailers:key=Driftloop-Cause,valueonly)", "main"
    ).split():
        assert line in ("alarm", "42")
    asked = shadowed.around.questions[0]
    assert asked["host"] == f"digits-judge.{shadowed.namespace}.svc.cluster.local:8080"
    assert (asked["production"], asked["candidate"]) == (A, B)
    asked = next(question for question in shadowed.around.questions if "since" in question)
    assert (asked["requests"], asked["seconds"], asked["compared"]) == ("50", "1", "50")
    # started again, each finds its work done
    for to in ("10", "promote"):
        walk(shadowed, to)
    assert shadowed.base().release == release


@pytest.mark.parametrize(
    ("seen", "limits", "reason"),
    [
        (measured(agreed=50), SHADOW, "agreement 50.0% of 100, must be at least 90.0%"),
        (measured(errors=9), CANARY, "error rate 9.00%, allowed 2.00%"),
    ],
)
def test_a_failed_judgement_is_a_commit_that_restores_the_weights(shadowed, seen, limits, reason):
    shadowed.around.judgement = seen
    done = walk(shadowed, "10", limits=limits, code=1)
    assert reason in done.stderr
    release = shadowed.base().release
    assert (release.phase, release.weights, release.candidate) == ("stable", {A: 100}, None)
    assert shadowed.git("log", "-1", "--format=%s", "main") == f"Reject {B} of digits"
    assert reason in shadowed.git("log", "-1", "--format=%b", "main")


AFTER_A_DRIFT = {
    "candidate": {"all": {"accuracy": 0.9}, "recent": {"accuracy": 0.95}},
    "production": {"all": {"accuracy": 0.6}, "recent": {"accuracy": 0.07}},
    "rows": {"all": 1000, "recent": 300},
    "against": A,
}
AUTO = {"for": 1, "requests": 50, "agreement": "auto", "accuracy": "accuracy"}


def test_a_shadow_that_serves_productions_model_is_rejected(released):
    register(released, "digits-b", evaluated=AFTER_A_DRIFT)
    recent = released.base().release.candidate.recent
    assert (recent.against, recent.rows) == (A, 300)
    assert (recent.metrics, recent.production) == ({"accuracy": 0.95}, {"accuracy": 0.07})
    released.around.judgement = measured(agreed=100)
    said = walk(released, "shadow", limits=AUTO, code=1).stderr
    assert "agreement 100.0% of 100 with production, expected at most" in said
    assert released.base().release.candidate is None
    body = released.git("log", "-1", "--format=%b", "main")
    assert (
        "from accuracies 0.07 and 0.95 on 300 recent rows: the candidate may serve the wrong model"
        in body
    )


def test_after_a_drift_little_agreement_is_expected(released):
    register(released, "digits-b", evaluated=AFTER_A_DRIFT)
    released.around.judgement = measured(agreed=8)
    said = walk(released, "shadow", limits=AUTO).stderr
    assert "pass: 100 requests; agreement 8.0% of 100, expected 0.0% to" in said
    walk(released, "10", limits=CANARY)


def test_without_accuracies_auto_judges_no_agreement_and_says_so(shadowed):
    shadowed.around.judgement = measured(agreed=8)
    said = walk(shadowed, "shadow", limits=AUTO).stderr
    assert (
        "agreement is not measured: release.yaml has no `accuracy` of both on recent rows" in said
    )


def test_a_candidate_that_was_evaluated_against_another_production_is_superseded(released):
    claim(released, "digits-b")
    tip = released.git("rev-parse", "main")
    evaluated = AFTER_A_DRIFT | {"against": C}
    assert register(released, "digits-b", evaluated=evaluated) == ("refused", B)
    assert released.git("rev-parse", "main") == tip
    finish(released, "digits-b", "Succeeded")
    assert (state(released).outcome, state(released).strikes) == ("superseded", 0)
    assert state(released).reason == f"it was evaluated against {C}, production is {A} by now"


@pytest.mark.parametrize("lost", ["rows", "against"])
def test_an_evaluation_without_its_numbers_is_not_registered(released, lost):
    evaluated = {name: value for name, value in AFTER_A_DRIFT.items() if name != lost}
    assert f"can't be read: it has recent rows, but no `{lost}`" in register(
        released, "digits-b", code=1, evaluated=evaluated
    )


def test_too_little_traffic_waits_and_then_rejects_but_never_passes(shadowed):
    shadowed.around.judgement = measured(requests=3, joined=3, agreed=3)
    done = walk(shadowed, "shadow", limits=SHADOW, timeout=8, code=1)
    assert "3 of 50 requests" in done.stderr
    assert shadowed.base().release.candidate is None
    assert "out of time" in shadowed.git("log", "-1", "--format=%b", "main")


def test_a_judge_whose_clock_is_set_back_measures_from_now(shadowed):
    """Before, the stage waited until the clock was again where it had been."""
    shadowed.around.clock = lambda: time.time() + 86_400

    def set_back(question):
        shadowed.around.clock = time.time
        early = float(question["since"]) > time.time() + 3_600
        return measured(requests=0 if early else 100, joined=0 if early else 100, agreed=100)(
            question
        )

    shadowed.around.judgement = set_back
    done = walk(shadowed, "shadow", limits=SHADOW)
    assert "the clock of the analysis was set back" in done.stderr + done.stdout


def test_a_candidate_that_never_gets_ready_is_rejected(shadowed):
    shadowed.around.objects[f"deployments/digits-{B}"]["status"]["readyReplicas"] = 0
    done = walk(shadowed, "shadow", limits=SHADOW, timeout=3, code=1)
    assert f"Deployment digits-{B} is not ready" in done.stderr
    assert shadowed.base().release.candidate is None
    assert not any("since" in question for question in shadowed.around.questions)


def test_a_judge_or_an_api_that_is_away_is_waited_for(shadowed):
    answer = shadowed.around.judgement
    objects = shadowed.around.objects
    shadowed.around.objects = {}
    shadowed.around.judgement = lambda question: None
    step = shadowed.begin(*advance("shadow", limits=SHADOW), shadowed.namespace)
    time.sleep(4)
    shadowed.around.objects = objects
    time.sleep(3)
    assert step.poll() is None
    shadowed.around.judgement = answer
    _, said = step.communicate(timeout=PATIENCE)
    assert step.returncode == 0, said


def until(found):
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_between_commit_and_judgement_it_goes_on(shadowed):
    shadowed.around.judgement = measured(requests=0)
    step = shadowed.begin(*advance("10", limits=CANARY), shadowed.namespace)
    until(lambda: len(shadowed.around.questions) > 1)
    os.killpg(step.pid, signal.SIGKILL)
    step.communicate()
    tip = shadowed.git("rev-parse", "main")
    shadowed.around.judgement = measured()
    walk(shadowed, "10", limits=CANARY)
    assert shadowed.git("rev-parse", "main") == tip


def by_hand(world, step, subject="By hand"):
    pipelines.commit_transition(
        world.repository,
        "digits",
        step,
        lambda before, after: TransitionMessage(
            subject, after.candidate or before.candidate or after.production, "person eve"
        ),
    )


@pytest.mark.parametrize("foreign", [record.reject_candidate, record.promote_candidate])
def test_a_person_ends_the_walk(shadowed, foreign):
    shadowed.around.judgement = measured(requests=0)
    step = shadowed.begin(*advance("10", limits=CANARY), shadowed.namespace)
    until(lambda: len(shadowed.around.questions) > 1)
    by_hand(shadowed, foreign)
    tip = shadowed.git("rev-parse", "main")
    _, said = step.communicate(timeout=PATIENCE)
    if foreign is record.promote_candidate:
        assert step.returncode == 0, said
    else:
        assert step.returncode == 0, said
        assert "superseded: " in said
        assert "ended by commit" in said
        done = walk(shadowed, "50", limits=CANARY)
        assert "ended by commit" in done.stderr
    assert shadowed.git("rev-parse", "main") == tip


def test_a_revert_stops_the_walk_and_is_left_as_it_is(shadowed):
    shadowed.around.judgement = measured(requests=0)
    step = shadowed.begin(*advance("10", limits=CANARY), shadowed.namespace)
    until(lambda: len(shadowed.around.questions) > 1)
    tip = reverts(shadowed)
    _, said = step.communicate(timeout=PATIENCE)
    assert step.returncode == 0
    assert "(Revert" in said
    assert shadowed.git("rev-parse", "main") == tip
    claim(shadowed, "digits-b")
    finish(shadowed, "digits-b", "Succeeded", release=B)
    assert shadowed.git("rev-parse", "main") == tip
    assert state(shadowed).outcome == "superseded"


def reverts(world, commit="HEAD"):
    """A person takes a commit back and pushes; the new tip."""
    clone = world.folder / "clone"
    subprocess.run(["git", "clone", "-q", world.remote, clone], check=True, capture_output=True)
    git = ["git", "-C", str(clone), "-c", "user.name=eve", "-c", "user.email=eve@example.org"]
    subprocess.run([*git, "revert", "--no-edit", commit], check=True, capture_output=True)
    subprocess.run([*git, "push", "-q"], check=True, capture_output=True)
    return world.git("rev-parse", "main")


def test_a_promotion_reverted_before_it_is_applied_is_no_release(shadowed):
    walk(shadowed, "10", limits=CANARY)
    claim(shadowed, "digits-b")
    shadowed.around.objects["kustomizations/digits-deployments"] = {"status": {}}
    step = shadowed.begin(*advance("promote"), shadowed.namespace)
    until(lambda: shadowed.base().release.phase == "stable")
    tip = reverts(shadowed)
    _, said = step.communicate(timeout=PATIENCE)
    assert step.returncode == 0
    assert "(Revert" in said
    release = shadowed.base().release
    assert (release.production.id, release.weights, release.candidate) == (A, {A: 100}, None)
    finish(shadowed, "digits-b", "Succeeded", release=B)
    assert shadowed.git("rev-parse", "main") == tip
    assert state(shadowed).outcome == "superseded"
    assert state(shadowed).reason.startswith('Revert "Promote')


def test_weights_moved_by_hand_do_not_stop_it(shadowed):
    shadowed.around.judgement = measured(requests=0)
    step = shadowed.begin(*advance("10", limits=CANARY), shadowed.namespace)
    until(lambda: len(shadowed.around.questions) > 1)
    by_hand(shadowed, lambda release: record.set_canary(release, 30))
    shadowed.around.judgement = measured()
    _, said = step.communicate(timeout=PATIENCE)
    assert step.returncode == 0, said
    assert shadowed.base().release.weights == {A: 70, B: 30}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"to": "everything"}, "--to is `everything`"),
        ({"to": "0"}, "canary weight is 0"),
        ({"to": "shadow", "limits": {"agrement": 1}}, "unknown key `agrement`"),
    ],
)
def test_wrong_arguments(shadowed, arguments, said):
    tip = shadowed.git("rev-parse", "main")
    assert said in walk(shadowed, **arguments, code=1).stderr
    assert shadowed.git("rev-parse", "main") == tip


# finish


def finish(world, run, status, **more):
    options = [text for name, value in more.items() for text in (f"--{name}", value)]
    arguments = (
        "--pipeline",
        "digits",
        "--namespace",
        world.namespace,
        "--run",
        run,
        "--status",
        status,
    )
    return world.step("finish", *arguments, *options, "--out", str(world.folder / "finished"))


def ended(world, run):
    """The outcome that a run's folder and the last step's outputs hold, which are the same."""
    stored = world.store.read_json(BUCKET / f"runs/{run}/outcome.json")
    assert json.loads((world.folder / "finished" / "outcome").read_text()) == stored
    return RunOutcome.read(stored)


def told(world):
    return [body["outcome"] for body in world.around.bodies]


def test_a_first_release_ends_the_run(world):
    claim(world, "digits-a")
    register(world, "digits-a")
    finish(world, "digits-a", "Succeeded")
    assert state(world).outcome == "released"
    assert told(world) == ["released"]
    finish(world, "digits-a", "Succeeded")
    assert len({event["ce-id"] for event in world.around.events}) == 1


def test_a_refused_candidate_is_told_with_the_gates_reason(world):
    claim(world, "digits-a")
    verdict = {"passed": False, "reasons": ["accuracy 0.1, must be at least 0.9"], "gates": []}
    world.store.write_json(BUCKET / "runs/digits-a/verdict/verdict.json", verdict)
    finish(world, "digits-a", "Succeeded")
    assert (state(world).outcome, state(world).reason) == (
        "refused",
        "accuracy 0.1, must be at least 0.9",
    )
    assert ended(world, "digits-a").text == "refused: accuracy 0.1, must be at least 0.9"
    assert world.around.bodies[-1]["time"] == ended(world, "digits-a").time
    assert world.base().release.phase == "empty"


def test_a_failed_run_says_which_step(world):
    claim(world, "digits-a")
    nodes = {
        "0": {
            "type": "Pod",
            "phase": "Failed",
            "displayName": "train(0)",
            "message": "Error (exit code 3)",
        },
        "1": {
            "type": "Pod",
            "phase": "Failed",
            "displayName": "train(1)",
            "message": "retryStrategy.expression evaluated to false: Error (exit code 1): error: train.py:3: no rows",
        },
        "2": {"type": "DAG", "phase": "Failed", "displayName": "loop"},
    }
    world.around.objects = {"workflows/digits-a": {"status": {"phase": "Running", "nodes": nodes}}}
    finish(world, "digits-a", "Failed")
    assert (state(world).outcome, state(world).reason) == ("failed", "train: train.py:3: no rows")


def test_a_run_goes_on_in_its_rollout_and_ends_there(shadowed):
    claim(shadowed, "digits-b")
    finish(shadowed, "digits-b", "Succeeded")
    assert (state(shadowed).phase, state(shadowed).workflow) == (
        "rolling-out",
        f"digits-release-{B}",
    )
    assert told(shadowed) == []
    walk(shadowed, "promote")
    finish(shadowed, "digits-b", "Succeeded", release=B)
    assert state(shadowed).outcome == "released"
    assert told(shadowed) == ["released"]
    assert "Driftloop-Outcome: released" in shadowed.git("log", "-1", "--format=%b", "main")


def test_the_rollout_may_end_before_the_run_does(shadowed):
    claim(shadowed, "digits-b")
    shadowed.around.judgement = measured(errors=9)
    walk(shadowed, "10", limits=CANARY, code=1)
    finish(shadowed, "digits-b", "Failed", release=B)
    finish(shadowed, "digits-b", "Succeeded")
    assert state(shadowed).outcome == "rejected"
    assert set(told(shadowed)) == {"rejected"}


def test_a_rollout_that_broke_off_has_failed_when_it_settles(shadowed):
    claim(shadowed, "digits-b")
    by_hand(shadowed, lambda release: record.set_canary(release, 10))
    finish(shadowed, "digits-b", "Failed", release=B)
    release = shadowed.base().release
    assert (release.phase, release.weights) == ("stable", {A: 100})
    message = shadowed.git("log", "-1", "--format=%b", "main")
    assert "the workflow ended as Failed" in message
    assert "Driftloop-Outcome: failed" in message
    assert state(shadowed).outcome == "failed"


def test_a_run_that_a_person_stopped_is_cancelled(shadowed):
    claim(shadowed, "digits-b")
    stopped = {
        "metadata": {"annotations": {"driftloop.dev/cancelled-by": "person eve: wrong labels"}},
        "spec": {"shutdown": "Stop"},
        "status": {"phase": "Failed"},
    }
    shadowed.around.objects[f"workflows/digits-release-{B}"] = stopped
    finish(shadowed, "digits-b", "Failed", release=B)
    assert ended(shadowed, "digits-b").text == "cancelled: person eve: wrong labels"
    assert shadowed.git("log", "-1", "--format=%s", "main") == f"Cancel {B} of digits"
    assert told(shadowed) == ["cancelled"]


def test_a_rollout_without_promotion_waits_for_a_person(shadowed):
    claim(shadowed, "digits-b")
    finish(shadowed, "digits-b", "Succeeded", release=B)
    assert shadowed.base().release.candidate.id == B
    assert "waits for `driftloop promote digits`" in state(shadowed).reason


@pytest.mark.parametrize(("obstacle", "reason"), [("halted", "labels are wrong"), ("busy", "")])
def test_a_run_that_was_never_claimed_was_not_started(world, obstacle, reason):
    claim(world, "digits-a")
    outputs = {"claimed": "false", "obstacle": obstacle, "reason": reason}
    parameters = [{"name": name, "value": value} for name, value in outputs.items()]
    nodes = {"0": {"type": "Pod", "phase": "Succeeded", "outputs": {"parameters": parameters}}}
    world.around.objects = {"workflows/digits-x": {"status": {"phase": "Running", "nodes": nodes}}}
    finish(world, "digits-x", "Succeeded")
    reason = reason or "the run was not claimed"
    assert ended(world, "digits-x").text == f"not started ({obstacle}): {reason}"
    assert told(world) == ["not-started"]
    assert state(world).run == "digits-a"


def test_a_run_whose_workflow_can_not_be_read_was_not_started_either(world):
    claim(world, "digits-a")
    finish(world, "digits-x", "Succeeded")
    assert ended(world, "digits-x").obstacle == "busy"


def test_a_run_that_was_lost_before_is_not_told_again(world):
    claim(world, "digits-a")
    register(world, "digits-a")
    lost = LostEvent("digits-a", "it is gone")
    decisions.apply_once(world.environment["NATS_URL"], world.namespace, "digits", lost)
    finish(world, "digits-a", "Succeeded")
    assert (state(world).outcome, state(world).reason) == ("failed", "it is gone")
    assert told(world) == []
