"""claim, snapshot, pick, gate, store, fetch: everything before the release is touched."""

import json

import pytest
import yaml

from driftloop.clients import s3
from driftloop.clients.s3 import StoreLocation
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.platform import SIGNING_KEYS
from driftloop.contract.records import Snapshot, SnapshotBatch
from driftloop.errors import StepError
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.operations.commits.target import CommitTarget
from driftloop.operations.rollouts.rollback import roll_back
from driftloop.operations.runs.references import digest_detector, find_unused
from driftloop.release import record
from driftloop.release.minisign import make_signing_key
from driftloop.release.signing import sign_version
from driftloop.retrain import store as decisions
from driftloop.retrain.state import AlarmEvent, NewDataEvent, TickEvent
from driftloop.steps import pick
from driftloop.steps.snapshot import find_recent_keys
from tests.pipelines import version
from tests.steps.conftest import BUCKET, DATA


def claim(world, decision, *, pipeline="digits", cause="person eve", code=0):
    out = world.folder / decision
    done = world.step(
        "claim",
        *("--pipeline", pipeline, "--namespace", world.namespace, "--run", f"digits-{decision}"),
        *("--decision", decision, "--cause", cause, "--out", str(out)),
        code=code,
    )
    return (out / "claimed").read_text(), done.stderr


def finish(world, run, status="Succeeded", **more):
    options = [text for name, value in more.items() for text in (f"--{name}", value)]
    return world.step(
        "finish",
        "--pipeline",
        "digits",
        "--namespace",
        world.namespace,
        "--run",
        run,
        "--status",
        status,
        "--out",
        str(world.folder / f"{run}-finished"),
        *options,
        "--out",
        str(world.folder / "finished"),
    )


def test_of_two_runs_one_goes_on(world):
    assert claim(world, "aaaaaaaaaaaa")[0] == "true"
    claimed, said = claim(world, "bbbbbbbbbbbb")
    assert claimed == "false"
    assert "run digits-aaaaaaaaaaaa is running" in said
    # a step that is started again finds its work done
    assert claim(world, "aaaaaaaaaaaa")[0] == "true"
    assert [event["ce-type"] for event in world.around.events] == ["dev.driftloop.run.started"] * 2
    assert world.around.events[0]["ce-id"] == world.around.events[1]["ce-id"]
    assert world.around.events[0]["url"].endswith(
        f"knative-eventing.svc.cluster.local/{world.namespace}/default"
    )


def test_a_claim_counts_even_when_the_broker_refuses_the_event(world):
    world.around.broker_status = 503
    claimed, said = claim(world, "cccccccccccc")
    assert claimed == "true"
    assert "the event was not taken" in said


def test_a_finished_run_is_not_claimed_again(world):
    claim(world, "aaaaaaaaaaaa")
    finish(world, "digits-aaaaaaaaaaaa", "Failed")
    claimed, said = claim(world, "aaaaaaaaaaaa")
    assert claimed == "false"
    assert "has ended before" in said


def test_nats_away(world):
    arguments = (
        "--pipeline",
        "digits",
        "--namespace",
        "x",
        "--run",
        "r",
        "--decision",
        "d",
        "--cause",
        "c",
    )
    done = world.step("claim", *arguments, "--out", str(world.folder), code=1, NATS_URL="")
    assert "NATS_URL is not set" in done.stderr
    assert "`nats-step` of the Secret `driftloop-platform`" in done.stderr


def snapshot(world, run, *more, code=0):
    out = world.folder / run
    done = world.step(
        "snapshot",
        "--pipeline",
        "digits",
        "--run",
        run,
        "--uri",
        str(DATA),
        "--out",
        str(out),
        *more,
        code=code,
    )
    return out, done.stderr


def uploaded(world, run, out):
    world.store.put_folder(out / "snapshot", BUCKET / "runs" / run / "snapshot")


def test_batches_in_the_platform_s_own_bucket_are_refused(world):
    place = f"--uri={BUCKET / 'batches'}"
    words = ("--pipeline", "digits", "--run", "digits-a", place, "--out", str(world.folder / "x"))
    done = world.step("snapshot", *words, code=1)
    assert "is in the platform's own bucket" in done.stderr


