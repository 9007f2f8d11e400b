import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from cluster.authority import pair

from driftloop.cluster import sealing
from driftloop.cluster.text import dump
from driftloop.kube.sealed import Scope, SealError, build_secret

KUBESEAL = shutil.which("kubeseal") or next(
    (
        str(p)
        for p in [Path(os.environ.get("CLUSTER_BIN", "/var/tmp/cluster-bin")) / "kubeseal"]
        if p.exists()
    ),
    None,
)


@pytest.fixture(scope="module")
def keys():
    return pair(size=4096)


def secret(**metadata):
    return build_secret(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/basic-auth",
            "metadata": {"name": "a", "namespace": "n", **metadata},
            "stringData": {"username": "ü", "password": "x" * 5000, "empty": ""},
        }
    )


@pytest.mark.parametrize("scope", list(Scope))
def test_the_private_key_opens_what_was_sealed(keys, scope):
    certificate, private = keys
    result = sealing.seal(secret(), sealing.certificate(certificate), scope)
    opened = {
        k: sealing.open_value(v, sealing.private_keys([private]), scope.encryption_label("n", "a"))
        for k, v in result.spec.encrypted_data.items()
    }
    assert opened == {"username": "ü".encode(), "password": b"x" * 5000, "empty": b""}
    assert result.spec.template.type == "kubernetes.io/basic-auth"


def test_a_value_has_the_wire_format_of_kubeseal(keys):
    text = sealing.seal_value(b"hello", sealing.certificate(keys[0]), b"n/a")
    assert text.startswith("Ag")
    assert len(base64.b64decode(text)) == 2 + 512 + 5 + 16


@pytest.mark.parametrize("label", [b"n/b", b"m/a", b"n", b""])
def test_a_strict_value_opens_nowhere_else(keys, label):
    text = sealing.seal_value(b"hello", sealing.certificate(keys[0]), b"n/a")
    with pytest.raises(SealError, match="none of the keys opens"):
        sealing.open_value(text, sealing.private_keys([keys[1]]), label)


def test_a_flipped_bit_is_noticed(keys):
    raw = bytearray(
        base64.b64decode(sealing.seal_value(b"hello", sealing.certificate(keys[0]), b""))
    )
    raw[-1] ^= 1
    with pytest.raises(SealError):
        sealing.open_value(base64.b64encode(raw).decode(), sealing.private_keys([keys[1]]), b"")


@pytest.mark.parametrize("text", ["", "AA", "!!", "AgAB"])
def test_garbage_is_refused(keys, text):
    with pytest.raises(SealError):
        sealing.open_value(text, sealing.private_keys([keys[1]]), b"")


def test_resealing_moves_every_value_to_the_new_certificate(keys):
    certificate, private = pair()
    old = sealing.seal(secret(), sealing.certificate(keys[0]), Scope.NAMESPACE_WIDE)
    new = sealing.reseal(
        old, sealing.private_keys([private, keys[1]]), sealing.certificate(certificate)
    )
    assert new.metadata == old.metadata
    opened = sealing.open_value(
        new.spec.encrypted_data["username"], sealing.private_keys([private]), b"n"
    )
    assert opened == "ü".encode()
    with pytest.raises(SealError):
        sealing.open_value(
            new.spec.encrypted_data["username"], sealing.private_keys([keys[1]]), b"n"
        )


def test_the_object_holds_no_plain_value_and_no_note_of_kubectl(keys):
    note = {"kubectl.kubernetes.io/last-applied-configuration": "hunter2", "keep": "me"}
    result = sealing.seal(
        secret(annotations=note), sealing.certificate(keys[0]), Scope.CLUSTER_WIDE
    )
    assert "hunter2" not in str(result.dump_object())
    wide = {"sealedsecrets.bitnami.com/cluster-wide": "true"}
    assert result.metadata.annotations == wide
    assert result.spec.template.metadata.annotations == {"keep": "me", **wide}


def test_a_certificate_that_ended_is_refused():
    with pytest.raises(SealError, match="expired on"):
        sealing.certificate(pair(days=-1)[0])


def test_a_strict_seal_needs_a_namespace(keys):
    homeless = secret(namespace=None)
    with pytest.raises(SealError, match="no namespace"):
        sealing.seal(homeless, sealing.certificate(keys[0]), Scope.STRICT)
    assert (
        sealing.seal(homeless, sealing.certificate(keys[0]), Scope.CLUSTER_WIDE).metadata.namespace
        is None
    )


@pytest.mark.skipif(KUBESEAL is None, reason="kubeseal is not on this machine")
@pytest.mark.parametrize("scope", list(Scope))
def test_kubeseal_and_we_open_each_other(keys, scope, tmp_path):
    certificate, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(keys[0])
    private.write_bytes(keys[1])

    ours = dump(sealing.seal(secret(), sealing.certificate(keys[0]), scope).dump_object())
    recovered = subprocess.run(
        [KUBESEAL, "--recovery-unseal", "--recovery-private-key", private, "-o", "yaml"],
        input=ours,
        capture_output=True,
        text=True,
        check=True,
    )
    data = yaml.safe_load(recovered.stdout)["data"]
    assert {k: base64.b64decode(v or "") for k, v in data.items()} == secret().values

    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a", "namespace": "n"},
        "data": {k: base64.b64encode(v).decode() for k, v in secret().values.items()},
    }
    theirs = subprocess.run(
        [KUBESEAL, "--cert", certificate, "--scope", scope.value, "-o", "yaml"],
        input=dump(document),
        capture_output=True,
        text=True,
        check=True,
    )
    sealed = yaml.safe_load(theirs.stdout)
    for key, value in secret().values.items():
        text = sealed["spec"]["encryptedData"][key]
        assert (
            sealing.open_value(
                text, sealing.private_keys([keys[1]]), scope.encryption_label("n", "a")
            )
            == value
        )
