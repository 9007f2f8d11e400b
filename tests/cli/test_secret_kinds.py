"""Secrets by the kind that a platform file says, by the commands that a platform engineer types. `--update` records anew."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from cluster.authority import pair
from support.commands import type_command

from driftloop.errors import PipelineError
from driftloop.operations.commits.guard import refuse_harm
from driftloop.platform import parse_platform
from driftloop.render import render_tree
from tests.golden.trees import spec_text

RECORDED = Path(__file__).parents[1] / "platform_file" / "secrets"
VALIDATOR = Path(__file__).parents[3] / "shared" / "bin" / "validate-manifests"
TOOLS = Path(os.environ.get("SOPS_BIN", "/var/tmp/sops-bin"))
SOPS, KEYGEN = (
    shutil.which(name) or (str(TOOLS / name) if (TOOLS / name).exists() else None)
    for name in ("sops", "age-keygen")
)
with_sops = pytest.mark.skipif(
    None in (SOPS, KEYGEN), reason="sops and age-keygen are not on this machine"
)
KINDS = {
    "sealed-secrets": "{type: sealed-secrets}",
    "external-secrets": "{type: external-secrets, store: {name: vault}}",
    "sops": "{type: sops, age: [AGE]}",
    "others": "{type: others}",
}
PLATFORM = """\
apiVersion: driftloop.dev/v1alpha1
kind: Platform
metadata: {{name: prod}}
spec:
  path: clusters/prod
  secrets: {secrets}
"""
RULES = "creation_rules: [{path_regex: '^driftloop/prod/platform/.*secret.yaml$', age: AGE}]\n"
HOME = "driftloop/prod/platform"


class Engineer:
    """A platform engineer with a working copy, and the keys of its cluster."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind, self.age = folder, kind, "age1" + "q" * 58
        self.copy = folder / "copy"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        if kind == "sealed-secrets":
            (folder / "cluster.pem").write_bytes(pair()[0])
        if kind == "sops" and SOPS and KEYGEN:
            self.environment["PATH"] = f"{Path(SOPS).parent}:{os.environ['PATH']}"
            made = subprocess.run(
                [KEYGEN, "-o", folder / "key.txt"], capture_output=True, text=True, check=True
            )
            self.age = re.search(r"age1\w+", made.stderr)[0]
        self.says(KINDS[kind])

    def says(self, secrets: str) -> None:
        """Write the platform file."""
        path = self.copy / "driftloop/prod/platform.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PLATFORM.format(secrets=secrets.replace("AGE", self.age)))

    def types(self, *words: str, code: int = 0, **environment: str):
        where = ("--cert", "cluster.pem") if (self.folder / "cluster.pem").exists() else ()
        return type_command(
            "secrets",
            *words,
            *where,
            "--into",
            "copy",
            folder=self.folder,
            environment=self.environment | environment,
            code=code,
        )

    def init(self, *words: str, code: int = 0, **environment: str):
        address = ("--git-url", "https://git.acme.example/c.git")
        return self.types("init", *address, *words, code=code, **environment)

    def read(self, path: str):
        return yaml.safe_load((self.copy / path).read_text())

    def decrypt(self, path: str) -> dict[str, str]:
        done = subprocess.run(
            [SOPS, "decrypt", self.copy / path],
            env=self.environment | {"SOPS_AGE_KEY_FILE": str(self.folder / "key.txt")},
            capture_output=True,
            text=True,
            check=True,
        )
        return yaml.safe_load(done.stdout)["stringData"]


@pytest.fixture
def engineer(tmp_path: Path, request: pytest.FixtureRequest) -> Engineer:
    return Engineer(tmp_path, request.param)


def using(kind: str):
    return pytest.mark.parametrize("engineer", [kind], indirect=True)


def record(engineer: Engineer) -> str:
    """Everything that is written, and the rights of Flux, with what is encrypted or random left out."""
    ground = parse_platform(
        (engineer.copy / "driftloop/prod/platform.yaml").read_text(),
        path="driftloop/prod/platform.yaml",
    )
    tree = render_tree(spec_text("minimal"), None, platform=ground)
    access = yaml.safe_load_all(tree["cluster/prod/access/minimal.yaml"])
    role = next(each for each in access if each["kind"] == "Role")
    files = {
        str(path.relative_to(engineer.copy)): path.read_text()
        for path in engineer.copy.rglob("*.yaml")
    } | {"clusters/prod/access/minimal.yaml, its Role": yaml.safe_dump(role, sort_keys=False)}
    text = "".join(f"---\n# Source: {path}\n{files[path]}" for path in sorted(files))
    text = re.sub(r"ENC\[AES256_GCM[^\]]*\]", "ENC[...]", text)
    text = re.sub(r"(?m)^    sops:|^sops:(\n[ ].*)+", "sops: {...}", text)
    text = re.sub(r"A[gQ][A-Za-z0-9+/=]{300,}", "A...", text)
    text = re.sub(r"RW[A-Za-z0-9+/=]{54}", "RW...", text)
    return text.replace(engineer.age, "age1...")