def test_the_first_snapshot_is_all_recent(world):
    for name in ("a.npz", "2024/b.npz"):
        world.store.write_object(DATA / name, name.encode())
    out, _ = snapshot(world, "digits-a")
    document = json.loads((out / "snapshot" / "snapshot.json").read_text())
    assert [(entry["key"], entry["recent"]) for entry in document["objects"]] == [
        ("2024/b.npz", True),
        ("a.npz", True),
    ]
    assert (out / "data" / "recent" / "2024" / "b.npz").read_bytes() == b"2024/b.npz"
    assert list((out / "data" / "earlier").iterdir()) == []
    assert json.loads((out / "production" / "release.json").read_text()) == {}
    # again into the same folder: the same
    again, _ = snapshot(world, "digits-a")
    assert json.loads((again / "snapshot" / "snapshot.json").read_text()) == document


def test_later_only_what_production_has_not_seen_is_recent(world):
    world.store.write_object(DATA / "a.npz", b"a")
    out, _ = snapshot(world, "digits-a")
    uploaded(world, "digits-a", out)
    model = world.folder / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(b"weights")
    world.store.put_folder(model, BUCKET / "runs/digits-a/release/model")
    made = version("digits-a", model_digest=s3.folder_digest(model))
    pipelines.commit_transition(
        world.repository,
        "digits",
        lambda r: record.release_first(r, made),
        lambda b, a: TransitionMessage("First", made, "person eve"),
    )
    out, said = snapshot(world, "digits-b")
    assert "1 batches, 1 of them recent" in said  # nothing new: what was new to production
    world.store.write_object(DATA / "b.npz", b"b")
    world.store.write_object(DATA / "c.npz", b"c")
    out, _ = snapshot(world, "digits-c")
    assert sorted(path.name for path in (out / "data" / "recent").iterdir()) == ["b.npz", "c.npz"]
    assert [path.name for path in (out / "data" / "earlier").iterdir()] == ["a.npz"]
    assert json.loads((out / "production" / "release.json").read_text())["run"] == "digits-a"
    assert (out / "production" / "model" / "model.onnx").read_bytes() == b"weights"
    # a changed batch under an old name is new
    world.store.write_object(DATA / "a.npz", b"other")
    out, _ = snapshot(world, "digits-d")
    assert list((out / "data" / "earlier").iterdir()) == []
    # somebody changed production's model
    world.store.write_object(BUCKET / "runs/digits-a/release/model/model.onnx", b"changed")
    _, said = snapshot(world, "digits-e", code=1)
    assert "s3://driftloop/runs/digits-a/release/model has digest" in said


def test_production_without_its_signature_is_not_compared_with(world):
    world.store.write_object(DATA / "a.npz", b"a")
    released(world, "digits-a")
    key = make_signing_key()
    world.environment[SIGNING_KEYS.environment] = key.public.text
    snapshot(world, "digits-b", "--signatures", "write")
    _, said = snapshot(world, "digits-c", "--signatures", "require", code=1)
    assert "of digits/digits is not trusted: it has no signature" in said

    signed = sign_version(world.base().release, world.base().release.production, key)
    for changes, code in (({}, 0), ({"metrics": {"accuracy": 0.1}}, 1)):
        forged = signed.model_copy(update=changes)
        pipelines.commit_transition(
            world.repository,
            "digits",
            lambda release, to=forged: release.model_copy(update={"production": to}),
            lambda before, after, to=forged: TransitionMessage("Set", to, "person mallory"),
        )
        _, said = snapshot(world, f"digits-d{code}", "--signatures", "write", code=code)
    assert f"the signature by key {key.public.name} does not fit" in said


def test_a_changed_snapshot_of_production_is_refused(world):
    world.store.write_object(DATA / "a.npz", b"a")
    out, _ = snapshot(world, "digits-a")
    digests = {"snapshot": s3.folder_digest(out / "snapshot")}
    released(world, "digits-a", record_digests=digests)
    snapshot(world, "digits-b")

    at = BUCKET / "runs/digits-a/snapshot/snapshot.json"
    kept = world.store.read_object(at)
    # no batch would be recent any more: the detectors would be fitted on other rows
    world.store.write_object(at, kept.replace(b'"recent": true', b'"recent": false'))
    _, said = snapshot(world, "digits-c", code=1)
    assert "runs/digits-a/snapshot has digest" in said
    assert f"expected {digests['snapshot']}" in said
    world.store.write_object(at, kept)
    snapshot(world, "digits-d")


RECIPE = "sha256:" + "7" * 64


def parameter(out, name):
    return (out / "parameters" / name).read_text()


