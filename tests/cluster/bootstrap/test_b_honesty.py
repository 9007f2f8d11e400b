"""What has to be refused, awaited or taken back is, on the real controllers and with the user's server image."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from cluster.bootstrap.test_a_guide import is_promoted
from cluster.proof.test_d_rollout import steps
from cluster.world import EXAMPLE, PIPELINE, SPEC, STAND_IN, N, P

from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location
from driftloop.contract.events import verdict_id
from driftloop.text.load import load_documents

IMAGE = "ghcr.io/driftloop/test-faults:1"


def test_an_alarm_without_new_data_waits_and_the_batch_ends_it(it):
    first = it.known("first")
    assert it.release()["production"]["id"] == first
    it.forget("rotated")
    it.idle()
    run = it.drift()
    status = it.ended(run)
    assert status["phase"] == "Succeeded", status.get("message")
    assert not pods(status, "train"), "nothing is trained"
    waiting = it.kube.wait(
        "the decision waits for data",
        lambda: (state := it.streams.decision()).phase == "waiting" and state,
    )
    it.say(f"{waiting.phase}: {waiting.waits.reason}")
    assert f"nothing new since {first}" in waiting.waits.reason
    before = it.alarms(first)
    it.kube.wait("alarms go on", lambda: it.alarms(first) >= before + 2, timeout=240, every=3)
    assert it.runs() - set(it.known("runs_before")) == {run}, "alarms alone start nothing"

    # the batches that were taken back with their release are not new, others are
    it.batches("rotated", size=200)
    delivered = time.monotonic()
    (second,) = it.kube.wait(
        "the batches start a run",
        lambda: it.runs() - {run} - set(it.known("runs_before")),
        timeout=240,
    )
    cause = parameter(it, second, "cause")
    it.say(f"run {second} {time.monotonic() - delivered:.0f} s after the batches: {cause}")
    assert cause == parameter(it, run, "cause"), "the alarm that waited is its cause"
    assert it.ended(second, timeout=1500)["phase"] == "Succeeded"
    it.kube.wait(
        "the rollout ends with a promotion",
        lambda: is_promoted(it, other_than=first),
        timeout=1500,
        every=1,
    )
    it.traffic.pause()
    release = it.release()
    assert release["production"]["run"] == second
    assert release["previous"]["id"] == first
    it.ready(PIPELINE, timeout=300)
    it.say(it.troubles())


def test_a_rollback_looks_whether_the_release_is_there(it):
    release = it.release()
    first, second = release["previous"]["id"], release["production"]["id"]
    assert first == it.known("first")
    store = ObjectStore.from_environment(it.s3())
    folder = parse_location(release["previous"]["model"])
    kept = {
        item.key: store.read_object(StoreLocation(folder.bucket, item.key))
        for item in store.list_folder(folder)
    }
    assert kept
    for key in kept:
        store.delete_object(StoreLocation(folder.bucket, key))
    it.say(f"the {len(kept)} objects of {first} are deleted")
    tip = it.tip()
    refused = rollback(it)
    assert refused.returncode == 1, refused.stderr
    assert first in refused.stderr
    assert it.tip() == tip, "nothing is committed"
    for key, content in kept.items():
        store.write_object(StoreLocation(folder.bucket, key), content)
    it.say("they are put back")
    done = rollback(it)
    assert done.returncode == 0, done.stderr
    assert it.release()["production"]["id"] == first
    fetched = it.fetched()
    it.kube.wait("the old model is served", lambda: it.routed() == {first: 100}, every=0.5)
    it.say(
        f"{second} gave way to {first} {time.monotonic() - fetched:.0f} s after Flux had fetched it"
    )
    it.ready(PIPELINE, timeout=300)
    it.calm(first)


def test_a_detector_gives_back_what_an_older_tree_reserved(it):
    stream = f"DRIFTLOOP_{N}_{P}_drift".upper()
    room = it.streams.resize(stream, 2**30)
    it.kube.run("-n", N, "delete", "pod", "-l", "app.kubernetes.io/component=drift", "--wait=false")
    it.kube.wait("its stream has today's room", lambda: it.streams.room(stream) == room)
    it.say(f"{stream} gave back {2**30 - room} bytes when its detector started again")
    it.ready(PIPELINE, timeout=300)


@pytest.mark.parametrize("part", ["model", "detector"])
def test_turned_bytes_are_refused_and_told(it, part):
    it.ready(PIPELINE, timeout=300)
    production = it.release()["production"]
    uri = production["model"] if part == "model" else f"{production['detectors']}/drift"
    digest = (
        production["modelDigest"] if part == "model" else production["detectorDigests"]["drift"]
    )
    store = ObjectStore.from_environment(it.s3())
    folder = parse_location(uri)
    at = StoreLocation(folder.bucket, store.list_folder(folder)[0].key)
    kept, tip, runs = store.read_object(at), it.tip(), it.runs()
    alarms = it.alarms(production["id"])
    store.write_object(at, bytes([kept[0] ^ 1]) + kept[1:])
    start = it.traffic.turn("clean")
    command = ("status", "--cluster", "--namespace", N)
    try:
        if part == "model":
            # the pod that is there has the released bytes, the second one would have the turned ones
            commit_replicas(it, 2)
        else:
            it.kube.run("-n", N, "delete", "pod", "-l", "app.kubernetes.io/component=drift")
        line = it.kube.wait(
            "the status says that the files are not those of the release",
            lambda: next(
                (
                    line
                    for line in it.driftloop(*command).splitlines()
                    if line.startswith("altered") and f": {uri} has digest" in line
                ),
                None,
            ),
            timeout=180,
            every=3,
        )
        it.say(line)
        assert f"expected {digest}" in line
        pod = line.split()[1].removeprefix(f"{N}/").rstrip(":")
        status = it.kube.get("pod", pod, N)["status"]
        assert not any(each["ready"] for each in status["containerStatuses"])
        if part == "model":
            answers = it.traffic.answers[start:]
            assert {answer.status for answer in answers} == {200}, "the first pod goes on"
            assert it.routed() == {production["id"]: 100}
    finally:
        store.write_object(at, kept)
        if part == "model":
            commit_replicas(it, 1)
    it.traffic.pause()
    if part == "detector":
        it.kube.run("-n", N, "delete", "pod", "-l", "app.kubernetes.io/component=drift")
        assert it.tip() == tip, "nothing is committed"
    it.ready(PIPELINE, timeout=300)
    assert (it.release(), it.runs()) == (it.release(tip), runs)
    assert it.alarms(production["id"]) == alarms
    it.kube.wait(
        "no line of it is left",
        lambda: "\naltered" not in it.driftloop(*command),
        timeout=120,
        every=3,
    )


def commit_replicas(it, replicas):
    """Commit the spec as it is, with so many pods of each version."""
    project = it.folder / "replicas"
    if not project.exists():
        shutil.copytree(EXAMPLE / "server", project / "server")
        shutil.copytree(EXAMPLE / "trainer", project / "trainer")
    # as the command line reads it: to other readers the key `on` is a truth
    (document,) = load_documents(it.file(f"workflows/{P}/pipeline.yaml"), "pipeline.yaml")
    document["spec"]["serve"]["replicas"] = replicas
    (project / "pipeline.yaml").write_text(json.dumps(document))
    it.commit(project / "pipeline.yaml")


def rollback(it, *options):
    """A person's rollback, with a kubeconfig."""
    command = [
        sys.executable,
        "-m",
        "driftloop.cli",
        "rollback",
        P,
        "--cluster",
        "--repository",
        it.url,
        *options,
    ]
    who = {"DRIFTLOOP_GIT_USERNAME": "bot", "DRIFTLOOP_GIT_PASSWORD": it.passwords["bot"]}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **who},
    )
    for line in done.stderr.splitlines():
        it.say(f"  driftloop rollback: {line}")
    return done


