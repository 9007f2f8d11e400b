import base64
import os
import subprocess
import sys

import pytest
import yaml
from cluster.authority import pair

from driftloop.cluster import sealing

SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: git, namespace: n}
stringData: {token: hunter2}
---
apiVersion: v1
kind: Secret
metadata: {name: s3, namespace: n, annotations: {sealedsecrets.bitnami.com/cluster-wide: "true"}}
stringData: {key: hunter3}
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("old", "new"):
        certificate, private = pair()
        (folder / f"{name}.pem").write_bytes(certificate)
        (folder / f"{name}.key").write_bytes(private)
    return folder


def driftloop(*args, stdin="", env=None, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", "from driftloop.cli import main; main()", *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **(env or {})},
    )


def opened(document, key, label):
    private = sealing.private_keys([key.read_bytes()])
    return {
        k: sealing.open_value(v, private, label)
        for k, v in document["spec"]["encryptedData"].items()
    }


def test_seal_then_reseal(keys):
    first = driftloop("seal", "--cert", keys / "old.pem", stdin=SECRET)
    assert first.returncode == 0, first.stderr
    assert "hunter" not in first.stdout + first.stderr
    assert "namespace: 'n'" in first.stdout  # Go's YAML takes a bare n for false
    git, s3 = yaml.safe_load_all(first.stdout)
    assert opened(git, keys / "old.key", b"n/git") == {"token": b"hunter2"}
    assert opened(s3, keys / "old.key", b"") == {"key": b"hunter3"}

    args = ("seal", "--re-seal", "--private-key", keys / "old.key", "--cert", keys / "new.pem")
    again = driftloop(*args, stdin=first.stdout)
    assert again.returncode == 0, again.stderr
    git, s3 = yaml.safe_load_all(again.stdout)
    assert opened(git, keys / "new.key", b"n/git") == {"token": b"hunter2"}
    assert opened(s3, keys / "new.key", b"") == {"key": b"hunter3"}


@pytest.mark.parametrize(
    ("args", "stdin", "code", "says"),
    [
        (["--namespace", "m"], SECRET, 1, "--namespace is `m`"),
        ([], "kind: ConfigMap\napiVersion: v1\n", 1, "found `ConfigMap`"),
        ([], "", 1, "has no object"),
        ([], "a: [", 1, ":2:1: not YAML"),
        (["--scope", "anywhere"], SECRET, 2, "'strict', 'namespace-wide', 'cluster-wide'"),
        (["--re-seal"], SECRET, 2, "--private-key"),
    ],
)
def test_what_is_wrong_is_said(keys, args, stdin, code, says):
    result = driftloop("seal", "--cert", keys / "old.pem", *args, stdin=stdin)
    assert result.returncode == code
    assert says in result.stderr
    assert result.stdout == ""


def test_resealing_with_a_stranger_s_key_fails(keys):
    first = driftloop("seal", "--cert", keys / "old.pem", stdin=SECRET)
    args = ("seal", "--re-seal", "--private-key", keys / "new.key", "--cert", keys / "new.pem")
    result = driftloop(*args, stdin=first.stdout)
    assert result.returncode == 1
    assert "none of the keys opens" in result.stderr


def init(keys, folder, *args, **env):
    common = (
        "--namespace",
        "digits",
        "--cert",
        keys / "old.pem",
        "--git-url",
        "https://git.example/c.git",
    )
    return driftloop("secrets", "init", *common, *args, env=env, cwd=folder)