def released(world, run, **more):
    """Production was made of what lies in the data's folder."""
    out, _ = snapshot(world, run, "--recipe", RECIPE)
    uploaded(world, run, out)
    model = world.folder / f"{run}-model"
    model.mkdir()
    (model / "model.onnx").write_text(run)
    world.store.put_folder(model, BUCKET / f"runs/{run}/release/model")
    data = json.loads((out / "snapshot" / "snapshot.json").read_text())["dataDigest"]
    fields = {"model_digest": s3.folder_digest(model), "data_digest": data, "recipe_digest": RECIPE}
    made = version(run, **fields | more)

    def release(before):
        if before.phase == "empty":
            return record.release_first(before, made)
        return record.promote_candidate(record.start_shadow(before, made))

    pipelines.commit_transition(
        world.repository,
        "digits",
        release,
        lambda b, a: TransitionMessage("Move", made, "schedule"),
    )
    return made


def test_a_run_of_what_production_was_made_of_ends_before_it_trains(world):
    world.store.write_object(DATA / "a.npz", b"a")
    made = released(world, "digits-a")
    claim(world, "bbbbbbbbbbbb")
    out, said = snapshot(world, "digits-bbbbbbbbbbbb", "--recipe", RECIPE, "--cause", "alarm 42")
    assert parameter(out, "new") == "false"
    assert f"nothing new since {made.id}" in said
    finish(world, "digits-bbbbbbbbbbbb")
    [told] = world.around.bodies[-1:]
    assert (told["outcome"], told["obstacle"]) == ("not-started", "nothing-new")
    assert told["reason"] == f"nothing new since {made.id}"
    state = decisions.apply_once(
        world.environment["NATS_URL"], world.namespace, "digits", TickEvent()
    )
    assert (state.phase, state.strikes) == ("idle", 0)  # a person's run: no alarm waits

    for run, more in {
        "digits-c": ("--recipe", "sha256:" + "8" * 64),  # other code or parameters
        "digits-d": ("--recipe", RECIPE, "--cause", "person eve (forced): another seed"),
        "digits-e": (),  # a workflow that an older version rendered
    }.items():
        out, _ = snapshot(world, run, *more)
        assert parameter(out, "new") == "true", run
    world.store.write_object(DATA / "b.npz", b"b")
    out, _ = snapshot(world, "digits-f", "--recipe", RECIPE)
    assert parameter(out, "new") == "true"


def test_the_same_data_are_read_again_where_production_lacks_a_detector(world):
    world.store.write_object(DATA / "a.npz", b"a")
    settings = "sha256:" + "4" * 64
    made = released(
        world, "digits-a", detector_digests={"drift": settings}, monitor_digests={"drift": settings}
    )
    known = ("--recipe", RECIPE, "--monitors", f"drift={settings}")
    more = ("--recipe", RECIPE, "--monitors", f"drift={settings},rare={settings}")
    for run, options, new in (
        ("digits-b", (*known, "--cause", "person eve"), "false"),
        ("digits-c", (*more, "--cause", "person eve"), "true"),
        ("digits-d", (*more, "--cause", "schedule"), "false"),
        ("digits-e", (*more, "--cause", "alarm 42"), "false"),
    ):
        out, said = snapshot(world, run, *options)
        assert parameter(out, "new") == new, run
        assert f"nothing new since {made.id}" in said
        assert ("but it has no detector of `rare`: the run goes on" in said) == (new == "true")


def test_a_run_with_too_few_new_rows_ends_before_it_trains(world):
    world.store.write_object(DATA / "a.csv", b"y\n1\n")
    made = released(world, "digits-a")
    world.store.write_object(DATA / "b.csv", b"y\n" + b"1\n" * 120)
    url, policy = world.environment["NATS_URL"], RetrainPolicy(least_new_rows=500)
    alarm = AlarmEvent("drift", made.id, 1, True, "42")
    state = decisions.apply_once(url, world.namespace, "digits", alarm, policy)
    run = f"digits-{state.decision}"
    claim(world, state.decision, cause=state.cause)
    least = ("--recipe", RECIPE, "--least-rows", "500")
    out, said = snapshot(world, run, *least, "--cause", state.cause)
    assert parameter(out, "new") == "false"
    assert f"120 of at least 500 new labelled rows since {made.id}" in said
    finish(world, run)
    [told] = world.around.bodies[-1:]
    assert (told["outcome"], told["obstacle"]) == ("not-started", "too-few-rows")
    assert told["reason"] == f"120 of at least 500 new labelled rows since {made.id}"
    state = decisions.apply_once(url, world.namespace, "digits", TickEvent(), policy)
    assert (state.phase, state.fired) == ("waiting", ())
    assert state.waits is not None
    assert state.waits.reason == told["reason"]

    # schedules and people train with fewer
    for number, cause in enumerate(("schedule", "person eve", "person eve (forced)")):
        out, _ = snapshot(world, f"digits-p{number}", *least, "--cause", cause)
        assert parameter(out, "new") == "true", cause
    # a batch that production knows counts nothing, one that was replaced counts whole
    world.store.write_object(DATA / "a.csv", b"y\n" + b"0\n" * 379)
    out, _ = snapshot(world, "digits-c", *least, "--cause", "new data")
    assert parameter(out, "new") == "false"
    world.store.write_object(DATA / "c.jsonl", b'{"y": 1}\n')
    assert (
        decisions.apply_once(url, world.namespace, "digits", NewDataEvent(), policy).phase
        == "pending"
    )
    for number, cause in enumerate(("new data", "alarm 42")):
        out, said = snapshot(world, f"digits-d{number}", *least, "--cause", cause)
        assert parameter(out, "new") == "true", cause
        assert f"500 new labelled rows since {made.id}, at least 500" in said


