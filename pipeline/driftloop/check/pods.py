"""Pod templates inside objects, and what they mount and run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from driftloop.check.world import (
    CRON,
    EVENT_SOURCE,
    SELDON,
    SENSOR,
    TEMPLATE,
    WORKFLOW,
    Object,
    World,
)
from driftloop.text.node import YamlNode

_TEMPLATES = {
    ("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("apps", "ReplicaSet"), ("batch", "Job"),
    ("argoproj.io", "Rollout"), ("", "ReplicationController"), ("serving.knative.dev", "Service"),
    ("serving.knative.dev", "Configuration"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pod:
    """A pod, or the template of one."""

    object: Object
    spec: YamlNode
    labels: YamlNode
    claims: frozenset[str] = frozenset()
    """Volumes that a StatefulSet's claim templates make."""


def pods(world: World) -> Iterator[Pod]:
    """Every pod that an object of the set describes in full."""
    for entry in world.objects:
        if entry.type in _TEMPLATES:
            template = entry.spec.get("template")
            claims = {
                item.get("metadata", "name").text
                for item in entry.spec.get("volumeClaimTemplates").list
            }
            yield Pod(
                entry, template.get("spec"), template.get("metadata", "labels"), frozenset(claims)
            )
        elif entry.type == ("batch", "CronJob"):
            template = entry.spec.get("jobTemplate", "spec", "template")
            yield Pod(entry, template.get("spec"), template.get("metadata", "labels"))
        elif entry.type == ("", "Pod"):
            yield Pod(entry, entry.spec, entry.node.get("metadata", "labels"))


def containers(spec: YamlNode) -> Iterator[YamlNode]:
    """The containers of a pod, those that run first too."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field).list


def images(one: Object) -> Iterator[YamlNode]:
    """Every image that an object runs: a pod's, a workflow template's, a predictor's."""
    if one.kind in (
        "CustomResourceDefinition",
        "HelmRelease",
        "ConfigMap",
        "Secret",
    ) or one.group in (
        "driftloop.dev",
        "install.istio.io",
        "kustomize.config.k8s.io",
    ):
        return
    for key, node in one.spec.mappings():
        if key in ("container", "script") and node.get("image"):
            yield node.get("image")
        for field in ("initContainers", "containers", "sidecars", "ephemeralContainers"):
            for item in node.get(field).list:
                if item.get("image"):
                    yield item.get("image")


def made_labels(world: World, namespace: str) -> Iterator[dict[str, str | None]]:
    """Labels of pods that controllers make of objects in a namespace; a value of None stands for
    any."""
    for item in world.of(EVENT_SOURCE, SENSOR, SELDON, WORKFLOW, TEMPLATE, CRON):
        if item.namespace not in (namespace, ""):
            continue
        own = {
            key: node.text
            for key, node in item.spec.get("template", "metadata", "labels").map.items()
        }
        if item.type == EVENT_SOURCE:
            yield {
                **own,
                "eventsource-name": item.name,
                "controller": "eventsource-controller",
                "owner-name": item.name,
            }
        elif item.type == SENSOR:
            yield {
                **own,
                "sensor-name": item.name,
                "controller": "sensor-controller",
                "owner-name": item.name,
            }
        elif item.type == SELDON:
            # those of the object, its predictors and their pods are copied, depending on the operator's version
            named = [
                item.node.get("metadata", "labels"),
                *(node.get("labels") for _, node in item.spec.mappings()),
            ]
            values: dict[str, set[str]] = {}
            for node in named:
                for key, value in node.map.items():
                    values.setdefault(key, set()).add(value.text)
            copied = {
                key: next(iter(texts)) if len(texts) == 1 else None for key, texts in values.items()
            }
            yield copied | dict.fromkeys(("app", "seldon-app", "version", "fluentd", "seldon.io/model")) | {
                "seldon-deployment-id": item.name, "app.kubernetes.io/managed-by": "seldon-core"
            }  # fmt: skip
        else:
            yield from _of_steps(item)


def _of_steps(one: Object) -> Iterator[dict[str, str | None]]:
    """Labels of a workflow's pods."""
    spec = one.spec.get("workflowSpec") if one.type == CRON else one.spec
    shared: dict[str, str | None] = dict.fromkeys(
        (
            "workflows.argoproj.io/workflow",
            "workflows.argoproj.io/workflow-template",
            "workflows.argoproj.io/completed",
        )
    )
    shared |= {key: node.text for key, node in spec.get("podMetadata", "labels").map.items()}
    yield shared
    for template in spec.get("templates").list:
        yield shared | {
            key: node.text for key, node in template.get("metadata", "labels").map.items()
        }


def fits(wanted: Mapping[str, str], labels: Mapping[str, str | None]) -> bool:
    """Return True if a pod with these labels has all that are wanted; None stands for any value."""
    return all(key in labels and labels[key] in (None, value) for key, value in wanted.items())


_NO_PODS = {
    "", "rbac.authorization.k8s.io", "networking.k8s.io", "policy", "autoscaling", "networking.istio.io",
    "security.istio.io",
    "eventing.knative.dev", "telemetry.istio.io", "monitoring.coreos.com", "bitnami.com", "driftloop.dev", "apps",
    "batch", "machinelearning.seldon.io", "messaging.knative.dev", "gateway.networking.k8s.io", "scheduling.k8s.io",
    "kustomize.toolkit.fluxcd.io",
    "source.toolkit.fluxcd.io", "notification.toolkit.fluxcd.io", "cert-manager.io", "kustomize.config.k8s.io",
}  # fmt: skip
_KNOWN_PODS = {
    ("argoproj.io", kind)
    for kind in (
        "EventSource", "Sensor", "EventBus", "Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow",
        "Rollout",
    )
} | {("serving.knative.dev", "Service")}  # fmt: skip


_OPERATED = {
    ("monitoring.coreos.com", kind)
    for kind in ("Prometheus", "PrometheusAgent", "Alertmanager", "ThanosRuler")
} | {("gateway.networking.k8s.io", "Gateway")}
"""Kinds of groups that otherwise make no pods."""


def unknown_pods(world: World, namespace: str) -> bool:
    """Return True if something in the namespace makes pods whose labels the files don't say."""
    return any(
        item.namespace == namespace
        and (
            item.type in _OPERATED or (item.group not in _NO_PODS and item.type not in _KNOWN_PODS)
        )
        for item in world.objects
    )
