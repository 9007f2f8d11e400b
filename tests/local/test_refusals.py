"""Commits with a field that no stand-in follows, through a whole `driftloop up`."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from driftloop.local.ground import kinds
from tests.local.conftest import (
    Git,
    Up,
    deployment,
    eventually,
    get,
    kustomization,
    service,
    virtual_service,
)
from tests.local.test_up import BASE, asked, children

STEP: dict[str, Any] = {"name": "main", "container": {"image": "i", "command": ["c"]}}
SENSOR: dict[str, Any] = {
    "dependencies": [{"name": "call", "eventSourceName": "hook", "eventName": "run"}],
    "triggers": [
        {
            "template": {
                "name": "run",
                "conditions": "call",
                "k8s": {"source": {"resource": {}}},
            },
            "atLeastOnce": True,
        }
    ],
}

SUBSCRIBER: dict[str, Any] = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "a"}}
FILE = "extras/shop/x.yaml"


def manifest(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "shop"},
        "spec": spec,
    }


def argo(kind: str, **spec: Any) -> dict[str, Any]:
    return manifest("argoproj.io/v1alpha1", kind, spec)


def tasks(task: dict[str, Any], **container: Any) -> dict[str, Any]:
    """A WorkflowTemplate whose DAG has this task, and whose step this container."""
    step = {"name": "main", "container": {**STEP["container"], **container}}
    dag = {"tasks": [{"name": "a", "template": "main", **task}]}
    return argo("WorkflowTemplate", entrypoint="all", templates=[step, {"name": "all", "dag": dag}])


def named(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The object under the name `x`, with `more` in its spec."""
    return item | {"metadata": {"name": "x", "namespace": "shop"}, "spec": item["spec"] | more}


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        argo(
            "WorkflowTemplate",
            entrypoint="main",
            templates=[{"name": "main", "suspend": {"duration": "1h"}}],
        ),
        "duration",
    ),
    (argo("WorkflowTemplate", entrypoint="main", templates=[STEP], novelty=1), "novelty"),
    (
        argo(
            "CronWorkflow",
            schedules=["0 * * * *"],
            concurrencyPolicy="Forbid",
            suspend=True,
            workflowSpec={"entrypoint": "m", "templates": [STEP]},
        ),
        "`spec.suspend`",
    ),
    (
        argo("WorkflowTemplate", entrypoint="main", templates=[STEP], hooks={"exit": {}}),
        "`spec.hooks`",
    ),
    (
        argo("WorkflowTemplate", entrypoint="main", templates=[STEP], templateDefaults={}),
        "`spec.templateDefaults`",
    ),
    (tasks({"withParam": "[]"}), "`spec.templates.1.dag.tasks.0.withParam`"),
    (tasks({"depends": "b.Failed"}), "`depends: b.Failed`"),
    (tasks({"when": "yes == yes"}), "when `yes == yes`: `yes`"),
    (tasks({}, args=["{{workflow.uid}}"]), "`{{workflow.uid}}`"),
    (
        argo("EventSource", webhook={"run": {"port": "1", "endpoint": "/run", "novelty": 1}}),
        "novelty",
    ),
    (argo("Sensor", **SENSOR, novelty=1), "novelty"),
    (
        argo("Sensor", **SENSOR | {"triggers": [{**SENSOR["triggers"][0], "atLeastOnce": False}]}),
        "`spec.triggers.0.atLeastOnce`",
    ),
    (argo("EventBus", jetstream={"version": "2"}), "jetstream"),
    (
        manifest("eventing.knative.dev/v1", "Broker", {"delivery": {"novelty": 1}}),
        "spec.delivery.novelty",
    ),
    (manifest("eventing.knative.dev/v1", "Broker", {"novelty": 1}), "spec.novelty"),
    (
        manifest(
            "eventing.knative.dev/v1",
            "Trigger",
            {"broker": "b", "subscriber": SUBSCRIBER, "novelty": 1},
        ),
        "spec.novelty",
    ),
    (
        manifest(
            "eventing.knative.dev/v1",
            "Trigger",
            {"broker": "b", "subscriber": SUBSCRIBER, "filters": [{"exact": {"type": "a"}}]},
        ),
        "`spec.filters`",
    ),
    (
        manifest(
            "eventing.knative.dev/v1",
            "Broker",
            {"delivery": {"retry": 1, "backoffPolicy": "exponential"}},
        ),
        "`spec.delivery.backoffPolicy` is `exponential`",
    ),
    (named(virtual_service({"a": 100}), tls=[]), "spec.tls"),
    (named(deployment("x"), paused=True), "spec.paused"),
    (named(deployment("x"), progressDeadlineSeconds=5), "`spec.progressDeadlineSeconds`"),
    (named(service("x"), externalName="y"), "spec.externalName"),
    (
        manifest("security.istio.io/v1", "RequestAuthentication", {"jwtRules": []}),
        "is not the gateway's",
    ),
    (
        manifest(
            "machinelearning.seldon.io/v1", "SeldonDeployment", {"predictors": [], "novelty": 1}
        ),
        "spec.novelty",
    ),
    (
        manifest(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            {"scaleTargetRef": {"kind": "Deployment", "name": "a"}, "maxReplicas": 2, "novelty": 1},
        ),
        "spec.novelty",
    ),
    (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "binaryData": {}},
        "binaryData",
    ),
    ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "novelty": 1}, "novelty"),
]


def test_each_kind_that_is_acted_on_is_refused() -> None:
    assert {kinds.object_kind(item) for item, _ in REFUSED} == set(kinds.ACTS_ON)


def test_fields_that_no_stand_in_follows_are_refused_by_name(
    start: Callable[..., Up], git: Git
) -> None:
    files = BASE | {
        "cluster/dev/pipelines/shop.yaml": [
            kustomization("shop-deployments", "deployments/shop"),
            kustomization("shop-extras", "extras/shop"),
            kustomization("shop-last", "last/shop", "shop-extras"),
        ],
        FILE: {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        "last/shop/d.yaml": deployment("d"),
    }
    first = git.commit(files, "Add the shop")
    up = start().wait_up()
    up.wait_applied(first)
    before = children(up)
    url = f"http://127.0.0.1:{up.ports['api']}/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations"

    def condition(name: str) -> tuple[str, str, str]:
        """Status and message of Ready, and the revision that is applied."""
        status = get(f"{url}/{name}")[1]["status"]
        ready = status["conditions"][0]
        return (
            ready["status"],
            ready["message"],
            status["lastAppliedRevision"].removeprefix("main@sha1:"),
        )

    for item, field in REFUSED:
        sha = git.commit(
            {FILE: item, "last/shop/d.yaml": deployment("d", SHA=field, OF=item["kind"])}
        )
        words = (f"{FILE}: ", f"{item['kind']} ", field)

        def refused(sha: str = sha, words: tuple[str, ...] = words) -> bool:
            status = up.status()
            return status.get("tip") == sha and all(
                word in (status["refused"] or "") for word in words
            )

        eventually(refused, what=f"{words} in {up.status().get('refused')}")
        eventually(lambda sha=sha: condition("shop-deployments")[2] == sha, what="the others go on")
        ready, message, revision = condition("shop-extras")
        assert (ready, revision) == ("False", first)
        assert field in message
        assert condition("shop-last")[::2] == ("False", first), "it depends on the refused one"
        assert children(up) == before
    shown = subprocess.run(
        [sys.executable, "-m", "driftloop.cli", "status", "--state", str(up.state.root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"refused  {FILE}: " in shown.stdout
    assert asked(up, 5) == {"a": 5}
    up.wait_applied(git.commit({FILE: files[FILE]}))