def test_a_new_batch_whose_rows_can_t_be_counted_is_named(world):
    world.store.write_object(DATA / "a.csv", b"y\n1\n")
    released(world, "digits-a")
    world.store.write_object(DATA / "b.tar", b"")
    alarm = ("--recipe", RECIPE, "--least-rows", "500", "--cause", "alarm 42")
    _, said = snapshot(world, "digits-b", *alarm, code=1)
    assert "the rows of b.tar can't be counted for `retrain.leastNewRows`" in said


def test_a_mark_in_the_text_of_a_cause_forces_nothing(world):
    world.store.write_object(DATA / "a.npz", b"a")
    released(world, "digits-a")
    for run, cause in {
        "digits-b": "person eve: please (forced)",
        "digits-c": "alarm 42 (forced)",
    }.items():
        out, _ = snapshot(world, run, "--recipe", RECIPE, "--cause", cause)
        assert parameter(out, "new") == "false", cause


def test_production_of_an_older_version_is_not_compared(world):
    world.store.write_object(DATA / "a.npz", b"a")
    released(world, "digits-a", recipe_digest=None)
    out, _ = snapshot(world, "digits-b", "--recipe", RECIPE)
    assert parameter(out, "new") == "true"


def test_what_a_person_took_back_is_not_made_again(world):
    world.store.write_object(DATA / "a.npz", b"a")
    released(world, "digits-a")
    world.store.write_object(DATA / "b.npz", b"b")
    second = released(world, "digits-b")
    roll_back(
        CommitTarget(world.repository, "eve"), "digits", store=None, unchecked=True, report=print
    )
    out, said = snapshot(world, "digits-c", "--recipe", RECIPE, "--cause", "alarm 42")
    assert parameter(out, "new") == "false"
    assert f"nothing new since {second.id}, which `Roll digits back to " in said


def test_alarms_about_a_release_that_git_does_not_call_production_are_not_claimed(world):
    world.store.write_object(DATA / "a.npz", b"a")
    made = released(world, "digits-a")
    url, policy = world.environment["NATS_URL"], RetrainPolicy()
    for release, result in (("r1", "false"), (made.id, "true")):
        alarm = AlarmEvent("drift", release, 1, True, f"event-{release}")
        state = decisions.apply_once(url, world.namespace, "digits", alarm, policy)
        assert state.phase == "pending"
        out = world.folder / release
        done = world.step(
            "claim",
            *("--pipeline", "digits", "--namespace", world.namespace),
            *("--run", f"digits-{state.decision}", "--decision", state.decision),
            *("--cause", state.cause, "--out", str(out)),
        )
        assert (out / "claimed").read_text() == result, done.stderr
        if result == "false":
            assert (out / "obstacle").read_text() == "stale"
            assert f"the alarm is about r1, production is {made.id}" in done.stderr


def test_after_a_rollback_only_people_start_runs(world):
    world.store.write_object(DATA / "a.npz", b"a")
    released(world, "digits-a")
    world.store.write_object(DATA / "b.npz", b"b")
    released(world, "digits-b")
    roll_back(
        CommitTarget(world.repository, "eve"), "digits", store=None, unchecked=True, report=print
    )
    for run, cause, result in (
        ("digits-cron-1", "schedule", "false"),
        ("digits-data-1", "new data", "false"),
        ("digits-hand", "person eve", "true"),
    ):
        out = world.folder / run
        done = world.step(
            "claim",
            *("--pipeline", "digits", "--namespace", world.namespace, "--run", run),
            *("--decision", "", "--cause", cause, "--out", str(out)),
        )
        assert (out / "claimed").read_text() == result, done.stderr
        if result == "false":
            assert (out / "obstacle").read_text() == "held"
            assert "a person took a release back by `Roll digits back to" in done.stderr


