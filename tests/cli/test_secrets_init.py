"""`driftloop secrets init` for one namespace after another: nothing of the others changes."""

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cluster.authority import pair

from driftloop.cli.lazy import run_group
from driftloop.cli.root import root
from driftloop.cluster import sealing
from driftloop.release import minisign

BIN = Path(os.environ.get("CLUSTER_BIN", "/var/tmp/cluster-bin"))


def program(name):
    return shutil.which(name) or (str(BIN / name) if (BIN / name).exists() else None)


KUBECTL, KUBESEAL = program("kubectl"), program("kubeseal")
INFRASTRUCTURE = Path(__file__).parents[2] / "cluster/infrastructure"
BASE = "cluster/platform/dev"
STORE = f"{BASE}/storage/seaweedfs-s3-config.sealedsecret.yaml"
USERS = f"{BASE}/nats-io/nats-users.sealedsecret.yaml"
ORDERS = [("a", "b", "c"), ("c", "a", "b"), ("b", "c", "a")]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    certificate, private = pair()
    (folder / "cluster.pem").write_bytes(certificate)
    (folder / "cluster.key").write_bytes(private)
    return folder


@pytest.fixture
def init(keys, tmp_path):
    def run(*args, word="init", **env):
        """Run the command to its end, in this process: the libraries load once for all tests."""
        fixed = ["--cert", keys / "cluster.pem"]
        fixed += ["--git-url", "https://git.example/c.git"] if word == "init" else []
        command = ["driftloop", "secrets", word, *map(str, (*fixed, *args))]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(os, "environ", {"PATH": os.environ["PATH"], **env})
            patch.setattr(sys, "argv", command)
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                pytest.raises(SystemExit) as ended,
            ):
                run_group(root)
        return subprocess.CompletedProcess(
            command, int(ended.value.code or 0), out.getvalue(), err.getvalue()
        )

    return run


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.yaml")}


def objects(folder):
    """Objects that kustomize builds of a folder, read by the lists of its files."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    result = {}
    for name in listed:
        if (folder / name).is_dir():
            result |= objects(folder / name)
        else:
            document = yaml.safe_load((folder / name).read_text())
            metadata = document["metadata"]
            result[document["kind"], metadata.get("namespace"), metadata["name"]] = document
    return result


def opened(keys, document):
    label = f"{document['metadata']['namespace']}/{document['metadata']['name']}".encode()
    private = sealing.private_keys([(keys / "cluster.key").read_bytes()])
    sealed = document["spec"]["encryptedData"]
    return {key: sealing.open_value(value, private, label) for key, value in sealed.items()}


def identities(keys, folder):
    """Access key -> secret key, in all of the store's parts."""
    document = yaml.safe_load((folder / STORE).read_text())
    return {
        pair["accessKey"].encode(): pair["secretKey"].encode()
        for value in opened(keys, document).values()
        for identity in json.loads(value)["identities"]
        for pair in identity["credentials"]
    }


def credentials(keys, folder, namespace):
    path = folder / BASE / namespace / "driftloop-platform.sealedsecret.yaml"
    values = opened(keys, yaml.safe_load(path.read_text()))
    return values["accesskey"], values["secretkey"]


@pytest.mark.parametrize("order", ORDERS, ids="".join)
def test_each_namespace_keeps_what_it_has(init, keys, tmp_path, order):
    before = {}
    for namespace in order:
        result = init("-n", namespace)
        assert result.returncode == 0, result.stderr
        after = files(tmp_path)
        shared = {f"{BASE}/kustomization.yaml", f"{BASE}/storage/kustomization.yaml", STORE}
        shared |= {f"{BASE}/storage/seaweedfs-identities.configmap.yaml", USERS}
        assert {p for p in before if after.get(p) != before[p]} <= shared
        before = after

    built = objects(tmp_path / BASE)
    for namespace in order:
        for kind in ("ConfigMap", "SealedSecret"):
            assert (kind, namespace, "driftloop-platform") in built
        assert ("Namespace", None, namespace) in built
    assert identities(keys, tmp_path) == dict(credentials(keys, tmp_path, n) for n in order)
    assert len(identities(keys, tmp_path)) == 3


