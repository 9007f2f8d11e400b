"""5 and 6: the rollout of what the drift started, a commit a step; then `git revert` of the promotion."""

import json
import shutil
import subprocess
from collections import Counter

import pytest
from cluster.streams import REQUEST, RESPONSE, by_request
from cluster.watching import LATEST, Watch, likely, settled
from cluster.world import PIPELINE, P

RELEASE = f"deployments/{P}/release.yaml"


def test_5_shadow_and_canary_are_commits_and_the_gateway_keeps_to_them(it):
    first, run = it.known("first"), it.known("second_run")
    # the alarms go on, and a run that starts after the cooldown would commit between the promotion
    # and its revert
    it.retraining("halt", "--reason", "the rollout is looked at alone")
    it.traffic.turn("rotated")
    seen = []

    def walked():
        release = it.release()
        step = (release["phase"], release["weights"])
        if not seen or seen[-1] != step:
            seen.append(step)
            it.say(f"in git: {release['phase']} {release['weights']}")
        return release["phase"] == "stable" and release["production"]["id"] != first

    with Watch(it) as watch:
        it.kube.wait("the rollout ends with a promotion", walked, timeout=1200, every=1)
        it.ready(PIPELINE, timeout=300)
        it.answered(40)
    second = it.release()["production"]["id"]
    assert it.release()["production"]["run"] == run
    it.remember(second=second)
    it.traffic.pause()

    commits = steps(it, second)
    for sha, subject, phase in commits:
        it.say(f"  {sha[:10]} {phase:8} {subject}")
    assert [phase for _, _, phase in commits] == ["shadow", "canary", "canary", "stable", "stable"]

    found = it.streams.broker()
    asked, told = by_request(found, REQUEST), by_request(found, RESPONSE)
    it.say("what the gateway did, by who answered and by what the committed weights say")
    measured = {}
    late = settled(watch.spans, [(a.sent, frozenset(asked[a.id])) for a in it.traffic.answers])
    it.say(f"the gateway did what a commit said at most {late:.1f} s after its VirtualService")
    assert late <= LATEST
    for span in watch.spans:
        between = it.traffic.between(*span.inside(late))
        inside = [a for a in between if a.status == 200]
        who = Counter(answered_by(a, told, first, second) for a in inside)
        counts = {id: who[id,] for id in (first, second)}
        alike = who[first, second]
        reached = sum(second in asked[a.id] for a in inside)
        failed = len(between) - len(inside)
        it.say(
            f"  {span.weights} mirror {span.mirror}: {len(inside)} requests, {counts}, {alike} on which both said the "
            f"same, {reached} reached {second}; {failed} failed"
        )
        measured[tuple(sorted(span.weights.items())), span.mirror] = (inside, counts, reached)
        if span.mirror == second:
            assert counts == {first: len(inside) - alike, second: 0}, "no caller heard the shadow"
            assert alike < len(inside) / 2, "or it can't be told"
    shadow, _, reached = measured[((first, 100),), second]
    assert len(shadow) >= 50
    assert reached == len(shadow), "each request was mirrored"
    for percent in (20, 50):
        inside, counts, _ = measured[
            tuple(sorted({first: 100 - percent, second: percent}.items())), None
        ]
        assert len(inside) >= 50
        assert likely(counts[second], len(inside), percent / 100), (counts, percent)
        assert counts[first] + counts[second] == len(inside)
    it.say(it.troubles())


def answered_by(answer, told, first, second):
    """The releases whose logged answer is the one that the caller got: two where both are that certain."""
    sides = {id: scores(event) for id, event in told[answer.id].items()}
    return tuple(id for id in (first, second) if id in sides and close(sides[id], answer.scores))


def scores(event):
    return json.loads(event.body)["data"]["ndarray"][0]


def close(a, b):
    return all(abs(x - y) < 1e-6 for x, y in zip(a, b, strict=True))


def steps(it, release):
    """The commits about one release, oldest first: (sha, subject, phase)."""
    log = it.git(
        "log", "--reverse", "--format=%H%x09%s%x09%(trailers:key=Driftloop-Phase,valueonly,separator=)",
        f"--grep=Driftloop-Release: {release}", "main",
    )  # fmt: skip
    return [tuple(line.split("\t")) for line in log.splitlines()]


def test_6_the_revert_of_the_promotion_brings_the_old_model_back(it):
    first, second = it.known("first"), it.known("second")
    it.traffic.turn("clean")
    if it.release()["production"]["id"] == second:
        promotion = it.tip()
        revert(it, promotion)
        it.say(f"git revert {promotion[:10]}, pushed")
    assert it.release()["production"]["id"] == first
    assert it.release()["candidate"] is None
    it.ready(PIPELINE, timeout=300)
    it.answered(24)
    it.traffic.pause()
    start = it.traffic.turn("rotated", logged=False)
    it.answered(60)
    it.traffic.pause()
    rotated = it.traffic.answers[start:]
    it.traffic.turn("clean")
    answers = it.answered(60)
    it.traffic.pause()
    right = sum(answer.right for answer in answers), sum(answer.right for answer in rotated)
    it.say(
        f"{first} answers: {right[0]} of {len(answers)} upright digits right, {right[1]} of {len(rotated)} turned ones"
    )
    ids = {answer.id for answer in answers}

    def all_told():
        told = by_request(it.streams.broker(), RESPONSE)
        return {id: set(told[id]) for id in ids} if ids <= set(told) else None

    told = it.kube.wait("the answers are events", all_told, timeout=60, every=3)
    assert all(sides == {first} for sides in told.values())
    assert right[1] < 0.6 * len(rotated)
    it.say(it.troubles())


def revert(it, commit, *, bare=None):
    """A person takes a commit back, in a clone of his own."""
    clone = it.folder / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    it.git("clone", "-q", str(bare or it.bare), str(clone), cwd=it.folder)
    try:
        it.git("revert", "--no-edit", commit, cwd=clone)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"git revert: {error.stderr}")
    it.git("push", "-q", "origin", "main", cwd=clone)
