"""Two clusters of one repository that somebody else has laid out, by the commands that a platform engineer types."""

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cluster.authority import pair

from driftloop.git.repository import Repository
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.clusters import choose_layout
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.release import record
from driftloop.steps.settings import StepSettings
from tests.cli.test_release_commands import A, B, Person
from tests.pipelines import SPEC

FLUX = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: apps, namespace: flux-system}}
spec:
  interval: 10m
  path: ./apps/{cluster}
  prune: true
  sourceRef: {{kind: GitRepository, name: flux-system}}
"""
PLATFORM = """\
apiVersion: driftloop.dev/v1alpha1
kind: Platform
metadata: {{name: {cluster}}}
spec:
  path: clusters/{cluster}
  flux:
    sourceRef: {{name: fleet}}
    dependsOn: [{{name: infra-configs}}, {{name: mesh, namespace: mesh-system}}]
  images:
    registry: registry.acme.example/{cluster}
    mirrors: {{ghcr.io/acme: registry.acme.example/acme}}
    pullSecrets: [acme-registry]
  objectStore:
    endpoint: https://s3.eu-central-1.amazonaws.com
    credentials: workload-identity
    serviceAccountAnnotations: {{eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/{cluster}"}}
  gateway: {{name: public, namespace: gateways, host: models.{cluster}.acme.example}}
"""
WHERE = ("--repository", "cluster.git")


class Engineer(Person):
    """A platform engineer with a repository laid out as Flux' own example has it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.copy = folder / "copy"
        subprocess.run(["git", "clone", "-q", self.remote, self.copy], check=True, stderr=-3)
        for cluster in ("production", "staging"):
            self.writes(f"clusters/{cluster}/flux-system/gotk-sync.yaml", "# by flux bootstrap\n")
            self.writes(f"clusters/{cluster}/apps.yaml", FLUX.format(cluster=cluster))
            self.writes(f"apps/{cluster}/kustomization.yaml", "resources: [../base]\n")
        self.writes("apps/base/kustomization.yaml", "resources: []\n")
        self.pushes()

    def writes(self, path: str, text: str) -> None:
        (self.copy / path).parent.mkdir(parents=True, exist_ok=True)
        (self.copy / path).write_text(text)

    def pushes(self) -> None:
        author = ("-c", "user.name=Eve", "-c", "user.email=eve@example.org")
        for command in (("add", "-A"), ("commit", "-qm", "Change"), ("push", "-q")):
            subprocess.run(["git", "-C", self.copy, *author, *command], check=True)

    def pulls(self) -> None:
        subprocess.run(["git", "-C", self.copy, "pull", "-q", "--ff-only"], check=True)

    def open_cluster(self, cluster: str) -> Repository:
        return Repository(
            str(self.remote),
            guard=refuse_harm,
            workdir=self.folder / f"cache-{cluster}",
            layout=choose_layout(cluster, "main"),
        )

    def read_release(self, cluster: str) -> record.Release:
        opened = self.open_cluster(cluster)
        return pipelines.read_pipeline(opened.tree(opened.tip()), "digits").release

    def move_release(self, cluster: str, *steps) -> None:
        """Commit transitions as a step on that cluster does, with what its container is given."""
        template = f"driftloop/{cluster}/workflows/digits/release.workflowtemplate.yaml"
        layout = re.search(r"DRIFTLOOP_LAYOUT\n +value: '(.+)'", self.show(template))
        assert layout is not None
        given = {"DRIFTLOOP_GIT_URL": f"file://{self.remote}", "DRIFTLOOP_LAYOUT": layout[1]}
        for step in steps:
            pipelines.commit_transition(
                StepSettings(given).open_repository(),
                "digits",
                step,
                lambda before, after: TransitionMessage("Move", after.candidate or A, "x"),
            )

    def show(self, path: str) -> str:
        return self.git("show", f"main:{path}")


@pytest.fixture
def engineer(tmp_path: Path) -> Engineer:
    return Engineer(tmp_path)


def test_a_repository_that_flux_reads_elsewhere_gets_no_files(engineer: Engineer) -> None:
    tip = engineer.git("rev-parse", "main")
    done = engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", "production", code=1)
    assert (
        "Flux reads other folders of the cluster repository than `cluster/production`: clusters/production, clusters/staging"
        in done.stderr
    )
    assert "write driftloop/production/platform.yaml with" in done.stderr
    assert "spec: {path: clusters/production}" in done.stderr
    assert engineer.git("rev-parse", "main") == tip


def test_two_clusters_go_on_by_themselves(engineer: Engineer) -> None:
    for cluster in ("production", "staging"):
        engineer.writes(f"driftloop/{cluster}/platform.yaml", PLATFORM.format(cluster=cluster))
    engineer.pushes()
    done = engineer.types("commit", "pipeline.yaml", *WHERE, code=1)
    assert "the cluster repository has several clusters: production, staging" in done.stderr
    done = engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", "prod", code=1)
    assert "has no cluster `prod`, it has: production, staging" in done.stderr
    for cluster in ("staging", "production"):
        engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", cluster)
    changed = engineer.git("show", "--format=", "--name-only", "main").splitlines()
    assert {path.split("/")[0:2][-1] for path in changed} == {"production"}
    assert "driftloop/production/deployments/digits/release.yaml" in changed
    assert "clusters/production/access/digits.yaml" in changed
    check_flux(engineer, "production")
    check_objects(engineer, "production")

    engineer.move_release(
        "staging",
        lambda release: record.release_first(release, A),
        lambda release: record.start_shadow(release, B),
    )
    engineer.types("promote", "digits", *WHERE, "--on", "staging")
    promoted = engineer.read_release("staging").production
    assert (promoted and promoted.id, engineer.read_release("production").phase) == (B.id, "empty")
    listed = json.loads(engineer.types("list", *WHERE, "-o", "json").stdout)
    assert [(each["clusters"], each["phase"], each["production"]) for each in listed] == [
        (["production"], "empty", None),
        (["staging"], "stable", B.id),
    ]
    done = engineer.types("plan", "pipeline.yaml", *WHERE, "--cluster", "staging")
    assert "digits: nothing changes" in done.stderr
    engineer.pulls()
    done = engineer.types("render", "--into", "copy", "--check")
    assert done.stderr.count(" in copy match ") == 2
    engineer.types("remove", "digits", *WHERE, "--on", "staging")
    engineer.types("remove", "digits", *WHERE, "--on", "staging")
    left = engineer.git("ls-tree", "-r", "--name-only", "main").splitlines()
    assert not [path for path in left if "staging" in path and "digits" in path]
    assert "driftloop/production/deployments/digits/release.yaml" in left


def check_flux(engineer: Engineer, cluster: str) -> None:
    """What Flux reads leads to the rendered folders, through the source and after the Kustomizations that are named."""
    objects = yaml.safe_load_all(engineer.show(f"clusters/{cluster}/pipelines/digits.yaml"))
    specs = [item["spec"] for item in objects]
    assert [spec["path"] for spec in specs] == [
        f"./driftloop/{cluster}/{tree}/digits" for tree in ("workflows", "deployments", "monitors")
    ]
    assert {spec["sourceRef"]["name"] for spec in specs} == {"fleet"}
    first = [(each["name"], each.get("namespace")) for each in specs[0]["dependsOn"]]
    assert first == [("infra-configs", None), ("mesh", "mesh-system")]


def check_objects(engineer: Engineer, cluster: str) -> None:
    """Images come from the mirrors, pods have an identity in place of keys, and steps know where their files are."""
    base = f"driftloop/{cluster}"
    header = f"# Generated by `driftloop render` from {base}/workflows/digits/pipeline.yaml."
    template = engineer.show(f"{base}/workflows/digits/train.workflowtemplate.yaml")
    assert template.startswith(header)
    assert f"image: registry.acme.example/{cluster}/driftloop:" in template
    assert "ghcr.io" not in template
    assert "AWS_ENDPOINT_URL" in template
    assert "AWS_ACCESS_KEY_ID" not in template
    assert f'"root": "{base}"' in template
    account = yaml.safe_load(engineer.show(f"{base}/workflows/digits/train.serviceaccount.yaml"))
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": f"arn:aws:iam::111122223333:role/{cluster}"
    }
    assert account["imagePullSecrets"] == [{"name": "acme-registry"}]
    routes = yaml.safe_load(engineer.show(f"{base}/deployments/digits/unready.virtualservice.yaml"))
    assert routes["spec"]["gateways"] == ["gateways/public"]
    assert routes["spec"]["hosts"] == [f"models.{cluster}.acme.example"]


def test_secrets_of_a_cluster_with_identities_have_no_keys(
    engineer: Engineer, tmp_path: Path
) -> None:
    engineer.writes("driftloop/staging/platform.yaml", PLATFORM.format(cluster="staging"))
    certificate, _ = pair()
    (tmp_path / "cluster.pem").write_bytes(certificate)
    arguments = ("--cert", "cluster.pem", "-n", "digits", "--into", "copy")
    done = engineer.types(
        "secrets", "init", *arguments, "--git-url", "https://git.acme.example/c.git"
    )
    written = done.stdout.splitlines()
    base = "driftloop/staging/platform/digits/driftloop-platform"
    assert f"{base}.configmap.yaml" in written
    config = yaml.safe_load((engineer.copy / f"{base}.configmap.yaml").read_text())["data"]
    assert config["s3-endpoint"] == "https://s3.eu-central-1.amazonaws.com"
    assert yaml.safe_load(config["artifact-repository"])["s3"]["useSDKCreds"] is True
    sealed = yaml.safe_load((engineer.copy / f"{base}.sealedsecret.yaml").read_text())
    assert "webhook-token" in sealed["spec"]["encryptedData"]
    assert "accesskey" not in sealed["spec"]["encryptedData"]
    (flux,) = yaml.safe_load_all((engineer.copy / "clusters/staging/platform.yaml").read_text())
    assert flux["spec"]["path"] == "./driftloop/staging/platform"
    assert flux["spec"]["sourceRef"]["name"] == "fleet"


def test_validate_reads_platform_files(engineer: Engineer) -> None:
    engineer.writes("driftloop/staging/platform.yaml", PLATFORM.format(cluster="staging"))
    engineer.types("validate", "copy/driftloop/staging/platform.yaml")
    engineer.writes("driftloop/other/platform.yaml", PLATFORM.format(cluster="staging"))
    text = PLATFORM.format(cluster="production").replace(
        "kind: Platform", "kind: Platform\nbranch: x"
    )
    engineer.writes("driftloop/production/platform.yaml", text)
    done = engineer.types("validate", "copy", code=1)
    assert "copy/driftloop/production/platform.yaml:3:1: branch is not a known key" in done.stdout
    assert "cluster `staging` is also that of driftloop/other/platform.yaml" in done.stdout
    assert "3 objects" not in done.stderr


def test_what_one_cluster_has_proved_goes_to_the_next(engineer: Engineer) -> None:
    for cluster in ("production", "staging"):
        engineer.writes(f"driftloop/{cluster}/platform.yaml", PLATFORM.format(cluster=cluster))
    engineer.pushes()
    promote = ("promote", "digits", *WHERE, "--to", "production")
    done = engineer.types(*promote, code=1)
    assert "the cluster repository has no pipeline `digits`, it has: none" in done.stderr
    engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", "staging")
    done = engineer.types(*promote, code=1)
    assert "`digits` has no release on `staging` yet" in done.stderr
    engineer.pulls()
    done = engineer.types("render", "--into", "copy", "--check")
    assert done.stderr.count(" in copy match ") == 1
    engineer.move_release("staging", lambda release: record.release_first(release, A))
    assert "--from is `qa`, must be one of: staging" in (
        engineer.types(*promote, "--from", "qa", code=1).stderr
    )

    tip = engineer.git("rev-parse", "main")
    engineer.types(*promote, "--to-branch", "promote-digits")
    assert engineer.git("rev-parse", "main") == tip
    assert engineer.git("rev-parse", "promote-digits^") == tip
    done = engineer.types(*promote, "--to-branch", "promote-digits", code=1)
    assert "has a branch `promote-digits` already" in done.stderr

    done = engineer.types(*promote, "-o", "json")
    assert json.loads(done.stdout)["production"] == A.id
    assert engineer.read_release("production").production == A
    message = engineer.git("log", "-1", "--format=%B", "main")
    assert message.startswith(f"Promote {A.id} of digits from staging to production\n")
    assert f"model: {A.model_digest}" in message
    assert "Measured on held-out rows: accuracy 0.97." in message
    assert f"Production of staging since {commit_time(engineer, tip)}, by {tip}." in message
    assert "Driftloop-Outcome: released" in message
    assert "nothing to change" in engineer.types(*promote).stderr
    compare = ("plan", "pipeline.yaml", *WHERE, "--cluster", "production", "--against", "staging")
    found = json.loads(engineer.types(*compare, "-o", "json").stdout)
    changed = {each["path"]: each["diff"] for each in found["changes"]}
    assert found["settings"] == []
    training = changed["driftloop/production/workflows/digits/train.workflowtemplate.yaml"]
    assert "image: registry.acme.example/staging/driftloop" in training

    engineer.move_release(
        "staging",
        lambda release: record.start_shadow(release, B),
        record.promote_candidate,
    )
    (engineer.folder / "pipeline.yaml").write_text(SPEC.replace("train:train", "train:other"))
    (setting,) = json.loads(engineer.types(*compare, "-o", "json").stdout)["settings"]
    assert (setting["path"], setting["new"]) == ("train.run", "train:other")
    engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", "production")
    done = engineer.types(*promote, "--keep-spec")
    assert "`driftloop promote digits --on production`" in done.stderr
    during = engineer.read_release("production")
    assert (during.phase, during.production, during.candidate) == ("shadow", A, B)
    assert "train:other" in engineer.show("driftloop/production/workflows/digits/pipeline.yaml")
    engineer.types("promote", "digits", *WHERE, "--on", "production")
    after = engineer.read_release("production")
    assert (after.production, after.previous) == (B, A)
    engineer.types("rollback", "digits", *WHERE, "--on", "production", "--unchecked")
    assert engineer.read_release("production").production == A
    assert engineer.read_release("staging").production == B


def test_a_model_that_the_other_cluster_cannot_read_stays(engineer: Engineer) -> None:
    for cluster in ("production", "staging"):
        own = f"https://s3.{cluster}.acme.example"
        text = PLATFORM.format(cluster=cluster)
        text = text.replace("https://s3.eu-central-1.amazonaws.com", own)
        engineer.writes(f"driftloop/{cluster}/platform.yaml", text)
    engineer.pushes()
    engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", "staging")
    engineer.move_release("staging", lambda release: record.release_first(release, A))
    promote = ("promote", "digits", *WHERE, "--from", "staging", "--to", "production")
    done = engineer.types(*promote, code=1)
    assert "are in the object store https://s3.staging.acme.example of `staging`" in done.stderr
    assert "then `--copied`: every pod checks the digests" in done.stderr
    engineer.types(*promote, "--copied")
    assert engineer.read_release("production").production == A


def commit_time(engineer: Engineer, commit: str) -> str:
    at = int(engineer.git("show", "-s", "--format=%ct", commit))
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        (
            "clusters/staging/kustomization.yaml",
            "resources: [apps.yaml, flux-system]\n",
            "clusters/staging/kustomization.yaml does not list access/digits.yaml, pipelines/digits.yaml",
        ),
        (
            "driftloop/staging/platform.yaml",
            PLATFORM.format(cluster="staging").replace("clusters/staging", "clusters/stage"),
            "spec.path is `clusters/stage`, which Flux does not read; it reads: clusters/production, clusters/staging",
        ),
        (".sourceignore", "/*\n!/apps\n!/clusters\n", ".sourceignore leaves out driftloop/staging/workflows/digits"),
    ],
)  # fmt: skip
def test_files_that_flux_does_not_come_to_are_refused(
    engineer: Engineer, path: str, text: str, said: str
) -> None:
    engineer.writes("driftloop/staging/platform.yaml", PLATFORM.format(cluster="staging"))
    engineer.writes(path, text)
    engineer.pushes()
    done = engineer.types("commit", "pipeline.yaml", *WHERE, code=1)
    assert said in done.stderr