def opens(keys, folder):
    """Namespace -> what its key may do in the store."""
    values = opened(keys, yaml.safe_load((folder / STORE).read_text()))
    found = (identity for v in values.values() for identity in json.loads(v)["identities"])
    return {identity["name"]: identity["actions"] for identity in found}


def held_bucket(folder, namespace):
    path = folder / BASE / namespace / "driftloop-platform.configmap.yaml"
    return yaml.safe_load(path.read_text())["data"]["s3-bucket"]


def test_a_key_opens_the_buckets_of_its_namespace_and_keeps_them(init, keys, tmp_path):
    assert init("-n", "a").returncode == 0
    assert init("-n", "b", "--data-bucket", "x", "--data-bucket", "y").returncode == 0
    mine = {"a": ["Admin:driftloop-a", "Admin:a"], "b": ["Admin:driftloop-b", "Admin:x", "Admin:y"]}
    assert opens(keys, tmp_path) == mine
    assert held_bucket(tmp_path, "b") == "driftloop-b"
    assert init("-n", "b", "--force").returncode == 0
    assert opens(keys, tmp_path) == mine


def test_a_namespace_from_before_keeps_the_bucket_that_it_shared_and_is_told(init, keys, tmp_path):
    for namespace in "ab":
        assert init("-n", namespace, "--s3-bucket", "driftloop").returncode == 0
        path = tmp_path / BASE / namespace / "driftloop-platform.configmap.yaml"
        document = yaml.safe_load(path.read_text())
        del document["metadata"]["annotations"]
        path.write_text(yaml.safe_dump(document))
    result = init("-n", "a", "--force")
    assert result.returncode == 0
    assert held_bucket(tmp_path, "a") == "driftloop"
    assert "`a` and `b` share the bucket driftloop: each may change it" in result.stderr
    assert opens(keys, tmp_path)["a"] == ["Admin:driftloop", "Admin:a"]
    assert init("-n", "a", "--force", "--s3-bucket", "other").returncode == 0
    assert held_bucket(tmp_path, "a") == "other"


def test_several_at_once_have_credentials_of_their_own(init, keys, tmp_path):
    assert init("-n", "a", "-n", "b", "-n", "a").returncode == 0
    assert init("-n", "c").returncode == 0
    own = dict(credentials(keys, tmp_path, n) for n in "abc")
    assert len(own) == 3
    assert identities(keys, tmp_path) == own


def test_repeating_changes_nothing_and_force_replaces_only_its_own(init, keys, tmp_path):
    for namespace in "abc":
        assert init("-n", namespace).returncode == 0
    before, built = files(tmp_path), set(objects(tmp_path / BASE))
    for args in (("-n", "b"), ("-n", "d", "-n", "b")):
        again = init(*args)
        assert again.returncode == 1
        assert f"{BASE}/b/" in again.stderr
        assert "exists already" in again.stderr
        assert "--force replaces only the credentials of `b`" in again.stderr
        assert files(tmp_path) == before

    old = {n: credentials(keys, tmp_path, n) for n in "abc"}
    result = init("-n", "b", "--force")
    assert result.returncode == 0, result.stderr
    assert "restarts" in result.stderr
    new = {n: credentials(keys, tmp_path, n) for n in "abc"}
    assert {n for n in "abc" if old[n] != new[n]} == {"b"}
    assert identities(keys, tmp_path) == dict(new.values())
    assert set(objects(tmp_path / BASE)) == built