def test_data_that_is_missing_or_too_much(world):
    _, said = snapshot(world, "digits-a", code=1)
    assert "no batches below s3://digits/batches" in said
    world.store.write_object(DATA / "a.npz", b"0123456789")
    _, said = snapshot(world, "digits-a", "--max-bytes", "9", code=1)
    assert "10 bytes below" in said


def batch(key, sha="1"):
    return SnapshotBatch(key, 1, "", sha)


def entry(key, sha="1", recent=False):
    return SnapshotBatch(key, 1, "", sha, recent)


@pytest.mark.parametrize(
    ("batches", "earlier", "expected"),
    [
        ([batch("a")], None, {"a"}),
        ([batch("a"), batch("b")], [entry("a")], {"b"}),
        ([batch("a"), batch("b")], [entry("a"), entry("b", recent=True)], {"b"}),
        ([batch("a", "2")], [entry("a")], {"a"}),
        ([batch("a"), batch("b")], [entry("a"), entry("b")], {"a", "b"}),
        ([batch("a")], [entry("a"), entry("gone", recent=True)], {"a"}),
    ],
)
def test_recent(batches, earlier, expected):
    before = None if earlier is None else Snapshot("s3://d/b", tuple(earlier), "d")
    assert find_recent_keys(batches, before) == expected


def trials(*values):
    return json.dumps(
        [
            {"trial": str(n), "metrics": json.dumps({"accuracy": value})}
            for n, value in enumerate(values)
        ]
    )


@pytest.mark.parametrize(
    ("goal", "values", "expected"),
    [
        ("maximize", (0.5, 0.9, 0.7), "1"),
        ("minimize", (0.5, 0.9, 0.3), "2"),
        ("maximize", (0.9, 0.9), "0"),
    ],
)
def test_the_best_trial(goal, values, expected):
    assert pick.choose_best(pick.read_trials(trials(*values)), "accuracy", goal).trial == expected


def test_pick_writes_its_parameter(world):
    done = world.step(
        "pick",
        "--trials",
        trials(0.1, 0.2),
        "--metric",
        "accuracy",
        "--out",
        str(world.folder / "p"),
    )
    assert (world.folder / "p" / "trial").read_text() == "1"
    assert "trial 1 of 2: accuracy 0.2" in done.stderr
    world.step("pick", "--trials", trials(0.1), "--out", str(world.folder / "q"))
    assert (world.folder / "q" / "trial").read_text() == "0"
    done = world.step(
        "pick", "--trials", trials(0.1, 0.2), "--out", str(world.folder / "r"), code=1
    )
    assert "no metric to compare them by" in done.stderr


@pytest.mark.parametrize(
    ("text", "metric", "said"),
    [
        (trials(0.5), "acuracy", "trial 0 has no number `acuracy`, its metrics are: accuracy"),
        (
            '[{"trial": "0", "metrics": "{\\"accuracy\\": NaN}"}]',
            "accuracy",
            "must be finite numbers by metric",
        ),
        ("[]", "accuracy", "list of trials is empty"),
        ("{{inputs.parameters.trials}}", "accuracy", "can't be read"),
        ("[1]", "accuracy", "can't be read"),
    ],
)
def test_trials_that_cannot_be_compared(text, metric, said):
    with pytest.raises(StepError, match=said):
        pick.choose_best(pick.read_trials(text), metric, "maximize")


def test_gate_writes_a_verdict_and_a_refusal_is_no_failure(world):
    metrics = world.folder / "metrics.json"
    metrics.write_text(
        json.dumps({"candidate": {"all": {"accuracy": 0.8}, "recent": {}}, "production": None})
    )
    gates = '[{"metric": "accuracy", "min": 0.9}]'
    done = world.step(
        "gate", "--gates", gates, "--metrics", str(metrics), "--out", str(world.folder / "gate")
    )
    assert (world.folder / "gate/parameters/passed").read_text() == "false"
    verdict = json.loads((world.folder / "gate/verdict/verdict.json").read_text())
    assert verdict["reasons"] == ["accuracy 0.8, must be at least 0.9"]
    assert "the candidate is refused" in done.stderr
    done = world.step(
        "gate",
        "--gates",
        '[{"metric": "f1", "min": 1}]',
        "--metrics",
        str(metrics),
        "--out",
        "x",
        code=1,
    )
    assert (
        "the gate on `f1` has no value for the candidate, the evaluation returned: accuracy"
        in done.stderr
    )


