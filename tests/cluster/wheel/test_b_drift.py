"""Drift in named columns, an alarm that says them in the commit, parts that are killed meanwhile, a promotion."""

import time
from collections import Counter

from cluster.bootstrap.test_a_guide import is_promoted
from cluster.proof.test_e_faults import (
    CONTROLLER,
    DECISION,
    DETECTOR,
    NATS,
    count_events,
    kill_part,
    kill_training,
    list_tries,
    steady,
    trial,
)
from cluster.wheel.fleet import SPECIES

LABELLED = 80


def test_drift_starts_one_run_whatever_is_killed_while_it_trains(it):
    first = it.known("first")
    it.idle()
    it.batch("colony", 2, 600)
    since = time.time()
    it.remember(acknowledged=0, since=since)
    run = it.drift()
    it.remember(second_run=run)
    pod = it.kube.wait("the trial trains", lambda: trial(it, run), timeout=400, every=0.3)
    kill_training(it, pod)
    for part in (DETECTOR, NATS, DECISION, CONTROLLER):
        kill_part(it, *part)
        it.answered(24, timeout=400)
    status = it.ended(run, timeout=1500)
    assert status["phase"] == "Succeeded", status.get("message")
    tries = list_tries(status)
    it.say(f"{len(tries)} tries of 1 trial: {[node.get('message', '') for node in tries]}")
    assert len(tries) == 2, "the trial that was killed ran again"
    assert it.runs() - set(it.known("runs_before")) == {run}, "no second run, although alarms go on"
    it.say(f"{it.alarms(first)} alarms by now, still one run; {it.troubles()}")


def test_no_event_is_lost_or_judged_twice(it):
    first, since = it.known("first"), it.known("since")
    it.traffic.pause()
    it.kube.wait(
        "the logger has posted everything", lambda: steady(it, first, since), timeout=180, every=3
    )
    count_events(it, first, since)


def test_the_rollout_ends_with_a_promotion_and_its_commits_say_what_moved(it):
    first, run = it.known("first"), it.known("second_run")
    it.traffic.turn("colony")
    seen = []

    def promoted():
        release = it.release()
        step = (release["phase"], release["weights"])
        if not seen or seen[-1] != step:
            seen.append(step)
            it.say(f"in git: {release['phase']} {release['weights']}")
        return is_promoted(it, other_than=first)

    it.kube.wait("the rollout ends with a promotion", promoted, timeout=1500, every=1)
    it.ready(it.pipeline, timeout=300)
    answers = it.answered(100)
    it.traffic.pause()
    second = it.release()["production"]
    it.remember(second=second["id"])
    assert second["run"] == run
    right = sum(answer.right for answer in answers)
    it.say(f"{right} of {len(answers)} answers are right; {it.troubles()}")
    assert right >= 0.9 * len(answers)
    assert not Counter(a.status for a in it.traffic.answers if a.status != 200)
    said = it.git("log", "--format=%B", f"--grep=Driftloop-Release: {second['id']}", "main")
    for line in dict.fromkeys(filter(None, said.splitlines())):
        it.say(f"  {line}")
    assert "bill_length_mm" in said
    assert "sex missing" in said


def test_commands_of_a_cluster_reach_it_by_the_kubeconfig(it):
    """`status`, `why`, `halt`, `resume` and `events` by `--cluster`."""
    second = it.known("second")
    said = it.types(f"driftloop status --cluster --namespace {it.name}")
    assert f"stable; production {second}" in said
    assert f"of {second} is open" in it.types(f"driftloop why {it.name} --cluster")
    it.types(f"driftloop halt {it.name} --cluster --reason 'looked at'")
    assert "looked at" in it.types(f"driftloop why {it.name} --cluster")
    it.types(f"driftloop resume {it.name} --cluster")
    it.types(f"driftloop events ls {it.name} --cluster")


def test_labels_by_the_kubeconfig_become_a_batch(it):
    it.traffic.turn("colony")
    start = len(it.traffic.answers)
    it.answered(LABELLED)
    it.traffic.pause()
    answers = it.traffic.answers[start:]
    rows = it.rows("colony")
    lines = ["request,label"]
    for answer in answers:
        label = SPECIES[rows[int(answer.id.rpartition("-")[2]) % len(rows)][1]]
        lines.append(f"{answer.id},{label}")
    (it.home / "labels.csv").write_text("\n".join(lines) + "\n")
    it.types(f"driftloop labels load labels.csv --to {it.name} --cluster")
    said = it.kube.wait(
        "a batch of labelled requests",
        lambda: (
            (said := it.types(f"driftloop data ls {it.name} --cluster"))
            and "labelled/" in said
            and said
        ),
        timeout=240,
        every=10,
    )
    it.say(said.splitlines()[-1])