@pytest.mark.parametrize(
    "engineer", [*list(KINDS)[:2], pytest.param("sops", marks=with_sops), "others"], indirect=True
)
def test_what_stands_in_git_is_as_recorded(engineer: Engineer, update: bool) -> None:
    engineer.init("-n", "minimal")
    file = RECORDED / f"{engineer.kind}.yaml"
    if update:
        file.parent.mkdir(exist_ok=True)
        file.write_text(record(engineer))
    assert record(engineer) == file.read_text()
    for path in engineer.copy.rglob("*.yaml"):
        refuse_harm({}, {str(path): path.read_text()})


@pytest.mark.skipif(not VALIDATOR.exists(), reason="the schemas of a real API server are not here")
@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_git_fits_the_schemas_of_a_real_cluster(kind: str, tmp_path: Path) -> None:
    objects = [
        each
        for each in yaml.safe_load_all((RECORDED / f"{kind}.yaml").read_text())
        if each["kind"] != "Platform" and not each["apiVersion"].startswith("kustomize.config")
    ]
    for each in objects:
        each.pop("sops", None)
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(objects))
    done = subprocess.run(
        [VALIDATOR, "--skip-unknown-kinds", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@using("external-secrets")
def test_the_store_gets_what_the_objects_name(engineer: Engineer) -> None:
    done = engineer.init("-n", "a", "-n", "b", "--values", "values.json")
    assert "others make these Secrets, with these keys:" in done.stderr
    assert "a/driftloop-git: git-username, git-password" in done.stderr
    handed = json.loads((engineer.folder / "values.json").read_text())
    assert (engineer.folder / "values.json").stat().st_mode & 0o777 == 0o600
    named = {}
    for path in (engineer.copy / HOME).rglob("*.externalsecret.yaml"):
        found = engineer.read(str(path.relative_to(engineer.copy)))
        assert found["spec"]["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "vault"}
        for value in found["spec"]["data"]:
            place = value["remoteRef"]
            named.setdefault(place["key"], set()).add(place["property"])
    assert {entry: set(values) for entry, values in handed.items()} == named
    assert set(handed["driftloop/a/nats-users"]) == {"users"}
    url = handed["driftloop/a/driftloop-platform"]["nats-decision"]
    assert url.startswith("nats://a_decision:")
    config = engineer.read(f"{HOME}/a/driftloop-platform.configmap.yaml")["data"]
    assert config["signing-keys"].startswith("RW")
    assert handed["driftloop/a/driftloop-signing"]["signing-key"] not in config["signing-keys"]


@using("external-secrets")
def test_further_namespaces_are_added_without_the_values_of_others(engineer: Engineer) -> None:
    engineer.init("-n", "a")
    done = engineer.init("-n", "b", "--console-url", "https://console.acme.example")
    assert "no key that signs releases is known, so that none is trusted" in done.stderr
    assert "restarts when Flux applies this" in done.stderr
    users = engineer.read(f"{HOME}/nats-io/nats-users.externalsecret.yaml")["spec"]
    assert {each["secretKey"]: each["remoteRef"]["key"] for each in users["data"]} == {
        "_knative.conf": "driftloop/nats-io/nats-users",
        "a.conf": "driftloop/a/nats-users",
        "b.conf": "driftloop/b/nats-users",
    }
    config = engineer.read(f"{HOME}/b/driftloop-platform.configmap.yaml")["data"]
    assert (config["console-url"], config["signing-keys"]) == ("https://console.acme.example", "")
    engineer.init("-n", "b", "--force", "--values", "values.json")
    config = engineer.read(f"{HOME}/b/driftloop-platform.configmap.yaml")["data"]
    assert config["console-url"] == "https://console.acme.example"
    assert "driftloop/a/nats-users" not in (engineer.folder / "values.json").read_text()


@using("external-secrets")
def test_a_store_without_properties_has_an_entry_for_each_key(engineer: Engineer) -> None:
    engineer.says(
        "{type: external-secrets, store: {name: azure, kind: SecretStore},\n"
        '    remoteKey: "{namespace}-{name}-{key}", refresh: 30m}'
    )
    engineer.init("-n", "a", "--values", "values.json")
    spec = engineer.read(f"{HOME}/a/driftloop-git.externalsecret.yaml")["spec"]
    assert spec["refreshInterval"] == "30m"
    assert [each["remoteRef"] for each in spec["data"]] == [
        {"key": "a-driftloop-git-git-username"},
        {"key": "a-driftloop-git-git-password"},
    ]
    handed = json.loads((engineer.folder / "values.json").read_text())
    assert handed["a-nats-users-users"].startswith('"a_detector"')


@with_sops
@using("sops")
def test_sops_encrypts_what_flux_decrypts(engineer: Engineer) -> None:
    engineer.init("-n", "a", DRIFTLOOP_GIT_USERNAME="bot", DRIFTLOOP_GIT_PASSWORD="hunter2")
    assert "hunter2" not in "".join(p.read_text() for p in engineer.copy.rglob("*.yaml"))
    git = f"{HOME}/a/driftloop-git.secret.yaml"
    assert engineer.decrypt(git) == {"git-username": "bot", "git-password": "hunter2"}
    flux = engineer.read("clusters/prod/platform.yaml")["spec"]
    assert flux["decryption"] == {"provider": "sops", "secretRef": {"name": "sops-age"}}
    before = engineer.decrypt(f"{HOME}/nats-io/nats-users.secret.yaml")
    assert before["users.conf"].startswith("accounts {\n")

    done = engineer.init("-n", "b", code=1)
    assert "`sops decrypt` of driftloop/prod/platform/nats-io/nats-users.secret.yaml failed" in (
        done.stderr
    )
    assert "SOPS_AGE_KEY_FILE names that of age" in done.stderr
    engineer.says("{type: sops}")
    (engineer.copy / ".sops.yaml").write_text(RULES.replace("AGE", engineer.age))
    engineer.init("-n", "b", SOPS_AGE_KEY_FILE="key.txt")
    after = engineer.decrypt(f"{HOME}/nats-io/nats-users.secret.yaml")
    assert before["a.conf"] == after["a.conf"]
    assert after["a.conf"] + after["b.conf"] in after["users.conf"]
    store = engineer.decrypt(f"{HOME}/storage/seaweedfs-s3-config.secret.yaml")
    names = [each["name"] for each in json.loads(store["seaweedfs_s3_config"])["identities"]]
    assert names == ["a", "b"]
    text = (engineer.copy / git).read_text()
    refuse_harm({}, {git: text})
    plain = re.sub(r"git-username: ENC\[.*\]", "git-username: bot", text)
    with pytest.raises(PipelineError, match="holds a plain Secret"):
        refuse_harm({}, {git: plain})
    (engineer.copy / git).write_text(plain)
    done = type_command("validate", f"copy/{HOME}", folder=engineer.folder, code=1)
    assert done.stdout.count("DL801") == 1


@with_sops
@using("sops")
def test_any_other_secret_is_encrypted_for_the_cluster(engineer: Engineer) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "a"}}
    text = yaml.safe_dump({**secret, "stringData": {"token": "hunter2"}})
    (engineer.folder / "x.yaml").write_text(text)
    words = ("seal", "--cluster", "prod", "--into", "copy", "x.yaml")
    done = type_command(*words, folder=engineer.folder, environment=engineer.environment)
    (engineer.copy / "x.secret.yaml").write_text(done.stdout)
    assert "hunter2" not in done.stdout
    assert engineer.decrypt("x.secret.yaml") == {"token": "hunter2"}
    engineer.says(KINDS["external-secrets"])
    done = type_command(*words, folder=engineer.folder, environment=engineer.environment)
    made = yaml.safe_load(done.stdout)["spec"]["data"]
    assert made == [
        {"secretKey": "token", "remoteRef": {"key": "driftloop/a/x", "property": "token"}}
    ]
    assert "the store must hold a/x: token" in done.stderr
    engineer.says(KINDS["others"])
    done = type_command(*words, folder=engineer.folder, environment=engineer.environment, code=1)
    assert "are made by others, nothing of them stands in git" in done.stderr


@with_sops
@using("sops")
def test_without_keys_the_error_says_where_they_are_named(engineer: Engineer) -> None:
    engineer.says("{type: sops}")
    done = engineer.init("-n", "a", code=1)
    assert "`sops encrypt` of driftloop/prod/platform/a/driftloop-platform.secret.yaml failed" in (
        done.stderr
    )
    assert "`spec.secrets.age` or `spec.secrets.pgp` of the platform file" in done.stderr


@using("sops")
def test_without_sops_the_error_says_what_to_install(engineer: Engineer) -> None:
    done = engineer.init("-n", "a", code=1, PATH="/nonexistent")
    assert "the program `sops` is not on this machine" in done.stderr
    assert "install sops 3.9 or newer and put it on PATH" in done.stderr
    assert not (engineer.copy / HOME).exists()


@using("others")
def test_others_are_told_what_they_must_make(engineer: Engineer) -> None:
    done = engineer.init("-n", "minimal", "--values", "secrets.yaml")
    assert "minimal/driftloop-platform: accesskey, secretkey, nats-" in done.stderr
    assert "nats-io/nats-users: minimal.conf, _knative.conf, users.conf" in done.stderr
    written = [path.name for path in engineer.copy.rglob("*.yaml")]
    assert not [name for name in written if "secret" in name]
    made = list(yaml.safe_load_all((engineer.folder / "secrets.yaml").read_text()))
    assert {each["kind"] for each in made} == {"Secret"}
    (engineer.folder / "pipeline.yaml").write_text(spec_text("minimal"))
    words = ("plan", "pipeline.yaml", "--into", "copy")
    done = type_command(*words, folder=engineer.folder, environment=engineer.environment)
    assert "secrets that others make" in done.stdout
    assert "  minimal/driftloop-git: git-password, git-username\n" in done.stdout
    done = type_command(
        *words, "-o", "json", folder=engineer.folder, environment=engineer.environment
    )
    listed = {each["name"]: each["keys"] for each in json.loads(done.stdout)["secrets"]}
    keys = {each["metadata"]["name"]: each["stringData"].keys() for each in made}
    assert set(listed["driftloop-platform"]) <= keys["driftloop-platform"]


REFUSED = [
    ("others", ("-n", "a", "--values", "copy/x.yaml"), "in the working copy: git never forgets"),
    ("others", ("-n", "a", "--values", "key.txt"), "key.txt exists already"),
    ("sealed-secrets", ("-n", "a", "--values", "x"), "--values is for Secrets that others make"),
    ("external-secrets", ("-n", "a", "--cert", "key.txt"), "--cert is for Sealed Secrets"),
]


@pytest.mark.parametrize(
    ("engineer", "words", "says"),
    REFUSED,
    indirect=["engineer"],
    ids=[f"{each[0]}-{each[1][2]}" for each in REFUSED],
)
def test_options_of_another_kind_are_refused(engineer: Engineer, words, says: str) -> None:
    (engineer.folder / "key.txt").write_text("x")
    assert says in engineer.init(*words, code=1).stderr
    assert not (engineer.copy / HOME).exists()


@using("others")
def test_values_of_some_take_nothing_from_others(engineer: Engineer) -> None:
    engineer.init("-n", "a")
    done = engineer.init("-n", "b", "--values", "values.yaml", code=1)
    assert "--values without a would take theirs away" in done.stderr
    assert not (engineer.folder / "values.yaml").exists()
    engineer.init("-n", "b")
    engineer.init("-n", "a", "-n", "b", "--force", "--values", "values.yaml")
    made = yaml.safe_load_all((engineer.folder / "values.yaml").read_text())
    shared = {each["metadata"]["name"]: each["stringData"] for each in made}
    assert {"a.conf", "b.conf", "_knative.conf", "users.conf"} == shared["nats-users"].keys()


@using("others")
def test_a_new_signing_key_goes_somewhere(engineer: Engineer) -> None:
    engineer.init("-n", "a")
    done = engineer.types("signing-key", "-n", "a", code=1)
    assert "a new key would go nowhere: others make the Secrets of cluster `prod`" in done.stderr
    engineer.types("signing-key", "-n", "a", "--values", "key.yaml")
    config = engineer.read(f"{HOME}/a/driftloop-platform.configmap.yaml")["data"]
    assert config["signing-keys"].startswith("RW")
    done = engineer.types("tracking", "-n", "a", MLFLOW_TRACKING_TOKEN="t")
    assert "a/driftloop-tracking: mlflow-token" in done.stderr


@using("sealed-secrets")
def test_another_kind_replaces_the_files_of_the_first(engineer: Engineer) -> None:
    engineer.init("-n", "a")
    engineer.init("-n", "b")
    (engineer.folder / "cluster.pem").unlink()
    engineer.says(KINDS["external-secrets"])
    done = engineer.init("-n", "a", "--force")
    assert f"removed {HOME}/nats-io/nats-users.sealedsecret.yaml" in done.stderr
    assert "`b` has no user in NATS, which lets nobody in without" in done.stderr
    engineer.init("-n", "b", "--force")
    assert not list(engineer.copy.rglob("*.sealedsecret.yaml"))
    for folder in ("a", "nats-io", "storage"):
        listed = engineer.read(f"{HOME}/{folder}/kustomization.yaml")["resources"]
        assert not [name for name in listed if "sealedsecret" in name]
    assert "healthCheckExprs" not in engineer.read("clusters/prod/platform.yaml")["spec"]