def test_damaged_metrics_refuse_no_candidate_by_chance(world):
    metrics = world.folder / "metrics.json"
    for text, message in (
        ("{", "metrics.json is not JSON"),
        ("[]", "metrics.json is `[]`, must be a JSON object"),
        ('{"candidate": {"all": {"accuracy": NaN}}}', "must be finite numbers by metric"),
        ('{"candidate": {"all": {"accuracy": 1}}}', "metrics.json has no key `production`"),
    ):
        metrics.write_text(text)
        out = str(world.folder / "gate")
        done = world.step("gate", "--gates", "[]", "--metrics", str(metrics), "--out", out, code=1)
        assert f"{metrics} can't be read: " in done.stderr
        assert message in done.stderr
        assert not (world.folder / "gate").exists()


@pytest.mark.slow
def test_a_long_log_of_the_training_function_is_stored(world):
    for folder in ("trial/model", "snapshot", "evaluation"):
        (world.folder / folder).mkdir(parents=True)
    (world.folder / "trial/model/model.onnx").write_bytes(b"weights")
    lines = [{f"key{n}": n for n in range(60)}] * 10_000
    (world.folder / "trial/metadata.yaml").write_text(json.dumps({"log": lines}))
    snapshot = {"uri": "s3://d/b", "objects": [], "dataDigest": "sha256:" + "1" * 64}
    (world.folder / "snapshot/snapshot.json").write_text(json.dumps(snapshot))
    (world.folder / "evaluation/metrics.json").write_text('{"candidate": {}, "production": null}')
    folders = [f"--{name}={world.folder / name}" for name in ("trial", "snapshot", "evaluation")]
    world.step("store", "--run", "digits-a", *folders, "--out", str(world.folder / "out"))
    assert (world.folder / "out/release/metadata.yaml").read_text().count("key59: 59") == 10_000


@pytest.mark.parametrize(("options", "passed"), [((), "false"), (("--alone",), "true")])
def test_the_gate_names_a_production_that_can_not_be_compared(world, options, passed):
    metrics, out = world.folder / "metrics.json", world.folder / "gate"
    found = {
        "candidate": {"all": {"accuracy": 0.95}, "recent": {}},
        "production": None,
        "against": "r1",
        "notComparable": "production on all rows: `evaluate:evaluate` failed: KeyError: 'age'",
    }
    metrics.write_text(json.dumps(found))
    gates = '[{"metric": "accuracy", "min": 0.9, "productionMinus": 0.01}]'
    done = world.step(
        *("gate", "--gates", gates, "--metrics", str(metrics), *options, "--out", str(out))
    )
    assert (out / "parameters/passed").read_text() == passed
    assert "production is not comparable: production on all rows" in done.stderr
    verdict = json.loads((out / "verdict/verdict.json").read_text())
    assert "KeyError: 'age'" in verdict["reasons"][0]
    assert verdict["notComparable"] == found["notComparable"]