def test_a_rollout_that_a_person_takes_back_ends_and_starts_nothing(it):
    production = it.release()["production"]["id"]
    it.no_run()
    change_fault(it, "none")
    it.traffic.turn("clean")
    run = it.trigger("a rollout that is taken back")
    # what the candidate is expected to agree in is that of rotated rows: its shadow sees no others
    it.traffic.turn("rotated")
    assert it.ended(run)["phase"] == "Succeeded"
    it.kube.wait(
        "the candidate is in the canary",
        lambda: it.release()["phase"] == "canary",
        timeout=600,
        every=0.5,
    )
    candidate = it.release()["candidate"]["id"]
    before = it.runs()
    take_back(it, candidate)
    gateway, detectors = it.measure_return(production)
    it.say(
        f"production alone at the gateway after {gateway:.0f} s, at the detectors after {detectors:.0f} s"
    )
    rollout = next(name for name in it.workflows() if name.endswith(candidate))
    it.ended(rollout, timeout=300)
    state = it.kube.wait(
        "the decision knows how it ended",
        lambda: (found := it.streams.decision()).run is None and found,
    )
    it.say(f"{state.outcome}: {state.reason}")
    assert state.outcome == "superseded"
    alarms = it.alarms(production)
    it.kube.wait(
        "production raises alarms about the turned digits",
        lambda: it.alarms(production) >= alarms + 3,
        timeout=300,
        every=3,
    )
    it.traffic.pause()
    for name in it.runs() - before:
        cause = parameter(it, name, "cause")
        it.say(f"run {name} because of {cause}")
        assert cause.partition(": ")[0] in causes(production), f"no alarm about {candidate} counts"
        assert not pods(it.ended(name), "train"), "what was taken back is not made again"
    release = it.release()
    assert (release["phase"], release["production"]["id"]) == ("stable", production)
    assert gateway < 20
    assert detectors < 40


