"""4 and 8: drift starts one run, whatever is killed while it trains."""

import itertools
import time

from cluster.streams import REQUEST
from cluster.world import N, P


def test_4_drift_starts_one_run(it):
    it.idle()
    before = it.runs()
    it.batches("rotated")
    it.traffic.turn("rotated")
    it.say("the digits arrive turned by a quarter")
    (run,) = it.kube.wait("the alarms start a run", lambda: it.runs() - before, timeout=240, every=2)
    alarms = [verdict for verdict in it.streams.verdicts("drift", it.known("first")) if verdict["alarm"]]
    spec = it.workflows()[run]["spec"]["arguments"]["parameters"]
    cause = next(parameter["value"] for parameter in spec if parameter["name"] == "cause")
    it.say(f"{len(alarms)} alarms, and run {run} because of {cause}")
    assert len(alarms) >= 2
    assert cause.startswith("alarm ")
    it.remember(second_run=run, runs_before_drift=sorted(before))


def test_8_the_loop_outlives_what_is_killed(it):
    run, first = it.known("second_run"), it.known("first")
    it.traffic.turn("rotated")
    start = len(it.traffic.answers)

    def training():
        nodes = it.workflows()[run].get("status", {}).get("nodes", {}).values()
        return next(
            (n for n in nodes if n["type"] == "Pod" and n["templateName"] == "train" and n["phase"] == "Running"), None
        )

    node = it.kube.wait("a trial trains", training, timeout=400)
    kill(it, N, pod_of(it, run, node), "--force", "--grace-period=0")
    it.say(f"killed: the training pod of {node['displayName']}")
    for what, namespace, labels in (
        ("the drift detector", N, "app.kubernetes.io/component=drift"),
        ("NATS", "nats-io", "app=nats"),
        ("istiod", "istio-system", "app=istiod"),
        ("the workflow controller", "argo", "app=workflow-controller"),
    ):
        names = it.kube.run("-n", namespace, "get", "pods", "-l", labels, "-o", "name").split()
        assert names, f"no pod of {what}"
        kill(it, namespace, *names, "--grace-period=1")
        it.say(f"killed: {what}")
        it.answered(24)

    status = it.ended(run)
    assert status["phase"] == "Succeeded", status.get("message")
    again = [
        n["displayName"]
        for n in status["nodes"].values()
        if n["type"] == "Pod" and "pod deleted" in n.get("message", "")
    ]
    assert again, "the killed pod was tried again"
    assert it.runs() - set(it.known("runs_before_drift")) == {run}, "no second run, although alarms go on"
    alarms = [verdict for verdict in it.streams.verdicts("drift", first) if verdict["alarm"]]
    it.say(f"{len(alarms)} alarms by now, still one run")
    assert len(alarms) > 2
    failed = [answer for answer in it.traffic.answers[start:] if answer.status != 200]
    it.say(f"{len(it.traffic.answers) - start} requests meanwhile, {len(failed)} failed {failed[:3]}")
    assert not failed


def test_8_no_acknowledged_event_is_lost(it):
    first = it.known("first")
    it.traffic.pause()
    taken = it.kube.wait("the logger has posted everything", lambda: steady(it, first), timeout=120, every=3)
    at_broker = {event.id for event in it.streams.broker() if event.get("endpoint") == first and event.get("modelid")}
    requests = {e.id for e in it.streams.broker() if e.get("endpoint") == first and e.type == REQUEST}
    it.say(f"the Broker acknowledged {taken} events of {first} and holds {len(at_broker)}")
    assert taken <= len(at_broker)
    it.kube.wait(
        "the detector has all of them",
        lambda: requests <= {event.id for event in it.streams.seen("drift")},
        timeout=180,
        every=5,
    )
    stored = [event.id for event in it.streams.seen("drift") if event.get("endpoint") == first]
    it.say(f"{len(requests)} request events, {len(stored)} stored by the drift detector, {len(set(stored))} different")
    assert sorted(stored) == sorted(requests)
    verdicts = it.streams.verdicts("drift", first)
    windows = [verdict["window"] for verdict in verdicts]
    assert windows == list(range(1, len(windows) + 1)), "each window is judged once"
    assert all(a["lastSequence"] < b["firstSequence"] for a, b in itertools.pairwise(verdicts))
    it.say(f"{len(windows)} windows judged, each once")


def steady(it, release):
    """The count of acknowledged posts, once it stands still."""
    before = it.logger(release)
    time.sleep(5)
    after = it.logger(release)
    return after.get(("broker", "2")) if before == after else None


def kill(it, namespace, *what):
    it.kube.run("-n", namespace, "delete", *what, "--wait=false")


def pods(it, run):
    """The nodes of a run that are pods."""
    return [n for n in it.workflows()[run].get("status", {}).get("nodes", {}).values() if n["type"] == "Pod"]


def pod_of(it, run, node):
    for pod in it.kube.get("pod", namespace=N):
        if pod["metadata"].get("annotations", {}).get("workflows.argoproj.io/node-id") == node["id"]:
            return f"pod/{pod['metadata']['name']}"
    raise AssertionError(f"no pod of {node['displayName']} of {run} ({P})")