def test_store_and_fetch(world):
    trial = world.folder / "trial"
    (trial / "model").mkdir(parents=True)
    (trial / "model" / "model.onnx").write_bytes(b"weights")
    (trial / "metadata.yaml").write_text("parameters: {epochs: 4}\nseed: 7\n")
    for folder, file, value in (
        (
            "snapshot",
            "snapshot.json",
            {"uri": "s3://d/b", "objects": [], "dataDigest": "sha256:" + "1" * 64},
        ),
        (
            "evaluation",
            "metrics.json",
            {"candidate": {"all": {"accuracy": 0.9}}, "production": None},
        ),
    ):
        (world.folder / folder).mkdir()
        (world.folder / folder / file).write_text(json.dumps(value))
    (world.folder / "detectors" / "drift").mkdir(parents=True)
    (world.folder / "detectors" / "drift" / "detector.json").write_text("{}")
    (world.folder / "detectors" / "drift" / "reference.npz").write_bytes(b"rows")
    out = world.folder / "out"
    arguments = [
        f"--{name}={world.folder / name}"
        for name in ("trial", "snapshot", "evaluation", "detectors", "out")
    ]
    for _ in range(2):
        world.step("store", "--run", "digits-a", *arguments)
    digest = (out / "parameters" / "model-digest").read_text()
    assert digest == s3.folder_digest(trial / "model")
    metadata = yaml.safe_load((out / "release" / "metadata.yaml").read_text())
    assert metadata["seed"] == 7
    assert metadata["modelDigest"] == digest
    fitted = s3.folder_digest(world.folder / "detectors" / "drift")
    assert (out / "parameters" / "detector-digests").read_text() == f"drift={fitted}"
    assert metadata["detectorDigests"] == {"drift": fitted}
    assert (out / "parameters" / "record-digests").read_text() == (
        f"evaluation={s3.folder_digest(world.folder / 'evaluation')},"
        f"snapshot={s3.folder_digest(world.folder / 'snapshot')}"
    )
    assert s3.files_below(out / "release") == [
        "detectors/drift/detector.json",
        "detectors/drift/reference.npz",
        "metadata.yaml",
        "model/model.onnx",
    ]
    store_reference_once(world, arguments, fitted)

    world.step("store", "--run", "digits-a", *arguments, f"--rehearsed={digest}")
    other = "sha256:" + "3" * 64
    done = world.step("store", "--run", "digits-a", *arguments, f"--rehearsed={other}", code=1)
    assert f"the chosen trial's model has digest {digest}, expected {other}" in done.stderr

    (trial / "metadata.yaml").write_text("seed: 7\n- 8\n")
    done = world.step("store", "--run", "digits-a", *arguments, code=1)
    assert f"{trial / 'metadata.yaml'}:2:1: not YAML: " in done.stderr
    (trial / "metadata.yaml").write_text("seed: 7\n")
    world.step("store", "--run", "digits-a", *arguments)

    world.store.put_folder(out / "release", BUCKET / "runs/digits-a/release")
    uri = "s3://driftloop/runs/digits-a/release/model"
    target = world.folder / "models"
    target.mkdir()
    (target / "left over").write_text("x")
    world.step("fetch", "--uri", uri, "--out", str(target), "--digest", digest)
    assert s3.files_below(target) == ["model.onnx"]
    done = world.step(
        "fetch", "--uri", uri, "--out", str(target), "--digest", "sha256:" + "2" * 64, code=1
    )
    assert "expected sha256:2222" in done.stderr
    done = world.step("fetch", "--uri", uri + "s", "--out", str(target), code=1)
    assert "contains no objects" in done.stderr


def test_store_without_a_model(world):
    arguments = [f"--{name}={world.folder}" for name in ("trial", "snapshot", "evaluation", "out")]
    done = world.step("store", "--run", "digits-a", *arguments, code=1)
    assert "has no model" in done.stderr


def look(world):
    out = world.folder / "look"
    said = world.step("look", "--pipeline", "digits", "--uri", str(DATA), "--out", str(out)).stderr
    return (out / "new").read_text(), said


def test_new_data_is_what_no_run_has_seen(world):
    assert look(world)[0] == "false"
    world.store.write_object(DATA / "a.npz", b"a")
    new, said = look(world)
    assert (new, "1 of 1 batches are new: a.npz" in said) == ("true", True)
    # looking is not seeing: the run that was to start may have lost its claim
    assert look(world)[0] == "true"
    snapshot(world, "digits-a")
    assert look(world)[0] == "false"
    world.store.write_object(DATA / "2024/b.npz", b"b")
    assert look(world)[0] == "true"
    snapshot(world, "digits-b")
    world.store.write_object(DATA / "a.npz", b"other")
    assert "1 of 2 batches are new: a.npz" in look(world)[1]
    snapshot(world, "digits-c")
    world.store.delete_object(DATA / "a.npz")
    assert look(world)[0] == "false", "what is gone is not new"


def test_a_snapshot_names_the_data_and_what_is_recent_of_it(world):
    world.store.write_object(DATA / "a.npz", b"a")
    first, _ = snapshot(world, "digits-a")
    again, _ = snapshot(world, "digits-b")
    digest = (first / "parameters" / "digest").read_text()
    assert len(digest) == 32
    assert (again / "parameters" / "digest").read_text() == digest
    world.store.write_object(DATA / "b.npz", b"a")
    more, _ = snapshot(world, "digits-c")
    assert (more / "parameters" / "digest").read_text() != digest


def test_the_best_trial_says_where_it_is_kept(world):
    trials = [
        {"trial": "0", "metrics": json.dumps({"loss": 2}), "home": "runs/earlier/trials/1"},
        {"trial": "1", "metrics": json.dumps({"loss": 3}), "home": "runs/r/trials/1"},
    ]
    out = world.folder / "picked"
    world.step(
        "pick",
        "--trials",
        json.dumps(trials),
        "--metric",
        "loss",
        "--goal",
        "minimize",
        "--out",
        str(out),
    )
    assert (out / "home").read_text() == "runs/earlier/trials/1"
    assert (out / "trial").read_text() == "0"