LAYOUTS = {
    # one repository for all, each cluster's objects for Flux in a folder that a list leads to
    "list": (
        {
            "clusters/staging/kustomization.yaml": "resources: [apps.yaml, flux-system, access/digits.yaml, pipelines/digits.yaml]\n",
            "driftloop/staging/platform.yaml": PLATFORM.format(cluster="staging"),
        },
        ("clusters/staging/pipelines/digits.yaml", "driftloop/staging/deployments/digits/release.yaml"),
    ),
    # a monorepo: code and clusters together, a folder of each cluster for driftloop
    "monorepo": (
        {
            "services/shop/main.go": "package main\n",
            "infra/clusters/staging/flux-system/gotk-sync.yaml": "# by flux bootstrap\n",
            "infra/driftloop/staging/platform.yaml": "apiVersion: driftloop.dev/v1alpha1\nkind: Platform\n"
            "metadata: {name: staging}\nspec: {path: infra/clusters/staging}\n",
        },
        ("infra/clusters/staging/pipelines/digits.yaml", "infra/driftloop/staging/deployments/digits/release.yaml"),
    ),
    # a repository of one team, which a platform team's Flux follows with a source and an account of its own
    "team": (
        {
            "platform.yaml": "apiVersion: driftloop.dev/v1alpha1\nkind: Platform\nmetadata: {name: staging}\n"
            "spec: {path: deploy, flux: {namespace: team-fraud, sourceRef: {name: team-fraud}, dependsOn: [],"
            " serviceAccountName: team-fraud}}\n",
        },
        ("deploy/pipelines/digits.yaml", "deployments/digits/release.yaml"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repository_of_another_layout_is_joined(engineer: Engineer, layout: str) -> None:
    given, expected = LAYOUTS[layout]
    if layout == "team":
        subprocess.run(["git", "-C", engineer.copy, "rm", "-rq", "."], check=True)
    for path, text in given.items():
        engineer.writes(path, text)
    engineer.pushes()
    engineer.types("commit", "pipeline.yaml", *WHERE)
    changed = engineer.git("show", "--format=", "--name-status", "main").splitlines()
    assert {line.partition("\t")[0] for line in changed} == {"A"}
    assert set(expected) <= {line.partition("\t")[2] for line in changed}
    objects = list(yaml.safe_load_all(engineer.show(expected[0])))
    trees = ("workflows", "deployments", "monitors")
    root = expected[1].partition("deployments")[0]
    assert [item["spec"]["path"] for item in objects] == [
        f"./{root}{tree}/digits" for tree in trees
    ]
    if layout == "team":
        assert {item["metadata"]["namespace"] for item in objects} == {"team-fraud"}
        assert {item["spec"]["serviceAccountName"] for item in objects} == {"team-fraud"}
        assert "dependsOn" not in objects[0]["spec"]
        entry = engineer.show("deploy/access/digits.yaml")
        assert "digits-flux" not in entry


def test_a_platform_file_at_the_root_moves_no_file(engineer: Engineer) -> None:
    """Its cluster had none before, and all that it says are defaults: only where steps look is told them anew."""
    subprocess.run(["git", "-C", engineer.copy, "rm", "-rq", "."], check=True)
    engineer.pushes()
    engineer.types("commit", "pipeline.yaml", *WHERE)
    before = engineer.git("ls-tree", "-r", "--name-only", "main").splitlines()
    engineer.pulls()
    engineer.writes(
        "platform.yaml",
        "apiVersion: driftloop.dev/v1alpha1\nkind: Platform\nmetadata: {name: dev}\n"
        "spec: {path: cluster/dev}\n",
    )
    engineer.pushes()
    engineer.types("commit", "pipeline.yaml", *WHERE)
    assert engineer.git("show", "--format=%s", "--name-status", "main").splitlines()[0] == (
        "Change pipeline digits"
    )
    after = engineer.git("ls-tree", "-r", "--name-only", "main").splitlines()
    assert after == sorted([*before, "platform.yaml"])
    changed = engineer.git("show", "--format=", "-U0", "main").splitlines()
    told = [line for line in changed if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert {line[1:].split(":")[0].strip("- ") for line in told} <= {"name", "value"}


def test_a_spec_that_comes_along_is_looked_at_for_surprises(engineer: Engineer) -> None:
    for cluster in ("production", "staging"):
        engineer.writes(f"driftloop/{cluster}/platform.yaml", PLATFORM.format(cluster=cluster))
    engineer.pushes()
    for cluster in ("production", "staging"):
        engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", cluster)
        engineer.move_release(cluster, lambda release: record.release_first(release, A))
    (engineer.folder / "pipeline.yaml").write_text(SPEC.partition("  monitors:")[0])
    removed = ("--allow", "detector-removed")
    engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", "staging", *removed)
    tip = engineer.git("rev-parse", "main")
    promote = ("promote", "digits", *WHERE, "--to", "production")
    done = engineer.types(*promote, code=1)
    assert "detector-removed" in done.stderr
    assert engineer.git("rev-parse", "main") == tip
    engineer.types(*promote, *removed)
    assert "monitors" not in engineer.show("driftloop/production/workflows/digits/pipeline.yaml")