@pytest.mark.parametrize(
    ("fault", "words"),
    [("load", "Protobuf parsing failed"), ("refuse", "rows refused"), ("slow", "p99")],
)
def test_a_model_that_cannot_answer_gets_no_traffic(it, fault, words):
    release = it.release()
    it.retraining("resume")
    it.no_run()
    tip = change_fault(it, fault)
    start = it.traffic.turn("clean")
    run = it.trigger(f"a model with the fault {fault}")
    status = it.ended(run)
    it.traffic.pause()
    assert status["phase"] == "Succeeded", status.get("message")
    rehearsal = pods(status, "rehearse")
    assert len(rehearsal) == 1
    state = it.kube.wait(
        "the decision knows how it ended",
        lambda: (found := it.streams.decision()).run is None and found,
    )
    it.say(f"{state.outcome}: {state.reason}")
    assert state.outcome == "refused"
    assert words in state.reason
    assert it.tip() == tip, "nothing is committed"
    assert it.release() == release
    answers = it.traffic.answers[start:]
    assert len(answers) > 50
    assert {answer.status for answer in answers} == {200}, "production goes on answering"


def causes(release):
    """The causes that the drift detector's alarms about a release give to a run."""
    return {f"alarm {verdict_id(N, P, 'drift', release, window)}" for window in range(1, 1000)}


def take_back(it, candidate):
    """A person reverts every commit of a rollout, newest first; again when the rollout was faster."""
    for _ in range(5):
        clone = it.folder / "clone"
        shutil.rmtree(clone, ignore_errors=True)
        it.git("clone", "-q", str(it.bare), str(clone), cwd=it.folder)
        commits = [sha for sha, _, _ in steps(it, candidate)]
        it.git("revert", "--no-edit", *reversed(commits), cwd=clone)
        done = subprocess.run(
            ["git", "push", "-q", "origin", "HEAD:main"],
            cwd=clone,
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            it.say(f"{len(commits)} commits of {candidate} are reverted")
            return
    raise AssertionError("the rollout always was faster")


def change_fault(it, fault):
    """Commit the example with a trainer whose model has a fault; the tip when it is applied."""
    project = it.folder / "faults"
    if not project.exists():
        shutil.copytree(EXAMPLE / "server", project / "server")
        shutil.copytree(EXAMPLE / "trainer", project / "trainer")
        shutil.copy(STAND_IN / "faults" / "faulty.py", project / "trainer")
    text = (EXAMPLE / SPEC).read_text()
    for known, wanted in (
        ("ghcr.io/driftloop/digits-trainer:1.0.0", IMAGE),
        ('run: "train:train"', 'run: "faulty:train"'),
        (
            "{epochs: 12, learning_rate: 0.001}",
            json.dumps({"epochs": 8, "learning_rate": 0.002, "fault": fault}),
        ),
        ('run: "evaluate:evaluate"', 'run: "faulty:evaluate"'),
    ):
        assert text.count(known) == 1, known
        text = text.replace(known, wanted)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("search:")]
    (project / "pipeline.yaml").write_text("\n".join(lines) + "\n")
    it.commit(project / "pipeline.yaml")
    it.ready(PIPELINE, timeout=300)
    return it.tip()


def pods(status, template):
    """The pods of a Workflow that a template made."""
    return [
        node
        for node in status["nodes"].values()
        if node["type"] == "Pod" and node["templateName"] == template
    ]


def parameter(it, run, name):
    parameters = it.workflows()[run]["spec"]["arguments"]["parameters"]
    return next(item["value"] for item in parameters if item["name"] == name)