@pytest.mark.parametrize(
    ("values", "home"), [((0.9, 0.5), "runs/earlier/trials/1"), ((0.5, 0.9), "runs/r/trials/1")]
)
def test_a_cached_trial_may_have_the_number_of_a_new_one(world, values, home):
    homes = ("runs/earlier/trials/1", "runs/r/trials/1")
    listed = [
        {"trial": "1", "metrics": json.dumps({"accuracy": value}), "home": at}
        for value, at in zip(values, homes, strict=True)
    ]
    out = world.folder / "picked"
    done = world.step(
        "pick", "--trials", json.dumps(listed), "--metric", "accuracy", "--out", str(out)
    )
    assert (out / "home").read_text() == home
    assert "trial 1 of 2: accuracy 0.9" in done.stderr


def test_a_column_that_the_recent_batches_lack_ends_the_run_in_its_first_step(world):
    world.store.write_object(DATA / "a.csv", b"bill,flipper,y\n1,2,0\n")
    world.store.write_object(DATA / "readme.md", b"no rows")
    _, said = snapshot(world, "digits-a", "--features", "bil,flipper", code=1)
    assert "a.csv has no column `bil`, which `data.features` names" in said
    assert "its columns: `bill`, `flipper`, `y`" in said
    assert "did you mean `bill`?" in said
    snapshot(world, "digits-a", "--features", "bill,flipper")
    world.store.write_object(DATA / "b.jsonl", b'\n{"bill": 1, "y": 0}\n')
    _, said = snapshot(world, "digits-a", "--features", "bill,flipper", code=1)
    assert "b.jsonl has no column `flipper`" in said
    world.store.write_object(DATA / "b.jsonl", b"not json")
    _, said = snapshot(world, "digits-a", "--features", "bill,flipper", code=1)
    assert "b.jsonl, line 1 is not JSON" in said


def store_reference_once(world, arguments, fitted):
    """Reference data of detectors are in the store once, and a fetched detector has them."""
    for run in ("digits-a", "digits-b"):
        done = world.step("store", "--pipeline", "digits", "--run", run, *arguments)
        assert f"reference of drift: {4 if run == 'digits-a' else 0} bytes are new" in done.stderr
        release = world.folder / "out" / "release"
        assert s3.files_below(release / "detectors" / "drift") == [
            "detector.json",
            "reference.stored.json",
        ]
        world.store.put_folder(release, BUCKET / f"runs/{run}/release")
    folder = BUCKET / "runs/digits-b/release/detectors/drift"
    assert digest_detector(world.store, folder) == fitted
    (stored,) = world.store.list_folder(BUCKET / "pipelines/digits/references")
    target = world.folder / "fetched"
    fetch = ("fetch", "--uri", str(folder), "--out", str(target), "--digest", fitted)
    world.step(*fetch)
    assert (target / "reference.npz").read_bytes() == b"rows"

    old = stored.modified + 4 * 86400
    gone = {
        f"runs/{run}/release/detectors/drift/reference.stored.json"
        for run in ("digits-a", "digits-b")
    }
    assert find_unused(world.store, BUCKET, "digits", (), old) == ()
    assert find_unused(world.store, BUCKET, "digits", gone, stored.modified + 60) == ()
    assert [each.key for each in find_unused(world.store, BUCKET, "digits", gone, old)] == [
        stored.key
    ]

    world.store.write_object(StoreLocation(BUCKET.bucket, stored.key), b"other")
    done = world.step(*fetch, code=1)
    assert f"{stored.key} has digest sha256:" in done.stderr


def test_what_nothing_needs_is_removed_and_told(world):
    place = BUCKET / "runs/digits-a"
    world.store.write_object(place / "logs/claim", b"x" * 10)
    world.store.write_object(place / "split/train/a.npz", b"x" * 100)
    outcome = {"outcome": "failed", "reason": "no memory", "time": "2026-01-01T00:00:00Z"}
    world.store.write_json(place / "outcome.json", outcome)
    out = world.folder / "out"
    for removed in ("2 files, 0.0 MB are removed", "nothing to remove"):
        world.step("prune", "--pipeline", "digits", "--out", str(out))
        assert (out / "removed").read_text().startswith(removed)
    names = [entry.key.rpartition("/")[2] for entry in world.store.list_folder(place)]
    assert sorted(names) == ["outcome.json", "run.json"]
    record = world.store.read_json(BUCKET / "pipelines/digits/pruned.json")
    assert (record["removed"], record["total"]) == (0, 110)
