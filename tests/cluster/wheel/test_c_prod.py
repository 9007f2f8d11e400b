"""What staging proved, on the other cluster of the same repository: its own folder, store and keys, the same digests."""

import base64
import re
import shutil
import subprocess

import pytest
import yaml
from cluster.wheel.fleet import LOOP
from cluster.wheel.test_a_staging import TOLD, ask_first, bring_up, write_pull_secret

SAMPLE = 25


def test_the_files_of_the_release_leave_staging(it):
    proven = it.release()["production"]
    it.answers(timeout=120)
    it.remember(proven=proven, scores=ask_first(it, SAMPLE))
    said = it.types(
        f"driftloop files save {it.name} carried --repository $GIT_URL --on staging --cluster"
    )
    assert proven["id"] in said


def test_prod_comes_up_from_the_same_repository(it):
    if it.cluster != "prod":
        if not (it.home / "fleet" / "driftloop" / "prod").exists():
            it.types("driftloop platform init fleet --cluster prod --path clusters/prod")
        it.leave_cluster("prod")
        assert LOOP in write_pull_secret(it, **keep_secrets_by_sops(it))
        it.types("driftloop validate fleet")
        it.push("Lay out prod")
    bring_up(it)


def keep_secrets_by_sops(it):
    """What the platform file of a cluster says whose Secrets Flux decrypts, and which tells everything that it
    applies; the private key lies in the person's folder. Nothing without `sops`: then they are sealed again."""
    if not all(map(shutil.which, ("sops", "age-keygen"))):
        it.say("sops or age-keygen is not here: the Secrets of prod are sealed, and nobody is told")
        return {}
    said = it.types("age-keygen -o prod.agekey 2>&1")
    (public,) = re.findall("age1[a-z0-9]+", said)
    told = [{"type": "webhook", "name": "pager", "secret": TOLD}]
    return {
        "secrets": {"type": "sops", "age": [public]},
        "notifications": {"receivers": told, "flux": "everything"},
    }


def test_secrets_of_prod_are_those_that_sops_encrypted(it):
    if not (it.home / "prod.agekey").exists():
        pytest.skip("sops or age-keygen is not on this machine")
    folder = f"driftloop/prod/platform/{it.name}"
    files = it.git("ls-tree", "-r", "--name-only", "main", folder).splitlines()
    encrypted = [file for file in files if file.endswith(".secret.yaml")]
    assert encrypted
    for file in encrypted:
        written = yaml.safe_load(it.file(file))
        name = written["metadata"]["name"]
        values = written.get("data", {}) | written.get("stringData", {})
        assert all(value.startswith("ENC[AES256_GCM,") for value in values.values()), file
        assert written["sops"]["age"]
        made = it.kube.get("secret", name, it.name)["data"]
        assert made.keys() == values.keys(), name
        assert not any(b"ENC[" in base64.b64decode(value) for value in made.values()), name
        it.say(f"{name}: {len(made)} values, decrypted by Flux")
    assert not it.kube.get("sealedsecret", namespace=it.name)


def test_nothing_is_promoted_whose_files_are_not_there(it):
    tip = it.tip()
    with pytest.raises(AssertionError) as refused:
        it.types(f"driftloop promote {it.name} --repository $GIT_URL --from staging --to prod")
    it.say(str(refused.value).splitlines()[-3:])
    assert "each cluster has one of its own" in str(refused.value)
    assert it.tip() == tip


def test_what_staging_proved_is_served_in_prod(it):
    proven = it.known("proven")
    said = it.types(
        f"driftloop plan {it.name}/pipeline.yaml --repository $GIT_URL --cluster prod --against staging"
    )
    assert said
    said = it.types("driftloop files load carried --cluster")
    assert " 0 there already" in said
    it.types(f"driftloop promote {it.name} --repository $GIT_URL --from staging --to prod --copied")
    served = it.release()["production"]
    assert served == proven, "every digest, metric and place is staging's"
    message = it.git("log", "-1", "--format=%B", "main")
    for line in filter(None, message.splitlines()):
        it.say(f"  {line}")
    assert proven["modelDigest"] in message
    assert "Measured on held-out rows: " in message
    it.ready(it.pipeline, timeout=600)
    it.answers(timeout=180)
    assert ask_first(it, SAMPLE) == it.known("scores"), "the very answers that staging gave"
    it.traffic.turn("colony")
    answers = it.answered(220)
    it.traffic.pause()
    assert {answer.status for answer in answers} == {200}
    verdict = it.kube.wait(
        "a window is judged",
        lambda: next(iter(it.streams.verdicts("drift", proven["id"])), None),
        timeout=120,
        every=3,
    )
    it.say(f"window {verdict['window']} in prod: alarm {verdict['alarm']}; {it.troubles()}")
    assert not verdict["alarm"], "these rows are what the release was trained on"
    it.types(f"driftloop status --cluster --namespace {it.name}")


def test_a_pod_of_prod_refuses_a_file_that_was_changed_on_the_way(it):
    """Who changes a saved file is told before anything is sent."""
    file = next((it.home / "carried").rglob("model.pkl"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises((AssertionError, subprocess.CalledProcessError)) as refused:
        it.types("driftloop files load carried --cluster")
    file.write_bytes(whole)
    assert "was changed since it was saved" in str(refused.value)


def test_the_pipeline_is_removed_from_one_cluster_and_stays_on_the_other(it):
    it.types(f"driftloop remove {it.name} --repository $GIT_URL --on prod --cluster --yes")
    it.kube.wait("the namespace is settled", it.settled, timeout=300)
    for name in it.pipeline:
        assert it.kube.get("kustomization", name, "flux-system") is None
    files = it.git("ls-tree", "-r", "--name-only", "main").splitlines()
    assert not [path for path in files if path.startswith(f"driftloop/prod/deployments/{it.name}/")]
    assert f"driftloop/staging/deployments/{it.name}/release.yaml" in files