def test_what_a_person_added_stays(init, tmp_path):
    assert init("-n", "a").returncode == 0
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "a"}}
    for folder in (tmp_path / BASE, tmp_path / BASE / "a"):
        (folder / "extra.yaml").write_text(yaml.safe_dump(extra))
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())
        listed["resources"].append("extra.yaml")
        listed["commonAnnotations"] = {"team": "fraud"}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(listed))
    flux = tmp_path / "cluster/dev/platform.yaml"
    flux.write_text(flux.read_text().replace("interval: 10m", "interval: 20m"))
    assert init("-n", "b").returncode == 0
    assert init("-n", "a", "--force").returncode == 0
    for folder in (tmp_path / BASE, tmp_path / BASE / "a"):
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())
        assert "extra.yaml" in listed["resources"]
        assert listed["commonAnnotations"] == {"team": "fraud"}
    assert "interval: 20m" in flux.read_text()


def test_a_policy_for_an_address_that_is_no_longer_used_goes(init, tmp_path):
    keyed = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    assert init("-n", "a", "--nats-url", "nats://10.1.2.3:4333").returncode == 0
    assert init("-n", "b", "--s3-endpoint", "http://minio.files:9000", **keyed).returncode == 0
    policy = ("NetworkPolicy", "a", "driftloop-platform-nats")
    assert policy in objects(tmp_path / BASE)
    assert init("-n", "a", "--force").returncode == 0
    built = objects(tmp_path / BASE)
    assert policy not in built
    assert not (tmp_path / BASE / "a/driftloop-platform-nats.networkpolicy.yaml").exists()
    assert ("NetworkPolicy", "b", "driftloop-platform-s3") in built


def test_an_identity_that_several_namespaces_share_stays_until_each_has_its_own(
    init, keys, tmp_path
):
    """A tree from before namespaces had identities of their own."""
    for namespace in "ab":
        assert init("-n", namespace).returncode == 0
    document = yaml.safe_load((tmp_path / STORE).read_text())
    shared = opened(keys, document)["a.json"]
    public = sealing.certificate((keys / "cluster.pem").read_bytes())
    label = b"storage/seaweedfs-s3-config"
    document["spec"]["encryptedData"] = {
        "seaweedfs_s3_config": sealing.seal_value(shared, public, label)
    }
    del document["spec"]["template"]["data"]
    (tmp_path / STORE).write_text(yaml.safe_dump(document))

    first = set(identities(keys, tmp_path))
    assert init("-n", "c").returncode == 0
    assert set(identities(keys, tmp_path)) == first | {credentials(keys, tmp_path, "c")[0]}
    assert init("-n", "a", "--force").returncode == 0
    assert first < set(identities(keys, tmp_path))
    assert init("-n", "b", "--force").returncode == 0
    assert identities(keys, tmp_path) == dict(credentials(keys, tmp_path, n) for n in "abc")


