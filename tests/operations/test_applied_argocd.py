"""Whether a commit is applied, where Argo CD follows the repository."""

from typing import Any

import pytest

from driftloop.contract.layout import Layout
from driftloop.contract.names import Names
from driftloop.operations.commits.applied import AppliedCommits
from tests.cluster.applications import (
    COMMIT,
    DENIED,
    DRY_RUN,
    NEW,
    OLD,
    application,
    retried,
    synced,
    uncompared,
)


class Api:
    """Answers as the Kubernetes API would."""

    def __init__(self, found: dict[str, Any] | None) -> None:
        self.found = found

    def get_application(self, namespace: str, name: str) -> dict[str, Any] | None:
        assert (namespace, name) == ("argocd", "digits-deployments")
        return self.found


class History:
    layout = Layout("prod", "clusters/prod", "driftloop/prod", argocd_namespace="argocd")

    def contains(self, commit: str, *, ancestor: str) -> bool:
        return (commit, ancestor) == (COMMIT, COMMIT)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (synced(COMMIT), ""),
        (synced(COMMIT, health={"status": "Progressing"}), "is not ready: Progressing"),
        (synced(OLD), "has applied aaaaaaaaaaaa, not yet bbbbbbbbbbbb"),
        (NEW, "has applied nothing, not yet bbbbbbbbbbbb"),
        (None, "has applied nothing, not yet bbbbbbbbbbbb"),
        (
            retried(COMMIT),
            f"has applied aaaaaaaaaaaa, not yet bbbbbbbbbbbb: ClusterRole more: {DENIED}",
        ),
        (uncompared(COMMIT, DRY_RUN), f"has applied aaaaaaaaaaaa, not yet bbbbbbbbbbbb: {DRY_RUN}"),
        (
            uncompared("main", "authentication required"),
            "not yet bbbbbbbbbbbb: authentication required",
        ),
    ],
)
def test_a_commit_is_applied_when_nothing_differs_from_it_and_all_is_healthy(
    status: dict[str, Any] | None, expected: str
) -> None:
    api: Any = Api(application("digits-deployments", status))
    missing = AppliedCommits(api, History(), Names("digits", "ml")).describe_missing(COMMIT)  # type: ignore[arg-type]
    assert missing.endswith(expected)
    assert bool(missing) is bool(expected)


def test_argo_cd_is_asked_to_look_at_the_repository() -> None:
    asked: list[tuple[str, str]] = []
    api: Any = Api(None)
    api.request_refresh = lambda *names: asked.append(names)
    AppliedCommits(api, History(), Names("digits", "ml")).request_comparison("workflows")  # type: ignore[arg-type]
    assert asked == [("argocd", "digits-workflows")]


def test_an_application_that_is_not_there_is_named() -> None:
    api: Any = Api(None)
    missing = AppliedCommits(api, History(), Names("digits", "ml")).describe_missing(COMMIT)  # type: ignore[arg-type]
    assert missing == "Application digits-deployments does not exist"
