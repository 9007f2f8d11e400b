"""Kinds of objects that the local runtime acts on, accepts without effect (and says so), or
refuses.
"""

from collections.abc import Collection, Mapping
from typing import Any

from driftloop.errors import LocalError

Object = Mapping[str, Any]

HINT = "`driftloop up --explain` lists what the local runtime acts on"

ACTS_ON: dict[tuple[str, str], str] = {
    ("", "Namespace"): "only its name is used",
    (
        "",
        "ConfigMap",
    ): "read by containers (env, files) and Brokers (channel template); a dashboard has no effect",
    ("", "Service"): "Envoy sends requests for its name to the pods it selects",
    ("apps", "Deployment"): "one process per container, restarted when it dies",
    ("autoscaling", "HorizontalPodAutoscaler"): "runs minReplicas pods; nothing is scaled",
    (
        "machinelearning.seldon.io",
        "SeldonDeployment",
    ): "run as Deployments, Services and a VirtualService",
    ("networking.istio.io", "VirtualService"): "sets routes, weights and mirrors of the gateway",
    (
        "security.istio.io",
        "RequestAuthentication",
    ): "the gateway's login, in cluster/<cluster>/access: tokens are verified",
    ("eventing.knative.dev", "Broker"): "a JetStream stream behind the broker's HTTP server",
    ("eventing.knative.dev", "Trigger"): "a durable consumer that posts events to its subscriber",
    ("argoproj.io", "EventBus"): "a JetStream stream between event sources and sensors",
    ("argoproj.io", "EventSource"): "serves its webhook, which checks the token",
    ("argoproj.io", "Sensor"): "creates a Workflow for each webhook call",
    ("argoproj.io", "WorkflowTemplate"): "each step runs as a process",
    ("argoproj.io", "CronWorkflow"): "starts its Workflow on schedule",
}
"""(group, kind) -> the effect."""

ACCEPTS: dict[tuple[str, str], str] = {
    ("", "ServiceAccount"): "everything runs as you",
    ("rbac.authorization.k8s.io", "Role"): "everything runs as you",
    ("rbac.authorization.k8s.io", "RoleBinding"): "everything runs as you",
    ("networking.k8s.io", "NetworkPolicy"): "everything listens on the loopback address only",
    ("policy", "PodDisruptionBudget"): "pods are not evicted",
    ("", "ResourceQuota"): "limits are not enforced",
    ("", "LimitRange"): "limits are not enforced",
    (
        "monitoring.coreos.com",
        "PodMonitor",
    ): "Prometheus does not run here; the metrics endpoints are served",
    (
        "monitoring.coreos.com",
        "ServiceMonitor",
    ): "Prometheus does not run here; the metrics endpoints are served",
    ("monitoring.coreos.com", "PrometheusRule"): "Prometheus does not run here",
    (
        "networking.istio.io",
        "DestinationRule",
    ): "subsets are not used; each predictor has a Service",
    ("security.istio.io", "PeerAuthentication"): "a mesh does not run here",
    (
        "security.istio.io",
        "AuthorizationPolicy",
    ): "a mesh does not run here; the gateway's, in cluster/<cluster>/access, are acted on",
    ("bitnami.com", "SealedSecret"): "`driftloop up` creates `driftloop-platform` itself",
    (
        "external-secrets.io",
        "ExternalSecret",
    ): "`driftloop up` creates `driftloop-platform` itself, and asks no store",
}
"""(group, kind) -> why it has no effect here."""

REFUSES: dict[tuple[str, str], str] = {
    ("", "Secret"): "a plain Secret does not belong in git; seal it with `driftloop seal`",
    (
        "argoproj.io",
        "Workflow",
    ): "commit WorkflowTemplates only; a committed Workflow would run again whenever it is applied",
    ("apps", "StatefulSet"): "use a Deployment",
    ("apps", "DaemonSet"): "use a Deployment",
    ("batch", "Job"): "use a WorkflowTemplate",
    ("batch", "CronJob"): "use a CronWorkflow",
    ("helm.toolkit.fluxcd.io", "HelmRelease"): "charts belong to the cluster, not to a pipeline",
    ("serving.kserve.io", "InferenceService"): "set serve.backend to seldon or plain",
}
"""(group, kind) -> what to do instead. Any kind that is not listed is refused, too."""

DASHBOARD = "grafana_dashboard"
"""Label of ConfigMaps that only Grafana reads."""

VERSIONS: dict[str, frozenset[str]] = {
    "machinelearning.seldon.io": frozenset({"v1"}),
    "networking.istio.io": frozenset({"v1", "v1beta1", "v1alpha3"}),
    "security.istio.io": frozenset({"v1", "v1beta1"}),
    "eventing.knative.dev": frozenset({"v1"}),
    "argoproj.io": frozenset({"v1alpha1"}),
    "apps": frozenset({"v1"}),
    "autoscaling": frozenset({"v1", "v2"}),
    "": frozenset({"v1"}),
}
"""API versions of the groups that are acted on."""


def object_kind(item: Object) -> tuple[str, str]:
    """(group, kind) of an object."""
    group, slash, _ = str(item.get("apiVersion", "")).rpartition("/")
    return (group if slash else "", str(item.get("kind", "")))


def object_identity(item: Object) -> tuple[str, str, str, str]:
    """(group, kind, namespace, name): what makes two objects the same one."""
    metadata = item.get("metadata") or {}
    return (*object_kind(item), str(metadata.get("namespace", "")), str(metadata.get("name", "")))


def format_object(item: Object) -> str:
    """Return `<kind> <namespace>/<name>`, as messages name an object."""
    _, kind, namespace, name = object_identity(item)
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def accept_kind(item: Object, file: str) -> str | None:
    """Return None for an object that is acted on, or the reason it has no effect.

    LocalError when it is refused.
    """
    group_kind = group, kind = object_kind(item)
    if group_kind in ACCEPTS:
        return ACCEPTS[group_kind]
    if group_kind == ("", "ConfigMap") and DASHBOARD in (
        (item.get("metadata") or {}).get("labels") or {}
    ):
        return "Grafana does not run here"
    label = f"{group}/{kind}" if group else kind
    if group_kind not in ACTS_ON:
        hint = REFUSES.get(group_kind, "`driftloop up --explain` lists what runs here")
        raise LocalError(f"{file}: {label} does not run here", hint=hint)
    version = str(item["apiVersion"]).rpartition("/")[2]
    if version not in VERSIONS[group]:
        raise LocalError(
            f"{file}: {label} has version {version}, must be one of: {', '.join(sorted(VERSIONS[group]))}",
            hint="write the version that the cluster serves",
        )
    return None


def refuse_other_keys(
    label: str | None,
    path: str,
    value: Mapping[str, Any],
    allowed: Collection[str],
    *,
    hint: str = HINT,
) -> None:
    """Raise LocalError, which names the first key of `value` that is not one of `allowed`.

    `path` is where `value` is in its object, empty for the object itself; `label` names the
    object, None where a caller adds it.
    """
    if unknown := sorted(set(value) - set(allowed)):
        key = f"{path}.{unknown[0]}" if path else unknown[0]
        message = f"`{key}` is not supported by the local runtime"
        raise LocalError(f"{label}: {message}" if label else message, hint=hint)


def explain_kinds() -> str:
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