def test_init_writes_both_objects_and_no_plain_secret(keys, tmp_path):
    result = init(keys, tmp_path, DRIFTLOOP_GIT_USERNAME="bot", DRIFTLOOP_GIT_PASSWORD="hunter2")
    assert result.returncode == 0, result.stderr
    files = {p: (tmp_path / p).read_text() for p in result.stdout.split()}
    assert "hunter2" not in "".join(files.values()) + result.stderr
    assert not any("kind: Secret\n" in text for text in files.values())

    folder = "cluster/platform/dev/digits"
    config = yaml.safe_load(files[f"{folder}/driftloop-platform.configmap.yaml"])
    assert config["data"]["git-url"] == "https://git.example/c.git"
    repository = yaml.safe_load(config["data"]["artifact-repository"])["s3"]
    assert repository["endpoint"] == "seaweedfs-s3.storage.svc.cluster.local:8333"
    assert repository["insecure"] is True

    sealed = yaml.safe_load(files[f"{folder}/driftloop-platform.sealedsecret.yaml"])
    values = opened(sealed, keys / "old.key", b"digits/driftloop-platform")
    assert "git-password" not in values
    of_git = yaml.safe_load(files[f"{folder}/driftloop-git.sealedsecret.yaml"])
    assert opened(of_git, keys / "old.key", b"digits/driftloop-git") == {
        "git-username": b"bot",
        "git-password": b"hunter2",
    }
    assert len(base64.urlsafe_b64decode(values["webhook-token"] + b"==")) >= 32
    assert values["accesskey"] == values["RCLONE_CONFIG_S3_ACCESS_KEY_ID"]

    store = yaml.safe_load(
        files["cluster/platform/dev/storage/seaweedfs-s3-config.sealedsecret.yaml"]
    )
    identity = yaml.safe_load(
        opened(store, keys / "old.key", b"storage/seaweedfs-s3-config")["digits.json"]
    )
    assert identity["identities"][0]["credentials"][0]["secretKey"].encode() == values["secretkey"]


def test_init_opens_the_network_to_addresses_of_the_user_s_own(keys, tmp_path):
    assert "networkpolicy" not in init(keys, tmp_path).stdout
    keyed = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    own = (
        "--s3-endpoint",
        "http://minio.files.svc:9000",
        "--nats-url",
        "nats://10.1.2.3:4333",
        "--force",
    )
    result = init(keys, tmp_path, *own, "--git-url", "http://git.example:3000/c.git", **keyed)
    assert result.returncode == 0, result.stderr
    files = {p.split("/")[-1]: p for p in result.stdout.split() if "networkpolicy" in p}
    policies = {
        name: yaml.safe_load((tmp_path / path).read_text())["spec"] for name, path in files.items()
    }
    prefix, suffix = "driftloop-platform-", ".networkpolicy.yaml"
    parts = ("git", "git-1", "nats", "nats-1", "s3")
    assert set(policies) == {f"{prefix}{part}{suffix}" for part in parts}
    steps, decision = (
        policies[f"{prefix}{part}{suffix}"]["podSelector"]["matchExpressions"] for part in parts[:2]
    )
    assert steps == [
        {
            "key": "driftloop.dev/reaches",
            "operator": "In",
            "values": ["git", "nats", "nats-broker", "judge"],
        }
    ]
    assert decision[0]["values"] == ["decision"]

    (store,) = policies[f"{prefix}s3{suffix}"]["egress"]
    # the port is the Service's, a policy would want the pods'
    assert store == {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "files"}}}]
    }
    (git,) = policies[f"{prefix}git{suffix}"]["egress"]
    assert git["ports"] == [{"protocol": "TCP", "port": 3000}]
    assert {"ipBlock": {"cidr": "0.0.0.0/0"}} in git["to"]
    (nats,) = policies[f"{prefix}nats{suffix}"]["egress"]
    assert nats == {
        "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}],
        "ports": [{"protocol": "TCP", "port": 4333}],
    }
    listed = yaml.safe_load(
        (tmp_path / "cluster/platform/dev/digits/kustomization.yaml").read_text()
    )["resources"]
    assert set(files) <= set(listed)


def test_init_never_replaces_a_token_unasked(keys, tmp_path):
    assert init(keys, tmp_path).returncode == 0
    again = init(keys, tmp_path)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert init(keys, tmp_path, "--force").returncode == 0


@pytest.mark.parametrize(
    ("args", "env", "says"),
    [
        (["--s3-endpoint", "s3.amazonaws.com"], {}, "must be a URL"),
        (["--s3-endpoint", "https://s3.amazonaws.com"], {}, "keys of the object store are not set"),
        (["--git-url", "https://bot:hunter2@git.example/c.git"], {}, "contains a password"),
        ([], {"AWS_ACCESS_KEY_ID": "x"}, "only one of"),
    ],
)
def test_init_says_what_is_missing(keys, tmp_path, args, env, says):
    result = init(keys, tmp_path, *args, **env)
    assert result.returncode == 1
    assert says in result.stderr
    assert not list(tmp_path.iterdir())
