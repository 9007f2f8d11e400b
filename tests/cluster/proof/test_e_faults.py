"""8: drift starts another run, since the old model is back; whatever is killed meanwhile, nothing is lost."""

import itertools
import time
from datetime import datetime

from cluster.streams import REQUEST, RESPONSE
from cluster.world import BACKEND

MAIN = "main"
KILL = """
import contextlib, os, pathlib, sys, time

def find_training():
    for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_bytes().split(b"\\0")
            if int(file.parent.name) not in (1, os.getpid()) and any(word.endswith(b"driftloop-train") for word in words):
                yield int(file.parent.name)

end = time.monotonic() + 60
while not (found := list(find_training())):
    if time.monotonic() > end:
        sys.exit("no training program began in 60 s")
    time.sleep(0.02)
for pid in found:
    os.kill(pid, 9)
"""
"""Ends the training program as a node does that has no memory left for anybody; the container runs before it does."""
DETECTOR = ("the drift detector", None, "app.kubernetes.io/component=drift")
DECISION = ("the decision", None, "app.kubernetes.io/component=decision")
NATS = ("NATS", "nats-io", "")
ISTIOD = ("istiod", "istio-system", "app=istiod")
CONTROLLER = ("the workflow controller", "argo", "app=workflow-controller")
"""Parts to kill: what each is called, its namespace (None for the pipeline's), its labels."""


def test_8_the_loop_outlives_what_is_killed(it):
    first = it.known("first")
    it.traffic.pause()
    it.retraining("resume")
    it.idle()
    since = time.time()
    it.kube.wait(
        "what was posted has arrived", lambda: steady(it, first, since), timeout=60, every=3
    )
    # the model that was taken back was made of the batches that are there: other ones are needed
    it.batches("rotated", size=200)
    since = time.time()
    it.remember(acknowledged=acknowledged(it, first), since=since, third_run=None)
    run = it.drift()
    it.remember(third_run=run)
    pod = it.kube.wait("a trial trains", lambda: trial(it, run), timeout=400)
    kill_training(it, pod)
    for part in (DETECTOR, NATS, ISTIOD, CONTROLLER):
        kill_part(it, *part)
        it.answered(24, timeout=400)

    status = it.ended(run)
    assert status["phase"] == "Succeeded", status.get("message")
    tries = list_tries(status)
    it.say(f"{len(tries)} tries of 2 trials: {[node.get('message', '') for node in tries]}")
    assert len(tries) == 3, "the trial that was killed ran again, the other did not"
    assert it.runs() - set(it.known("runs_before")) == {run}, "no second run, although alarms go on"
    it.say(f"{it.alarms(first)} alarms by now, still one run; {it.troubles()}")


def test_8_no_acknowledged_event_is_lost(it):
    first, since = it.known("first"), it.known("since")
    it.traffic.pause()
    it.kube.wait(
        "the logger has posted everything", lambda: steady(it, first, since), timeout=180, every=3
    )
    count_events(it, first, since)


def list_tries(status):
    """The pods of a run's trials, also of those that were killed."""
    return [
        node
        for node in status["nodes"].values()
        if node["type"] == "Pod" and node["templateName"] == "train"
    ]


def count_events(it, first, since):
    """Hold the Broker's events of a release against what its drift detector stored and judged."""
    found = held(it, first, since)
    if BACKEND == "plain":
        taken = acknowledged(it, first) - it.known("acknowledged")
        it.say(
            f"the Broker acknowledged {taken} events of {first} since then, and holds {len(found)}"
        )
        assert taken <= len(found)
    else:
        it.say(
            f"the Broker holds {len(found)} events of {first} since then; the executor does not count what was taken"
        )
    requests = {event.id for event in found if event.type == REQUEST}
    stored = it.kube.wait(
        "the detector has all of them",
        lambda: has_all(it, requests, first, since),
        timeout=240,
        every=5,
    )
    it.say(f"{len(requests)} of them requests; the drift detector stored {len(stored)}")
    assert sorted(stored) == sorted(requests)
    verdicts = it.streams.verdicts("drift", first)
    windows = [verdict["window"] for verdict in verdicts]
    it.say(f"{len(windows)} windows judged in all, from {windows[0]} to {windows[-1]}")
    assert windows == list(range(1, len(windows) + 1)), "each window is judged once"
    assert all(a["lastSequence"] < b["firstSequence"] for a, b in itertools.pairwise(verdicts))


def test_8_the_loop_finishes(it):
    run = it.known("third_run")
    it.traffic.turn("rotated")

    def promoted():
        release = it.release()
        return release["phase"] == "stable" and release["production"]["run"] == run

    it.kube.wait("the rollout ends with a promotion", promoted, timeout=1200, every=3)
    it.traffic.pause()
    it.say(f"{it.release()['production']['id']} is production; {it.troubles()}")
    assert it.runs() - set(it.known("runs_before")) == {run}


def kill_training(it, pod):
    it.kube.run("-n", it.name, "exec", pod, "-c", MAIN, "--", "python", "-c", KILL)
    it.say(f"killed: the training process of {pod}")


def kill_part(it, what, namespace, labels):
    """End the pods of a part, and leave it to who made them to make others."""
    where = ("-n", namespace or it.name)
    names = it.kube.run(*where, "get", "pods", "-l", labels, "-o", "name").split()
    assert names, f"no pod of {what}"
    it.kube.run(*where, "delete", *names, "--wait=false", "--grace-period=1")
    it.say(f"killed: {what}")


def trial(it, run):
    """The name of a pod of the run whose trainer is at work."""
    for pod in it.kube.get("pod", namespace=it.name):
        about = pod["metadata"]
        node = about.get("annotations", {}).get("workflows.argoproj.io/node-name", "")
        states = {
            status["name"]: status["state"] for status in pod["status"].get("containerStatuses", [])
        }
        if node.startswith(f"{run}.") and ".train(" in node and "running" in states.get(MAIN, {}):
            return about["name"]
    return None


def acknowledged(it, release):
    """How many events of a release the Broker has taken from its logger; Seldon's executor does not tell."""
    return it.logger(release).get(("broker", "2"), 0) if BACKEND == "plain" else 0


def steady(it, release, since):
    """Whether what was posted, and what the Broker holds of it, stands still."""
    before = acknowledged(it, release), len(held(it, release, since))
    time.sleep(5)
    return before == (acknowledged(it, release), len(held(it, release, since)))


def held(it, release, since):
    """The Broker's events about requests and answers of a release."""
    kinds = (REQUEST, RESPONSE)
    return [
        e
        for e in it.streams.broker()
        if e.get("endpoint") == release and e.type in kinds and moment(e) >= since
    ]


def has_all(it, requests, release, since):
    stored = [
        e.id
        for e in it.streams.seen("drift")
        if e.get("endpoint") == release and moment(e) >= since
    ]
    return stored if requests <= set(stored) else None


def moment(event):
    """Seconds since 1970, in fractions as the event tells them."""
    return datetime.fromisoformat(event.get("time")).timestamp()
