"""DL11x: API versions and fields that no longer exist."""
# ruff: noqa: E501 - tables read better in one line per entry

from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.rules.gitops import unused_files
from driftloop.check.world import CRON, EVENT_BUS, FLUX, World

Kinds = tuple[str, ...]

_K8S: tuple[tuple[str, Kinds, str, str], ...] = (
    ("extensions/v1beta1", ("Deployment", "DaemonSet", "ReplicaSet"), "apps/v1", "Kubernetes 1.16"),
    ("extensions/v1beta1", ("Ingress", "NetworkPolicy"), "networking.k8s.io/v1", "Kubernetes 1.22"),
    ("extensions/v1beta1", ("PodSecurityPolicy",), "", "Kubernetes 1.16"),
    ("apps/v1beta1", (), "apps/v1", "Kubernetes 1.16"),
    ("apps/v1beta2", (), "apps/v1", "Kubernetes 1.16"),
    ("batch/v1beta1", (), "batch/v1", "Kubernetes 1.25"),
    ("batch/v2alpha1", (), "batch/v1", "Kubernetes 1.21"),
    ("policy/v1beta1", ("PodDisruptionBudget",), "policy/v1", "Kubernetes 1.25"),
    ("policy/v1beta1", ("PodSecurityPolicy",), "", "Kubernetes 1.25"),
    ("networking.k8s.io/v1beta1", ("Ingress", "IngressClass"), "networking.k8s.io/v1", "Kubernetes 1.22"),
    ("rbac.authorization.k8s.io/v1alpha1", (), "rbac.authorization.k8s.io/v1", "Kubernetes 1.22"),
    ("rbac.authorization.k8s.io/v1beta1", (), "rbac.authorization.k8s.io/v1", "Kubernetes 1.22"),
    ("apiextensions.k8s.io/v1beta1", (), "apiextensions.k8s.io/v1", "Kubernetes 1.22"),
    ("apiregistration.k8s.io/v1beta1", (), "apiregistration.k8s.io/v1", "Kubernetes 1.22"),
    ("admissionregistration.k8s.io/v1beta1", ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"), "admissionregistration.k8s.io/v1", "Kubernetes 1.22"),
    ("autoscaling/v2beta1", (), "autoscaling/v2", "Kubernetes 1.25"),
    ("autoscaling/v2beta2", (), "autoscaling/v2", "Kubernetes 1.26"),
    ("certificates.k8s.io/v1beta1", ("CertificateSigningRequest",), "certificates.k8s.io/v1", "Kubernetes 1.22"),
    ("coordination.k8s.io/v1beta1", ("Lease",), "coordination.k8s.io/v1", "Kubernetes 1.22"),
    ("discovery.k8s.io/v1beta1", (), "discovery.k8s.io/v1", "Kubernetes 1.25"),
    ("events.k8s.io/v1beta1", (), "events.k8s.io/v1", "Kubernetes 1.25"),
    ("flowcontrol.apiserver.k8s.io/v1beta1", (), "flowcontrol.apiserver.k8s.io/v1", "Kubernetes 1.26"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", (), "flowcontrol.apiserver.k8s.io/v1", "Kubernetes 1.29"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", (), "flowcontrol.apiserver.k8s.io/v1", "Kubernetes 1.32"),
    ("node.k8s.io/v1beta1", (), "node.k8s.io/v1", "Kubernetes 1.25"),
    ("scheduling.k8s.io/v1beta1", (), "scheduling.k8s.io/v1", "Kubernetes 1.22"),
    ("storage.k8s.io/v1beta1", ("CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"), "storage.k8s.io/v1", "Kubernetes 1.22"),
    ("storage.k8s.io/v1beta1", ("CSIStorageCapacity",), "storage.k8s.io/v1", "Kubernetes 1.27"),
)  # fmt: skip
_FLUX: tuple[tuple[str, Kinds, str, str], ...] = (
    ("source.toolkit.fluxcd.io/v1beta1", (), "source.toolkit.fluxcd.io/v1", "Flux"),
    ("source.toolkit.fluxcd.io/v1beta2", (), "source.toolkit.fluxcd.io/v1", "Flux"),
    ("kustomize.toolkit.fluxcd.io/v1beta1", (), "kustomize.toolkit.fluxcd.io/v1", "Flux"),
    ("kustomize.toolkit.fluxcd.io/v1beta2", (), "kustomize.toolkit.fluxcd.io/v1", "Flux"),
    ("helm.toolkit.fluxcd.io/v2beta1", (), "helm.toolkit.fluxcd.io/v2", "Flux"),
    ("helm.toolkit.fluxcd.io/v2beta2", (), "helm.toolkit.fluxcd.io/v2", "Flux"),
    (
        "notification.toolkit.fluxcd.io/v1beta1",
        ("Receiver",),
        "notification.toolkit.fluxcd.io/v1",
        "Flux",
    ),
    (
        "notification.toolkit.fluxcd.io/v1beta2",
        ("Receiver",),
        "notification.toolkit.fluxcd.io/v1",
        "Flux",
    ),
    (
        "notification.toolkit.fluxcd.io/v1beta1",
        ("Alert", "Provider"),
        "notification.toolkit.fluxcd.io/v1beta3",
        "Flux",
    ),
    (
        "notification.toolkit.fluxcd.io/v1beta2",
        ("Alert", "Provider"),
        "notification.toolkit.fluxcd.io/v1beta3",
        "Flux",
    ),
    ("image.toolkit.fluxcd.io/v1alpha1", (), "image.toolkit.fluxcd.io/v1", "Flux"),
    ("image.toolkit.fluxcd.io/v1alpha2", (), "image.toolkit.fluxcd.io/v1", "Flux"),
    ("image.toolkit.fluxcd.io/v1beta1", (), "image.toolkit.fluxcd.io/v1", "Flux"),
    ("image.toolkit.fluxcd.io/v1beta2", (), "image.toolkit.fluxcd.io/v1", "Flux"),
)
_OPERATORS: tuple[tuple[str, Kinds, str, str], ...] = (
    ("eventing.knative.dev/v1alpha1", ("Broker", "Trigger"), "eventing.knative.dev/v1", "Knative Eventing"),
    ("eventing.knative.dev/v1beta1", ("Broker", "Trigger"), "eventing.knative.dev/v1", "Knative Eventing"),
    ("messaging.knative.dev/v1alpha1", ("Channel", "Subscription", "InMemoryChannel"), "messaging.knative.dev/v1", "Knative Eventing"),
    ("messaging.knative.dev/v1alpha1", ("Sequence", "Parallel"), "flows.knative.dev/v1", "Knative Eventing"),
    ("messaging.knative.dev/v1beta1", ("Channel", "Subscription", "InMemoryChannel"), "messaging.knative.dev/v1", "Knative Eventing"),
    ("messaging.knative.dev/v1alpha1", ("NatssChannel",), "messaging.knative.dev/v1alpha1 NatsJetStreamChannel", "eventing-natss (NATS Streaming is gone)"),
    ("messaging.knative.dev/v1beta1", ("NatssChannel",), "messaging.knative.dev/v1alpha1 NatsJetStreamChannel", "eventing-natss (NATS Streaming is gone)"),
    ("flows.knative.dev/v1alpha1", (), "flows.knative.dev/v1", "Knative Eventing"),
    ("flows.knative.dev/v1beta1", (), "flows.knative.dev/v1", "Knative Eventing"),
    ("sources.knative.dev/v1alpha1", ("ApiServerSource", "PingSource", "SinkBinding", "ContainerSource"), "sources.knative.dev/v1", "Knative Eventing"),
    ("sources.knative.dev/v1alpha2", ("ApiServerSource", "PingSource", "SinkBinding", "ContainerSource"), "sources.knative.dev/v1", "Knative Eventing"),
    ("sources.knative.dev/v1beta1", ("ApiServerSource", "PingSource", "SinkBinding", "ContainerSource"), "sources.knative.dev/v1", "Knative Eventing"),
    ("serving.knative.dev/v1alpha1", ("Service", "Configuration", "Revision", "Route"), "serving.knative.dev/v1", "Knative Serving"),
    ("serving.knative.dev/v1beta1", ("Service", "Configuration", "Revision", "Route"), "serving.knative.dev/v1", "Knative Serving"),
    ("operator.knative.dev/v1alpha1", ("KnativeEventing", "KnativeServing"), "operator.knative.dev/v1beta1", "the Knative Operator"),
    ("install.istio.io/v1alpha1", ("IstioOperator",), "Istio's Helm charts base, istiod and gateway", "Istio 1.24"),
    ("authentication.istio.io/v1alpha1", (), "security.istio.io/v1 PeerAuthentication", "Istio 1.6"),
    ("rbac.istio.io/v1alpha1", (), "security.istio.io/v1 AuthorizationPolicy", "Istio 1.6"),
    ("config.istio.io/v1alpha2", (), "telemetry.istio.io/v1 or EnvoyFilter", "Istio 1.8"),
    ("cert-manager.io/v1alpha2", (), "cert-manager.io/v1", "cert-manager 1.6"),
    ("cert-manager.io/v1alpha3", (), "cert-manager.io/v1", "cert-manager 1.6"),
    ("cert-manager.io/v1beta1", (), "cert-manager.io/v1", "cert-manager 1.6"),
    ("gateway.networking.k8s.io/v1alpha1", (), "gateway.networking.k8s.io/v1", "Gateway API 1.0"),
)  # fmt: skip

REMOVED: dict[tuple[str, str], tuple[str, str]] = {
    (version, kind): (new, since)
    for version, kinds, new, since in (*_K8S, *_FLUX, *_OPERATORS)
    for kind in kinds or ("",)
}
"""(API version, kind or empty for all) -> (what replaces it, who removed it)."""


@rule("DL111", "An API version that no longer exists", fix="write the current version")
def removed_version(world: World) -> Iterator[RuleMatch]:
    """The API server answers `no matches for kind`: nothing of the Kustomization that holds the
    object is applied."""
    unused = {file.path for file, _ in unused_files(world)}
    for item in world.written:
        if item.path in unused:
            continue  # nobody applies it, which is a finding of its own
        version = item.node.get("apiVersion")
        removal = REMOVED.get((version.text, item.kind)) or REMOVED.get((version.text, ""))
        if item.group == "install.istio.io" and not world.applied(item.path):
            continue  # still what `istioctl install -f` reads
        if removal is not None:
            new, since = removal
            fix = (
                f"write `{new}`"
                if new
                else "remove the object; use Pod Security Admission labels on namespaces"
            )
            yield item.at(version, f"`{version.text}` {item.kind} was removed by {since}", fix=fix)


@rule("DL112", "A field that no longer exists", fix="write the field that replaced it")
def removed_field(world: World) -> Iterator[RuleMatch]:
    """A strict API server refuses the object; a lenient one drops the field, so that the
    schedule, the lock or the validation it stood for silently does not happen."""
    for item in world.of(CRON):
        if item.spec.get("schedule"):
            yield item.at(
                item.spec.get("schedule"),
                "`schedule` was removed by Argo Workflows 4.0",
                fix="write a list: `schedules: […]`",
            )
    for item in world.written:
        if item.group == "argoproj.io" and item.kind in (
            "Workflow",
            "WorkflowTemplate",
            "ClusterWorkflowTemplate",
            "CronWorkflow",
        ):
            for key, node in item.spec.mappings():
                if key == "synchronization":
                    for old in ("mutex", "semaphore"):
                        if node.get(old):
                            new = f"{old}es" if old == "mutex" else f"{old}s"
                            yield item.at(
                                node.get(old),
                                f"`{old}` was removed by Argo Workflows 4.0",
                                fix=f"write a list: `{new}: […]`",
                            )
    for item in world.of(EVENT_BUS):
        for old in ("native", "exotic"):
            if item.spec.get("nats", old):
                yield item.at(
                    item.spec.get("nats", old),
                    f"`nats.{old}` needs NATS Streaming, which ended in 2023",
                    fix="use `jetstream` or `jetstreamExotic`",
                )
    for item in world.of(FLUX):
        if item.version == "v1" and item.spec.get("validation"):
            yield item.at(
                item.spec.get("validation"),
                "`validation` was removed by Flux",
                fix="leave it out; the dry run is always made by the server",
            )