@pytest.mark.parametrize(
    ("args", "env", "message"),
    [
        (["-n", "storage"], {}, "`storage` is a namespace of the platform"),
        (["-n", "../x"], {}, "namespace `../x` must be at most 63 lower-case letters"),
        (
            ["-n", "a", "-n", "b"],
            {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"},
            "AWS_ACCESS_KEY_ID holds the key of one namespace, 2 are named: a, b",
        ),
    ],
)
def test_a_wrong_namespace_is_refused(init, tmp_path, args, env, message):
    result = init(*args, **env)
    assert result.returncode == 1
    assert message in result.stderr
    assert not files(tmp_path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (STORE, "kind: SealedSecret\n"),
        (STORE, "a: [\n"),
        (f"{BASE}/kustomization.yaml", "resources: 3\n"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_written(init, tmp_path, path, text):
    assert init("-n", "a").returncode == 0
    (tmp_path / path).write_text(text)
    before = files(tmp_path)
    result = init("-n", "b")
    assert result.returncode == 1
    assert path in result.stderr
    assert "Traceback" not in result.stderr
    assert files(tmp_path) == before


def test_the_store_s_pod_is_replaced_when_its_identities_change(init, tmp_path):
    """The HelmRelease takes the ConfigMap, which comes only once the store may be running."""
    path = tmp_path / BASE / "storage/seaweedfs-identities.configmap.yaml"
    assert init("-n", "a").returncode == 0
    assert not path.exists()
    seen = []
    for args in (("-n", "b"), ("-n", "a", "--force")):
        assert init(*args).returncode == 0
        config = yaml.safe_load(path.read_text())
        assert config["metadata"]["labels"]["reconcile.fluxcd.io/watch"] == "Enabled"
        seen.append(yaml.safe_load(config["data"]["values.yaml"])["allInOne"]["podAnnotations"])
    assert seen[0] != seen[1]
    files = yaml.safe_load_all((INFRASTRUCTURE / "controllers/seaweedfs.yaml").read_text())
    (release,) = (d for d in files if d["kind"] == "HelmRelease")
    (values,) = release["spec"]["valuesFrom"]
    place = config["metadata"]["namespace"], config["metadata"]["name"]
    assert (release["metadata"]["namespace"], values["name"]) == place
    assert values["optional"] is True


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on this machine")
def test_kustomize_builds_the_objects_of_all_three(init, tmp_path):
    for namespace in "bca":
        assert init("-n", namespace).returncode == 0
    assert init("-n", "a", "--force").returncode == 0
    result = subprocess.run(
        [KUBECTL, "kustomize", tmp_path / BASE], capture_output=True, text=True, check=True
    )
    built = {
        (d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d
        for d in yaml.safe_load_all(result.stdout)
    }
    assert built == objects(tmp_path / BASE)
    assert {("SealedSecret", n, "driftloop-platform") for n in "abc"} <= set(built)
    assert ("ConfigMap", "flux-system", "seaweedfs-identities") in built


@pytest.mark.skipif(KUBESEAL is None, reason="kubeseal is not on this machine")
def test_the_controller_s_own_code_joins_the_identities(init, keys, tmp_path):
    for namespace in "cab":
        assert init("-n", namespace).returncode == 0
    recovered = subprocess.run(
        [KUBESEAL, "--recovery-unseal", "--recovery-private-key", keys / "cluster.key", "-o=yaml"],
        input=(tmp_path / STORE).read_text(),
        capture_output=True,
        text=True,
        check=True,
    )
    data = yaml.safe_load(recovered.stdout)["data"]
    config = json.loads(base64.b64decode(data["seaweedfs_s3_config"]))
    assert [identity["name"] for identity in config["identities"]] == ["a", "b", "c"]
    assert {
        p["accessKey"].encode(): p["secretKey"].encode()
        for i in config["identities"]
        for p in i["credentials"]
    } == identities(keys, tmp_path)


def signing(keys, folder, namespace):
    """The key that signs, out of its sealed Secret, and the names of those that are trusted."""
    home = folder / BASE / namespace
    sealed = yaml.safe_load((home / "driftloop-signing.sealedsecret.yaml").read_text())
    (text,) = opened(keys, sealed).values()
    config = yaml.safe_load((home / "driftloop-platform.configmap.yaml").read_text())
    trusted = minisign.read_public_keys(config["data"]["signing-keys"], label="x")
    return minisign.read_signing_key(text.decode(), label="x"), [key.name for key in trusted]


def test_each_namespace_signs_with_a_key_of_its_own_and_rotates_it(init, keys, tmp_path):
    assert init("-n", "a", "-n", "b").returncode == 0
    first, trusted = signing(keys, tmp_path, "a")
    assert trusted == [first.public.name]
    assert signing(keys, tmp_path, "b")[0] != first
    assert ("SealedSecret", "a", "driftloop-signing") in objects(tmp_path / BASE)
    assert all(first.text.encode() not in text for text in files(tmp_path).values())

    before = files(tmp_path)
    result = init("-n", "a", word="signing-key")
    assert result.returncode == 0, result.stderr
    second, trusted = signing(keys, tmp_path, "a")
    assert trusted == [second.public.name, first.public.name]
    assert second.public.name in result.stderr
    after = files(tmp_path)
    assert {path for path in after if after[path] != before.get(path)} == {
        f"{BASE}/a/driftloop-signing.sealedsecret.yaml",
        f"{BASE}/a/driftloop-platform.configmap.yaml",
    }

    own = minisign.make_signing_key()
    assert init("-n", "a", word="signing-key", DRIFTLOOP_SIGNING_KEY=own.text).returncode == 0
    assert signing(keys, tmp_path, "a")[0] == own
    assert init("-n", "a", "--force").returncode == 0
    last, trusted = signing(keys, tmp_path, "a")
    assert trusted == [key.public.name for key in (last, own, second, first)]


def test_a_namespace_from_before_gets_its_key_and_keeps_the_rest(init, keys, tmp_path):
    assert init("-n", "a").returncode == 0
    home = tmp_path / BASE / "a"
    (home / "driftloop-signing.sealedsecret.yaml").unlink()
    for name in ("driftloop-platform.configmap.yaml", "kustomization.yaml"):
        document = yaml.safe_load((home / name).read_text())
        if "data" in document:
            del document["data"]["signing-keys"]
        else:
            document["resources"].remove("driftloop-signing.sealedsecret.yaml")
        (home / name).write_text(yaml.safe_dump(document))
    old = credentials(keys, tmp_path, "a")
    result = init("-n", "a", word="signing-key")
    assert result.returncode == 0, result.stderr
    key, trusted = signing(keys, tmp_path, "a")
    assert trusted == [key.public.name]
    assert credentials(keys, tmp_path, "a") == old
    assert ("SealedSecret", "a", "driftloop-signing") in objects(tmp_path / BASE)


@pytest.mark.parametrize(
    ("namespace", "env", "message"),
    [
        ("b", {}, f"{BASE}/b/driftloop-platform.configmap.yaml does not exist"),
        ("a", {"DRIFTLOOP_SIGNING_KEY": "x"}, "DRIFTLOOP_SIGNING_KEY is not a minisign secret key"),
    ],
)
def test_a_signing_key_that_can_not_be_made_changes_nothing(
    init, tmp_path, namespace, env, message
):
    assert init("-n", "a").returncode == 0
    before = files(tmp_path)
    result = init("-n", namespace, word="signing-key", **env)
    assert result.returncode == 1
    assert message in result.stderr
    assert files(tmp_path) == before


TRACKING = f"{BASE}/a/driftloop-tracking.sealedsecret.yaml"


def test_a_tracking_server_s_credential_is_sealed_and_outlives_others(init, keys, tmp_path):
    assert init("-n", "a").returncode == 0
    assert not (tmp_path / TRACKING).exists()
    before = files(tmp_path)
    result = init("-n", "a", word="tracking", MLFLOW_TRACKING_TOKEN="t0ken-of-mlflow")
    assert result.returncode == 0, result.stderr
    changed = {path for path, text in files(tmp_path).items() if before.get(path) != text}
    assert changed == {TRACKING, f"{BASE}/a/kustomization.yaml"}
    assert ("SealedSecret", "a", "driftloop-tracking") in objects(tmp_path / BASE)
    assert all(b"t0ken" not in text for text in files(tmp_path).values())
    sealed = yaml.safe_load((tmp_path / TRACKING).read_text())
    assert opened(keys, sealed) == {"mlflow-token": b"t0ken-of-mlflow"}
    assert init("-n", "a", "--force").returncode == 0
    assert ("SealedSecret", "a", "driftloop-tracking") in objects(tmp_path / BASE)


@pytest.mark.parametrize(
    ("namespace", "env", "message"),
    [
        ("a", {}, "the credential of the tracking server is not set"),
        ("a", {"MLFLOW_TRACKING_USERNAME": "eve"}, "the credential of the tracking server is not set"),
        ("b", {"MLFLOW_TRACKING_TOKEN": "x"}, f"{BASE}/b/driftloop-platform.configmap.yaml does not exist"),
    ],
)  # fmt: skip
def test_half_a_credential_of_a_tracking_server_changes_nothing(
    init, tmp_path, namespace, env, message
):
    assert init("-n", "a").returncode == 0
    before = files(tmp_path)
    result = init("-n", namespace, word="tracking", **env)
    assert result.returncode == 1
    assert message in result.stderr
    assert files(tmp_path) == before
