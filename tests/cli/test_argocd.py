"""A repository that Argo CD follows, by the commands that a platform engineer and a team type."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.authority import pair

from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits.remove import remove_pipeline
from driftloop.operations.commits.target import open_target
from driftloop.operations.ground.place import StateChoice
from tests.cli.test_clusters import Engineer

PLATFORM = """\
apiVersion: driftloop.dev/v1alpha1
kind: Platform
metadata: {name: prod}
spec:
  path: clusters/prod
  follows: argocd
  argocd: {repository: "https://git.acme.example/ml/fleet.git"}
"""
WHERE = ("--repository", "cluster.git")


@pytest.fixture
def engineer(tmp_path: Path) -> Engineer:
    found = Engineer(tmp_path)
    found.writes("driftloop/prod/platform.yaml", PLATFORM)
    found.pushes()
    return found


def test_a_commit_brings_applications_where_argo_cd_reads(engineer: Engineer) -> None:
    engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", "prod")
    applications = list(yaml.safe_load_all(engineer.show("clusters/prod/pipelines/digits.yaml")))
    assert [each["spec"]["source"]["path"] for each in applications] == [
        f"driftloop/prod/{tree}/digits" for tree in ("workflows", "deployments", "monitors")
    ]
    template = engineer.show("driftloop/prod/workflows/digits/release.workflowtemplate.yaml")
    assert '"argocdNamespace": "argocd"' in template
    assert "namespace.yaml" not in engineer.show(
        "driftloop/prod/workflows/digits/kustomization.yaml"
    )


def test_messages_name_argo_cd(engineer: Engineer) -> None:
    other = ("commit", "pipeline.yaml", *WHERE, "--cluster", "prod", "--branch", "next")
    engineer.git("branch", "next", "main")
    refused = engineer.types(*other, code=1).stderr
    assert "Argo CD follows branch `main` on cluster `prod`, this is `next`" in refused
    engineer.writes("clusters/prod/kustomization.yaml", "resources: []\n")
    engineer.pushes()
    hidden = engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", "prod", code=1).stderr
    assert (
        "does not list access/digits.yaml, pipelines/digits.yaml: Argo CD reads what it lists"
        in hidden
    )
    assert "with an Application with `directory.recurse` of that path" in hidden


def test_what_argo_cd_needs_of_an_engineer_is_printed(engineer: Engineer) -> None:
    engineer.pulls()
    (engineer.folder / "platform.yaml").write_text(PLATFORM)
    printed = engineer.types("platform", "argocd", "platform.yaml").stdout
    application = yaml.safe_load(printed)
    patch = yaml.safe_load(engineer.types("platform", "argocd", "platform.yaml", "--health").stdout)
    assert application["spec"]["source"] == {
        "repoURL": "https://git.acme.example/ml/fleet.git",
        "targetRevision": "main",
        "path": "clusters/prod",
        "directory": {"recurse": True},
    }
    assert "finalizers" not in application["metadata"]
    assert patch.keys() == {"data"}, "a patch leaves the other keys and the label as they are"
    assert all(key.startswith("resource.customizations.health.") for key in patch["data"])
    flux = PLATFORM.replace("follows: argocd", "follows: flux").replace("  argocd:", "  # argocd:")
    (engineer.folder / "platform.yaml").write_text(flux)
    refused = engineer.types("platform", "argocd", "platform.yaml", code=1).stderr
    assert "platform.yaml: Flux follows the repository, must be `follows: argocd`" in refused


class Api:
    """The Applications of a cluster, which go away one by one."""

    def __init__(self) -> None:
        self.left = ["digits-workflows", "digits-deployments", "digits-monitors"]
        self.refreshed: list[tuple[str, str]] = []

    def request_refresh(self, namespace: str, application: str) -> str | None:
        self.refreshed.append((namespace, application))
        return None if len(self.refreshed) == 1 else "answered 403"

    def get_application(self, namespace: str, name: str) -> dict[str, Any] | None:
        assert namespace == "argocd"
        if name == "digits-workflows":
            self.left.pop()
        return {} if name in self.left else None


def test_a_pipeline_goes_when_its_applications_are_gone(engineer: Engineer) -> None:
    engineer.types("commit", "pipeline.yaml", *WHERE, "--cluster", "prod")
    said: list[str] = []
    api: Any = Api()
    opened = open_target(
        str(engineer.remote),
        branch="main",
        state=StateChoice(StateFolder(engineer.folder / "state"), "none"),
        environment=engineer.environment,
        report=said.append,
        cluster="prod",
    )
    with opened as target:
        removed = remove_pipeline(target, api, "digits", timeout=30, report=said.append)
    assert removed.done
    assert "Remove digits from Argo CD" in said[0]
    assert said[1] == "  waiting: Applications not removed yet: monitors, deployments, workflows"
    assert api.refreshed == [("argocd", "driftloop")] * 2
    assert (
        "Argo CD fetches the commit in its own time, asking it to was refused: answered 403"
        in said[-1]
    )
    assert "digits" not in engineer.git("ls-tree", "-r", "--name-only", "main")


def test_secrets_init_writes_what_argo_cd_needs_nothing_filled_in_for(engineer: Engineer) -> None:
    certificate, _ = pair()
    (engineer.folder / "cluster.pem").write_bytes(certificate)
    asked = (
        "--cert",
        "cluster.pem",
        "-n",
        "digits",
        "--into",
        "copy",
        "--git-url",
        "https://git.acme.example/f.git",
    )
    refused = engineer.types("secrets", "init", *asked, code=1).stderr
    assert "driftloop/prod/platform.yaml: Argo CD follows the repository" in refused
    assert "with `secrets: {type: others}` this writes the ConfigMap" in refused
    engineer.writes("driftloop/prod/platform.yaml", f"{PLATFORM}  secrets: {{type: others}}\n")
    done = engineer.types("secrets", "init", *asked[2:])
    written = done.stdout.splitlines()
    folder = "driftloop/prod/platform/digits"
    assert f"{folder}/driftloop-platform.configmap.yaml" in written
    assert not any("namespace.yaml" in path or "nats-io" in path for path in written)
    (made,) = yaml.safe_load_all((engineer.copy / "clusters/prod/platform.yaml").read_text())
    assert (made["kind"], made["metadata"]["name"]) == ("Application", "driftloop-platform")
    assert made["spec"]["source"]["path"] == "driftloop/prod/platform"
