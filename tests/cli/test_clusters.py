"""Two clusters of one repository that somebody else has laid out, by the commands that a platform engineer types."""

import subprocess
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
from tests.cli.test_release_commands import A, B, Person

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
        for step in steps:
            pipelines.commit_transition(
                self.open_cluster(cluster),
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
