"""7: what `driftloop seal` seals, the real controller opens; kubeseal and we open the same."""

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from driftloop.cluster import sealing
from driftloop.kube.sealed import Scope, SealError

SPACE = "sealing"
VALUES = {"password": "Grüße, 世界", "empty": "", "long": "x" * 5000}
KUBESEAL = shutil.which("kubeseal") or next(
    (
        str(p)
        for p in [Path(os.environ.get("CLUSTER_BIN", "/var/tmp/cluster-bin")) / "kubeseal"]
        if p.exists()
    ),
    None,
)


@pytest.fixture
def space(it):
    it.kube.run("create", "namespace", SPACE, check=False)
    yield SPACE
    it.kube.run("delete", "namespace", SPACE, "--wait=false")


def secret(name, namespace=SPACE):
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": VALUES,
        }
    )


def opened(it, name):
    """The values of a Secret, or None."""
    found = it.kube.get("secret", name, SPACE)
    return found and {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


def certificate(it):
    file = it.folder / "cluster.pem"
    file.write_text(it.certificate())
    return file


def test_7_the_controller_opens_what_driftloop_seals(it, space):
    for scope in Scope:
        name = f"ours-{scope.value}"
        sealed = it.driftloop(
            "seal", "--cert", certificate(it), "--scope", scope.value, stdin=secret(name)
        )
        assert "Grüße" not in sealed
        it.kube.run("apply", "-f", "-", stdin=sealed)
        found = it.kube.wait(f"{name} is opened", lambda name=name: opened(it, name), timeout=60)
        assert found == VALUES
        it.say(f"the controller opened {name}")
    sealed = yaml.safe_load(it.driftloop("seal", "--cert", certificate(it), stdin=secret("meant")))
    sealed["metadata"]["name"] = "moved"
    sealed["spec"]["template"]["metadata"]["name"] = "moved"
    it.kube.run("apply", "-f", "-", stdin=yaml.safe_dump(sealed))

    def refused():
        conditions = (it.kube.get("sealedsecret", "moved", SPACE).get("status") or {}).get(
            "conditions", []
        )
        return next(
            (c["message"] for c in conditions if c["type"] == "Synced" and c["status"] == "False"),
            None,
        )

    it.say(
        f"under another name it refuses: {it.kube.wait('the controller refuses it', refused, timeout=60)}"
    )
    assert opened(it, "moved") is None


@pytest.mark.skipif(KUBESEAL is None, reason="kubeseal is not on this machine")
def test_7_kubeseal_and_driftloop_open_the_same(it):
    secrets = it.kube.get("secret", namespace="kube-system")
    mark = "sealedsecrets.bitnami.com/sealed-secrets-key"
    (key, *_) = [secret for secret in secrets if mark in secret["metadata"].get("labels", {})]
    private = base64.b64decode(key["data"]["tls.key"])
    keys = sealing.private_keys([private])
    file = it.folder / "recovery.key"
    file.touch(0o600)
    file.write_bytes(private)
    try:
        for scope in Scope:
            label = scope.encryption_label(SPACE, "theirs")
            theirs = kubeseal(
                "--cert",
                certificate(it),
                "--scope",
                scope.value,
                "-o",
                "yaml",
                stdin=secret("theirs"),
            )
            values = yaml.safe_load(theirs)["spec"]["encryptedData"]
            ours = {
                k: sealing.open_value(v, sealing.private_keys([private]), label).decode()
                for k, v in values.items()
            }
            assert ours == VALUES
            sealed = it.driftloop(
                "seal", "--cert", certificate(it), "--scope", scope.value, stdin=secret("ours")
            )
            said = kubeseal(
                "--recovery-unseal", "--recovery-private-key", file, "-o", "yaml", stdin=sealed
            )
            found = yaml.safe_load(said)["data"]
            assert {k: base64.b64decode(v or "").decode() for k, v in found.items()} == VALUES
            it.say(f"{scope.value}: we open kubeseal's, kubeseal opens ours")
        strict = kubeseal("--cert", certificate(it), "-o", "yaml", stdin=secret("theirs"))
        value = yaml.safe_load(strict)["spec"]["encryptedData"]["password"]
        with pytest.raises(SealError):
            sealing.open_value(value, keys, Scope.STRICT.encryption_label(SPACE, "other"))
        moved = yaml.safe_load(
            it.driftloop("seal", "--cert", certificate(it), stdin=secret("ours"))
        )
        moved["metadata"]["name"] = "other"
        with pytest.raises(subprocess.CalledProcessError):
            kubeseal(
                "--recovery-unseal", "--recovery-private-key", file, stdin=yaml.safe_dump(moved)
            )
        it.say("neither opens a strict one under another name")
    finally:
        file.unlink()


def kubeseal(*args, stdin):
    done = subprocess.run(
        [KUBESEAL, *map(str, args)], input=stdin, capture_output=True, text=True, check=True
    )
    return done.stdout
