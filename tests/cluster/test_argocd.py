"""`status` and `doctor` of a cluster that Argo CD follows."""

import json
from typing import Any

import pytest

from driftloop.cluster import argocd, doctor
from driftloop.cluster.findings import Level
from driftloop.cluster.following import read_applied
from driftloop.cluster.reader import ForbiddenError
from driftloop.platform import parse_platform
from driftloop.resources.argocd_health import list_health_settings
from tests.cluster.applications import (
    COMMIT,
    DENIED,
    OLD,
    REPOSITORY,
    application,
    retried,
    synced,
    uncompared,
)

APPLICATIONS = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
PLATFORM = f"""\
apiVersion: driftloop.dev/v1alpha1
kind: Platform
metadata: {{name: prod}}
spec:
  path: clusters/prod
  follows: argocd
  argocd: {{repository: "{REPOSITORY}"}}
"""


class Answers:
    """A cluster with these Applications, and settings of Argo CD."""

    def __init__(self, *found: dict[str, Any], settings: dict[str, str] | None = None) -> None:
        self.paths: dict[str, Any] = {
            path: {"items": found}
            for path in (
                APPLICATIONS,
                f"{APPLICATIONS}?labelSelector=app.kubernetes.io/managed-by%3Ddriftloop",
            )
        }
        self.paths["/api/v1/namespaces/argocd/configmaps/argocd-cm"] = {"data": settings or {}}

    def get(self, path: str) -> Any:
        return json.loads(json.dumps(self.paths.get(path)))

    def text(self, path: str) -> str | None:
        return json.dumps(self.paths[path]) if path in self.paths else None


def root(**source: Any) -> dict[str, Any]:
    """The Application that a platform engineer makes; it has no label of ours."""
    found = application("driftloop", synced(COMMIT, at="2026-11-30T22:24:00Z"))
    read = {"path": "clusters/prod", "directory": {"recurse": True}, **source}
    return {
        "metadata": {"name": "driftloop", "namespace": "argocd"},
        "spec": {**found["spec"], "source": found["spec"]["source"] | read},
        "status": found["status"],
    }


OTHERS = application("shop", retried(OLD), source={"repoURL": "https://git.acme.example/shop.git"})
OTHERS["metadata"]["labels"] = {}


def test_status_has_what_is_applied_of_the_repository_alone() -> None:
    reader = Answers(
        root(),
        OTHERS,
        application("digits-deployments", synced(COMMIT, health={"status": "Degraded"})),
        application("digits-monitors", retried(COMMIT)),
        application("digits-workflows", synced(OLD)),
    )
    assert read_applied(reader) == {
        "tip": COMMIT,
        "applied": OLD,
        "refused": f"digits-monitors: ClusterRole more: {DENIED}",
        "waiting": ["digits-deployments: Degraded", "digits-workflows has applied aaaaaaaaaaaa"],
    }


def test_who_may_list_applications_alone_sees_what_is_applied() -> None:
    class Console(Answers):
        def get(self, path: str) -> Any:
            if not path.startswith(APPLICATIONS):
                raise ForbiddenError(f"{path}: Forbidden")
            return super().get(path)

    assert (
        read_applied(Console(application("digits-workflows", synced(COMMIT))))["applied"] == COMMIT
    )
    with pytest.raises(ForbiddenError):
        read_applied(Console())


def test_an_application_without_automated_sync_is_suspended_and_a_branch_is_no_commit() -> None:
    off: tuple[dict[str, Any], ...] = ({}, {"automated": {"enabled": False}})
    found = [
        application(f"digits-{index}", synced(COMMIT), syncPolicy=policy)
        for index, policy in enumerate(off)
    ]
    unread = application("digits-workflows", uncompared("main", "authentication required"))
    told = read_applied(Answers(*found, unread))
    assert told["waiting"] == ["digits-0 is suspended", "digits-1 is suspended"]
    assert (told["tip"], told["applied"]) == (COMMIT, OLD)
    assert told["refused"] == "digits-workflows: authentication required"


def examine(
    *found: dict[str, Any], settings: dict[str, str] | None = None
) -> list[tuple[Level, str]]:
    ground = parse_platform(PLATFORM, path="driftloop/prod/platform.yaml")
    assert ground.spec.argocd is not None
    settings = list_health_settings() if settings is None else settings
    reader = Answers(*found, settings=settings)
    return [
        (each.level, each.what)
        for each in argocd.examine_applications(reader, ground, ground.spec.argocd)
    ]


def test_doctor_finds_nothing_where_all_is_applied() -> None:
    assert examine(root(), OTHERS, application("digits-workflows", synced(COMMIT))) == []


@pytest.mark.parametrize(
    ("found", "level", "text"),
    [
        (root(path="clusters/staging"), Level.WRONG, "reads the folder `clusters/staging`, driftloop/prod/platform.yaml says"),
        (root(targetRevision="HEAD"), Level.WRONG, "follows `HEAD`, driftloop/prod/platform.yaml says `main`"),
        (root(directory={}), Level.NOTE, "reads the files of `clusters/prod` itself, and none of the folders in it"),
        (application("digits-workflows", None), Level.WRONG, "digits-workflows: no controller has reconciled it"),
        (application("digits-workflows", retried(COMMIT)), Level.WRONG, f"digits-workflows: ClusterRole more: {DENIED}"),
        (application("digits-workflows", synced(COMMIT), syncPolicy={}), Level.NOTE, "digits-workflows is suspended"),
        (application("digits-workflows", synced(COMMIT, health={"status": "Degraded"})), Level.WRONG, "is not healthy: Degraded"),
    ],
)  # fmt: skip
def test_doctor_says_what_is_wrong_with_an_application(
    found: dict[str, Any], level: Level, text: str
) -> None:
    others = [] if found["metadata"]["name"] == "driftloop" else [root()]
    ((seen, said),) = examine(found, *others)
    assert seen == level
    assert text in said


def test_doctor_asks_for_the_application_of_the_platform_file_and_for_the_health_of_kinds() -> None:
    missing, unknown = examine(
        settings={"resource.customizations.health.argoproj.io_Sensor": "return {}"}
    )
    assert "Application argocd/driftloop does not exist" in missing[1]
    assert unknown[0] == Level.NOTE
    assert "argoproj.io_EventSource, eventing.knative.dev_Broker" in unknown[1]
    assert "Sensor" not in unknown[1]


def test_doctor_points_to_no_kustomization_of_the_platform() -> None:
    ground = parse_platform(PLATFORM, path="driftloop/prod/platform.yaml")
    missing = [each for each in doctor.crds(Answers(), ground) if each.level is Level.WRONG]
    assert missing[0].what == "Argo CD is not installed (no CRD applications.argoproj.io)"
    assert not any("Kustomization" in (each.fix or "") for each in missing)
