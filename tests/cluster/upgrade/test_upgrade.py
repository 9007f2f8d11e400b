"""An upgrade by the documented steps, with a release in its canary and traffic all the time.

CLUSTER_TEST_BEFORE is a checkout of the older version with its environment in `.venv`; its images are in the kit's
registry under ghcr.io/driftloop, and those of this version below registry.acme.test/loop (`tests/cluster/wheel`).
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from cluster.bootstrap.test_a_guide import is_promoted
from cluster.guide import Terminal, read_blocks
from cluster.guided import adapt, make_environment, wipe_cluster
from cluster.registry import let_node_pull, pull_secret, serving_registry
from cluster.wheel.fleet import LOOP, PASSWORD, USER
from cluster.world import BACKEND, ROOT, SPEC, N

BEFORE = os.environ.get("CLUSTER_TEST_BEFORE")
AFTER = Path(os.environ.get("CLUSTER_TEST_AFTER", ROOT / ".venv")) / "bin"
"""Programs of this version, whose images are below LOOP."""
pytestmark = pytest.mark.skipif(BEFORE is None, reason="CLUSTER_TEST_BEFORE is not set")
CHANGES = (
    ("{steps: [10, 50], every: 5s, requests: 25", "{steps: [20, 50], every: 5s, requests: 40"),
    ("p99: 500ms", "p99: 2s"),
    ("{epochs: 12,", "{epochs: 4,"),
)


@pytest.fixture(scope="module")
def registry():
    with serving_registry(USER, PASSWORD):
        yield


def open_shell(it, program):
    """A person's shell, with the driftloop of an environment."""
    home = it.folder / "home"
    home.mkdir(exist_ok=True)
    own = {"DRIFTLOOP_GIT_USERNAME": "bot", "DRIFTLOOP_GIT_PASSWORD": it.passwords["bot"]}
    return Terminal(home, make_environment(it, home, program) | own)


def test_the_older_version_runs_by_its_own_guide(it):
    checkout = it.folder / "home" / "driftloop"
    shell = open_shell(it, Path(BEFORE) / ".venv" / "bin")
    if not checkout.exists():
        wipe_cluster(it)
        subprocess.run(["cp", "-r", BEFORE, checkout], check=True)
    spec = checkout / "examples" / "digits" / SPEC
    text = spec.read_text()
    for known, wanted in CHANGES:
        assert known in text, known
        text = text.replace(known, wanted)
    text, several = re.subn(r"(?m)^  rollout:.*$", r"\g<0>\n    promote: manual", text)
    assert several == 1
    spec.write_text(text)
    cwd = checkout
    for block in read_blocks((checkout / "docs" / "guides" / "cluster.md").read_text()):
        shell.run(adapt(block.commands), cwd=cwd)
        it.say(f"{block.step}. {block.title}")
        cwd = None
    it.remember(first=it.release()["production"]["id"])


def test_a_release_comes_into_its_canary(it):
    it.answers(timeout=180)
    it.traffic.turn("rotated")
    it.batches("rotated")
    run = it.trigger("an upgrade comes")
    assert it.ended(run, timeout=1500)["phase"] == "Succeeded"
    it.kube.wait(
        "the canary waits for a person",
        lambda: (
            it.release()["phase"] == "canary"
            and "waits since" in it.driftloop("status", "--cluster", "--namespace", N)
        ),
        timeout=900,
        every=4,
    )
    release = it.release()
    it.remember(candidate=release["candidate"]["id"])
    it.say(f"{release['phase']} {release['weights']}")


def test_the_upgrade_fails_no_request(it, registry):
    """The steps of the guide's section on upgrades."""
    let_node_pull()
    first, candidate = it.known("first"), it.known("candidate")
    start = it.traffic.turn("rotated")
    it.answered(40)
    weights = it.routed()
    shell = open_shell(it, AFTER)
    copy = it.folder / "home" / "cluster-repository"
    said = shell.run(
        "exec 2>&1\ngit pull -q --rebase\ngit rm -rq cluster/infrastructure cluster/optional .sourceignore --ignore-unmatch\n"
        f"driftloop platform init --adopt --registry {LOOP}\ngit status --short | head -20",
        cwd=copy,
    )
    it.say(said)
    platform = copy / "platform.yaml"
    text = platform.read_text()
    text = text.replace("  images:\n", "  images:\n    pullSecrets: [acme-registry]\n")
    assert "pullSecrets" in text
    platform.write_text(text)
    it.kube.run(
        "apply",
        "-f",
        "-",
        stdin=json.dumps(pull_secret("acme-registry", N, USER, PASSWORD)),
    )
    said = shell.run(
        "exec 2>&1\ndriftloop validate .\ngit add -A\ngit commit -qm 'Upgrade the platform'\ngit push -q origin HEAD:main",
        cwd=copy,
    )
    it.ready(it.stages(), timeout=600)
    it.say("the platform is of this version")
    said = shell.run(
        f"exec 2>&1\ndriftloop plan ../driftloop/examples/digits/{SPEC} --repository $GIT_URL --allow rollout-left\n"
        f"driftloop commit ../driftloop/examples/digits/{SPEC} --repository $GIT_URL --allow rollout-left",
        cwd=copy,
    )
    it.say(said)
    it.ready(it.pipeline, timeout=600)
    it.say("the pipeline is of this version")
    it.answered(200)
    assert it.routed() == weights, "the candidate keeps its share"
    assert it.release()["candidate"]["id"] == candidate
    answers = it.traffic.answers[start:]
    it.say(f"{len(answers)} requests meanwhile; {it.troubles()}")
    assert {answer.status for answer in answers} == {200}
    shell.run(f"driftloop promote {N} --repository $GIT_URL", cwd=copy)
    it.kube.wait("it is promoted", lambda: is_promoted(it, other_than=first), timeout=600)
    it.ready(it.pipeline, timeout=300)
    it.answered(60)
    it.traffic.pause()
    it.say(f"{it.release()['production']['id']} is production on {BACKEND}; {it.troubles()}")
    assert {answer.status for answer in it.traffic.answers[start:]} == {200}
