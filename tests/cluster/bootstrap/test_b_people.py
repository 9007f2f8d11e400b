"""One run of a company: its images need a password, a person lets the data and the promotion through, and an estimate
says how good the answers are before any label comes."""

import json
import re
import shutil
import subprocess
import sys
import uuid
from contextlib import contextmanager

import pytest
import yaml
from cluster.bootstrap.test_a_guide import is_promoted
from cluster.bootstrap.test_b_honesty import pods
from cluster.bootstrap.test_b_walls import push
from cluster.registry import HOST, pull_secret, serving_registry
from cluster.world import BACKEND, EXAMPLE, PIPELINE, SPEC, N, P

SECRET = "acme-registry"
FOLDER = f"cluster/platform/dev/{N}"
ME = "admin"
"""Whom the API server takes the kit's kubeconfig for."""
WINDOW = 100


@pytest.fixture(scope="module")
def registry():
    """User and password of a registry that knows nobody else, and what it refused."""
    password = uuid.uuid4().hex
    with serving_registry("ci", password) as refused:
        yield "ci", password, refused


def test_a_pod_without_the_registry_s_password_is_named(it, registry):
    it.traffic.pause()
    it.forget(P)
    it.forget("rotated")
    it.retraining("resume")
    it.no_run()
    commit_company(it)
    before = it.release()["production"]["id"]
    run = it.trigger("a company's run")
    it.remember(company=run, before_company=before)
    line = it.kube.wait(
        "the status says which image the registry keeps back",
        lambda: find_line(it, "does not get"),
        timeout=300,
        every=3,
    )
    it.say(line)
    assert f"{HOST}/driftloop/digits-trainer:1.0.0" in line
    assert registry[2], "the registry was asked, and refused"
    assert any("does not get" in each for each in doctor(it))


def test_with_the_password_the_run_goes_on_to_where_a_person_is_asked(it, registry):
    user, password, _ = registry
    certificate = it.folder / "cluster.pem"
    certificate.write_text(it.certificate())
    secret = yaml.safe_dump(pull_secret(SECRET, N, user, password))
    sealed = it.driftloop("seal", "--cert", certificate, stdin=secret)
    listing = yaml.safe_load(it.file(f"{FOLDER}/kustomization.yaml"))
    listing["resources"].append(f"{SECRET}.sealedsecret.yaml")
    push(
        it,
        {
            f"{FOLDER}/{SECRET}.sealedsecret.yaml": sealed,
            f"{FOLDER}/kustomization.yaml": yaml.safe_dump(listing),
        },
    )
    it.fetched()
    run = it.known("company")
    hold = it.kube.wait("the run waits for a person", lambda: waits(it), timeout=600, every=3)
    it.say(hold)
    assert run in hold
    assert ME in hold
    assert not pods(it.workflows()[run]["status"], "train"), "nothing is trained yet"
    assert find_line(it, "does not get") is None
    refused = trigger_another(it)
    it.say(f"another run meanwhile: {refused.stdout.strip()} {refused.stderr.strip()}")
    assert "busy" in refused.stdout + refused.stderr
    refused = approve(it, "I am in a hurry", user="eve")
    it.say(refused.stderr.strip())
    assert refused.returncode == 1
    assert f"must be one of: {ME}" in refused.stderr
    assert waits(it) == hold
    done = approve(it, "looked at the batches")
    assert done.returncode == 0, done.stderr
    it.say(done.stderr.strip())


def test_a_candidate_waits_in_its_canary_whatever_is_restarted(it):
    run, before = it.known("company"), it.known("before_company")
    assert it.ended(run, timeout=1200)["phase"] == "Succeeded"
    it.traffic.turn("clean")
    hold = it.kube.wait(
        "the promotion waits for a person",
        lambda: waits(it) or expect_rollout(it, run),
        timeout=1200,
        every=3,
    )
    it.say(hold)
    release = it.release()
    assert (release["phase"], release["production"]["id"]) == ("canary", before)
    names = it.kube.run(
        "-n", "argo", "get", "pods", "-l", "app=workflow-controller", "-o", "name"
    ).split()
    it.kube.run("-n", "argo", "delete", *names)
    it.say("killed: the workflow controller")
    start = len(it.traffic.answers)
    it.answered(60)
    assert waits(it) == hold
    candidate = release["candidate"]["id"]
    assert set(it.routed()) == {before, candidate}, "the candidate keeps its share"
    assert approve(it, "as Eve", user="eve").returncode == 1
    assert it.release()["phase"] == "canary"
    done = approve(it, "looked at the report")
    assert done.returncode == 0, done.stderr
    it.kube.wait("it is promoted", lambda: is_promoted(it, other_than=before), timeout=300)
    it.ready(PIPELINE, timeout=300)
    it.traffic.pause()
    assert {answer.status for answer in it.traffic.answers[start:]} == {200}
    said = it.git("log", "--format=%B", "--grep=Approved-by", "-1", "main")
    it.say(f"the commit: {' | '.join(filter(None, said.splitlines()))}")
    assert f"Approved by {ME}: looked at the report." in said
    assert re.search(rf"^Approved-by: {ME}$", said, re.M)
    shown = json.loads(it.driftloop("runs", "show", run, "--cluster", "-n", N, "-o", "json"))
    given = [{key: each[key] for key in ("who", "reason")} for each in find_key(shown, "approvals")]
    it.say(f"run.json: {given}")
    assert {"who": ME, "reason": "looked at the batches"} in given


