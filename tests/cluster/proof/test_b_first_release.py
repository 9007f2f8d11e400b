"""2 and 3: a run ends in a commit or, when the gate fails, in none; what is released answers, and is watched."""

import uuid

from cluster.streams import REQUEST, RESPONSE, by_request
from cluster.world import PIPELINE, P

TRAILERS = ("Pipeline", "Release", "Phase", "Run", "Cause", "Data-Digest", "Model-Digest")


def test_2_a_run_ends_in_a_commit(it):
    it.ready((*it.stages(), *PIPELINE), timeout=300)
    it.batches("clean")
    before, earlier = it.tip(), it.runs()
    decision = uuid.uuid4().hex[:12]
    body = {"pipeline": P, "decision": decision, "cause": "person cluster-test"}
    assert it.hook(body, token=None) in (400, 401)
    assert it.hook(body, token="wrong") in (400, 401)
    assert it.hook(body, token=it.secret("webhook-token")) == 200
    assert it.hook(body, token=it.secret("webhook-token")) == 200, (
        "a second delivery is accepted, and changes nothing"
    )
    it.say("the webhook refused no token and a wrong one, and took the right one, twice")

    run = f"{P}-{decision}"
    it.kube.wait("the Sensor makes the Workflow", lambda: run in it.runs(), timeout=90)
    status = it.ended(run)
    assert status["phase"] == "Succeeded", status.get("message")
    assert it.runs() - earlier == {run}

    release = it.release()
    assert release["phase"] == "stable"
    assert release["production"]["run"] == run
    message = it.git(
        "log", "-1", "--format=%B", f"{before}..main", "--", f"deployments/{P}/release.yaml"
    )
    for trailer in TRAILERS:
        assert f"\nDriftloop-{trailer}: " in message
    it.remember(first=release["production"]["id"])
    it.say(
        f"{release['production']['id']} is in git as production: {release['production']['metrics']}"
    )


def test_2_a_gate_that_fails_commits_nothing(it):
    it.idle()
    it.batches("shuffled")
    before = it.tip()
    run = it.trigger("shuffled labels")
    assert it.ended(run)["phase"] == "Succeeded"
    assert it.tip() == before
    decision = it.streams.decision()
    assert decision.outcome == "refused"
    it.say(f"the gate refused it and nothing was committed: {decision.reason}")
    it.forget("shuffled")


def test_3_the_release_answers_and_every_request_and_answer_is_an_event(it):
    it.ready(PIPELINE, timeout=300)
    release = it.known("first")
    it.answers()
    it.traffic.turn("clean")
    answers = it.answered(150)
    it.traffic.pause()
    ids = {answer.id for answer in it.traffic.answers if answer.status == 200 and answer.logged}
    right = sum(answer.right for answer in answers)
    it.say(f"{len(ids)} predictions through the gateway; of the last {len(answers)}, {right} right")
    assert right >= 0.85 * len(answers)

    def arrived():
        found = it.streams.broker()
        sides = by_request(found, REQUEST), by_request(found, RESPONSE)
        return found if all(ids <= set(side) for side in sides) else None

    found = it.kube.wait(
        "every request and every answer is an event at the Broker", arrived, timeout=60, every=3
    )
    for type in (REQUEST, RESPONSE):
        of = [event for event in found if event.type == type]
        assert {event.get("endpoint") for event in of} == {release}
        assert len({event.id for event in of}) == len(of)
    wanted = {
        "drift": {event.id for event in found if event.type == REQUEST},
        "outlier": {event.id for event in found if event.type == REQUEST},
    }
    for detector, expected in wanted.items():
        it.kube.wait(
            f"all of them in the stream of {detector}",
            lambda detector=detector, expected=expected: (
                {e.id for e in it.streams.seen(detector)} >= expected
            ),
            timeout=60,
            every=3,
        )
        seen = it.streams.seen(detector)
        assert {event.id for event in seen} == expected, "no other event reaches it"
        assert len(seen) == len(expected)
    judged = it.streams.count(f"DRIFTLOOP_{P.upper()}_{P.upper()}_JUDGE")
    answered = sum(event.type == RESPONSE for event in found)
    kinds = {
        kind: sum(event.type == kind for event in found)
        for kind in sorted({event.type for event in found})
    }
    it.say(f"at the Broker: {kinds}")
    it.say(f"stored by drift and outlier: {len(wanted['drift'])} each, by the judge: {judged}")
    assert judged == answered
