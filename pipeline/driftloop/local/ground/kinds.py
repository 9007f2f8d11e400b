"""What the local runtime does with each kind of object: act, accept without effect (and say so), or refuse by name."""

from collections.abc import Mapping
from typing import Any

from driftloop.errors import LocalError

Object = Mapping[str, Any]

ACTS_ON: dict[tuple[str, str], str] = {
    ("", "Namespace"): "a name; its objects live under it",
    ("", "ConfigMap"): "values for containers' env and files; a Broker's channel template; a dashboard has no effect",
    ("", "Service"): "a name that Envoy resolves to the pods it selects",
    ("apps", "Deployment"): "one process per container, restarted when it dies",
    ("autoscaling", "HorizontalPodAutoscaler"): "always the pods of its minReplicas: nothing is scaled here",
    (
        "machinelearning.seldon.io",
        "SeldonDeployment",
    ): "written out as Deployments, Services and a VirtualService, then run",
    ("networking.istio.io", "VirtualService"): "routes, weights and mirrors of the gateway",
    ("eventing.knative.dev", "Broker"): "a JetStream stream behind the broker's HTTP door",
    ("eventing.knative.dev", "Trigger"): "a durable consumer that pushes to its subscriber",
    ("argoproj.io", "EventBus"): "a JetStream stream between event sources and sensors",
    ("argoproj.io", "EventSource"): "the authenticated webhook",
    ("argoproj.io", "Sensor"): "turns a webhook call into a Workflow",
    ("argoproj.io", "WorkflowTemplate"): "runs as processes, step by step",
    ("argoproj.io", "CronWorkflow"): "starts its workflow on schedule",
}
"""(group, kind) -> what happens."""

ACCEPTS: dict[tuple[str, str], str] = {
    ("", "ServiceAccount"): "everything runs as you",
    ("rbac.authorization.k8s.io", "Role"): "everything runs as you",
    ("rbac.authorization.k8s.io", "RoleBinding"): "everything runs as you",
    ("networking.k8s.io", "NetworkPolicy"): "all parts listen on the loopback address only",
    ("policy", "PodDisruptionBudget"): "nothing evicts pods here",
    ("", "ResourceQuota"): "limits are not enforced here",
    ("", "LimitRange"): "limits are not enforced here",
    ("monitoring.coreos.com", "PodMonitor"): "no Prometheus runs here; the metrics endpoints are there",
    ("monitoring.coreos.com", "ServiceMonitor"): "no Prometheus runs here; the metrics endpoints are there",
    ("monitoring.coreos.com", "PrometheusRule"): "no Prometheus runs here",
    ("networking.istio.io", "DestinationRule"): "there are no subsets here; Services tell predictors apart",
    ("security.istio.io", "PeerAuthentication"): "there is no mesh here",
    ("security.istio.io", "AuthorizationPolicy"): "there is no mesh here",
    ("bitnami.com", "SealedSecret"): "`driftloop-platform` is made by `up` here",
}
"""(group, kind) -> why it has no effect here."""

REFUSES: dict[tuple[str, str], str] = {
    ("", "Secret"): "a plain Secret does not belong into git; seal it with `driftloop seal`",
    ("argoproj.io", "Workflow"): "commit templates, never runs: a committed run would start again at every apply",
    ("apps", "StatefulSet"): "write a Deployment",
    ("apps", "DaemonSet"): "write a Deployment",
    ("batch", "Job"): "write a WorkflowTemplate",
    ("batch", "CronJob"): "write a CronWorkflow",
    ("helm.toolkit.fluxcd.io", "HelmRelease"): "what charts install is part of the cluster, not of a pipeline",
    ("serving.kserve.io", "InferenceService"): "use serve.backend seldon or plain",
}
"""(group, kind) -> what to do instead. Any kind in none of the three lists is refused, too."""

DASHBOARD = "grafana_dashboard"
"""Label of ConfigMaps that only Grafana reads."""

VERSIONS: dict[str, frozenset[str]] = {
    "machinelearning.seldon.io": frozenset({"v1"}),
    "networking.istio.io": frozenset({"v1", "v1beta1", "v1alpha3"}),
    "eventing.knative.dev": frozenset({"v1"}),
    "argoproj.io": frozenset({"v1alpha1"}),
    "apps": frozenset({"v1"}),
    "autoscaling": frozenset({"v1", "v2"}),
    "": frozenset({"v1"}),
}
"""API versions of the groups that are acted on."""


def key(item: Object) -> tuple[str, str]:
    """(group, kind) of an object."""
    group, slash, _ = str(item.get("apiVersion", "")).rpartition("/")
    return (group if slash else "", str(item.get("kind", "")))


def identity(item: Object) -> tuple[str, str, str, str]:
    """(group, kind, namespace, name): what makes two objects the same one."""
    metadata = item.get("metadata") or {}
    return (*key(item), str(metadata.get("namespace", "")), str(metadata.get("name", "")))


def named(item: Object) -> str:
    """An object as messages name it."""
    _, kind, namespace, name = identity(item)
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def accept(item: Object, file: str) -> str | None:
    """None for an object that is acted on, or why it has no effect; LocalError for one that is refused."""
    group, kind = found = key(item)
    if found in ACCEPTS:
        return ACCEPTS[found]
    if found == ("", "ConfigMap") and DASHBOARD in ((item.get("metadata") or {}).get("labels") or {}):
        return "no Grafana runs here; the dashboard is there for a cluster"
    label = f"{group}/{kind}" if group else kind
    if found not in ACTS_ON:
        hint = REFUSES.get(found, "`driftloop up --explain` lists what runs here")
        raise LocalError(f"{file}: {label} does not run here", hint=hint)
    version = str(item["apiVersion"]).rpartition("/")[2]
    if version not in VERSIONS[group]:
        raise LocalError(
            f"{file}: {label} has version {version}, must be one of: {', '.join(sorted(VERSIONS[group]))}",
            hint="write the version that the cluster serves",
        )
    return None


def explanation() -> str:
    """The three lists as `driftloop up --explain` prints them."""
    parts = []
    for title, table in (
        ("Acts on", ACTS_ON),
        ("Accepts without local effect", ACCEPTS),
        ("Refuses (and everything not listed)", REFUSES),
    ):
        width = max(len(kind) for _, kind in table)
        lines = [f"  {kind:<{width}}  {text}" for (_, kind), text in table.items()]
        parts.append("\n".join([title, *lines]))
    return "\n\n".join(parts)