def test_an_estimate_judges_answers_that_nobody_has_labelled(it):
    production = it.release()["production"]["id"]
    it.traffic.turn("clean")
    verdict = it.kube.wait(
        "a window is estimated",
        lambda: next(iter(it.streams.verdicts("estimate", production)), None),
        timeout=300,
        every=3,
    )
    it.traffic.pause()
    it.say(f"window {verdict['window']} of {production}: {verdict['details']}")
    assert verdict["size"] == WINDOW
    line = find_line(it, f"{P}/estimate: window")
    it.say(line)
    assert "estimated accuracy" in line


@contextmanager
def api(it, user):
    """The API server's address, as this user finds it: who has every right, by whatever name."""
    given = () if user == ME else (f"--as={user}", "--as-group=system:masters")
    with it.kube.proxy(*given) as url:
        yield url


def approve(it, reason, *, user=ME):
    with api(it, user) as url:
        return run_command(it, "approve", P, "--reason", reason, DRIFTLOOP_KUBERNETES_URL=url)


def trigger_another(it):
    """A person asks for a run while one waits."""
    url = f"http://{it.kube.address(N, f'{P}-retrain', 12000)}/retrain"
    token = it.secret("webhook-token")
    with api(it, ME) as address:
        return run_command(
            it, "trigger", P, "--url", url, "--wait", "--cause", "impatience",
            DRIFTLOOP_WEBHOOK_TOKEN=token, DRIFTLOOP_KUBERNETES_URL=address,
        )  # fmt: skip


def run_command(it, *args, **env):
    """A command that may be refused."""
    return subprocess.run(
        [sys.executable, "-m", "driftloop.cli", *args],
        capture_output=True,
        text=True,
        check=False,
        env=it.environment(**env),
    )


def waits(it):
    """What the status of the cluster says that waits for a person."""
    return find_line(it, "waits since")


def expect_rollout(it, run):
    """Fail when the rollout of a run has ended."""
    state = it.streams.decision()
    assert state.run == run, f"{run} waits for nobody: {state.outcome}: {state.reason}"


def find_line(it, words):
    lines = it.driftloop("status", "--cluster", "--namespace", N).splitlines()
    return next((line for line in lines if words in line), None)


def doctor(it):
    return run_command(it, "doctor").stdout.splitlines()


def find_key(value, wanted):
    """Every item of the lists under a key, however deep."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == wanted and isinstance(each, list):
                yield from each
            else:
                yield from find_key(each, wanted)
    elif isinstance(value, list):
        for each in value:
            yield from find_key(each, wanted)


def commit_company(it):
    """Commit the example with a company's wishes: its registry, approvals, and an estimate in place of the outliers."""
    project = it.folder / "company"
    if not project.exists():
        for part in ("server", "trainer"):
            shutil.copytree(EXAMPLE / part, project / part)
    text = (EXAMPLE / SPEC).read_text()
    for known, wanted in (
        ("ghcr.io/driftloop/digits-trainer", f"{HOST}/driftloop/digits-trainer"),
        ('run: "etl:validate"}', 'run: "etl:validate", approve: true}'),
        ("{epochs: 12, learning_rate: 0.001}", "{epochs: 12, learning_rate: 0.002}"),
        ("p99: 500ms", "p99: 2s"),
        # it is people who are to stop this one
        ("productionMinus: 0.01", "productionMinus: 0.1"),
    ):
        assert known in text, known
        text = text.replace(known, wanted)
    text, several = re.subn(
        r"(?m)^    outlier:.*$", f"    estimate: {{detector: estimate, window: {WINDOW}}}", text
    )
    assert several == 1
    text, several = re.subn(r"(?m)^  rollout:.*$", r"\g<0>\n    promote: manual", text)
    assert several == 1
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("search:")]
    lines += [
        f"  imagePullSecrets: [{SECRET}]",
        f"  approvers: [{ME}]",
        "  capture: {every: 20s}",
        *(["  signatures: require"] if BACKEND == "seldon" else []),
    ]
    (project / "pipeline.yaml").write_text("\n".join(lines) + "\n")
    it.commit(project / "pipeline.yaml")
    it.ready((f"{P}-workflows",), timeout=300)
