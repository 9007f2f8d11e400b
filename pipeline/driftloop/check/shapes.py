"""What an object of a removed API version must have, or must not have, for its fields to fit the current one."""
# ruff: noqa: E501 - tables read better in one line per entry

from collections.abc import Iterator
from dataclasses import dataclass, field

from driftloop.text.node import YamlNode

_BY_HAND = "written anew by hand: "


@dataclass(frozen=True)
class Shape:
    """Fields, as paths with `[]` for every item of a list, that a version no longer has or still wants."""

    gone: dict[str, str] = field(default_factory=dict)
    """Path to what takes its place: an object with it is not rewritten."""
    wanted: dict[str, str] = field(default_factory=dict)
    """Path to why: an object without it is not rewritten."""
    dropped: tuple[str, ...] = ()
    """Paths that have no effect any more and go."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Path to its new name."""
    listed: dict[str, str] = field(default_factory=dict)
    """Path to the name of the list that its value becomes the one item of."""
    never: str = ""
    """Why no object of the kind is rewritten."""


_PATCHES = "`patches`, which takes both forms"
_POST_RENDERERS = {
    f"spec.postRenderers[].kustomize.{name}": _PATCHES
    for name in ("patchesStrategicMerge", "patchesJson6902")
}
_NO_ACCESS = {
    "spec.accessFrom": "nothing: other namespaces are let in or out by the controllers' flags"
}
_SELECTOR = "the old version took the labels of the template, v1 takes none"
_ON_DELETE = "the old version replaced pods when somebody deleted them (OnDelete), v1 does at once"
_WEBHOOKS = Shape(
    wanted={
        "webhooks[].sideEffects": "v1 has no default",
        "webhooks[].admissionReviewVersions": "v1 has no default",
    }
)
_INGRESS = Shape(
    gone={
        "spec.rules": "`pathType` and `backend.service` with `name` and `port`",
        "spec.backend": "`defaultBackend.service`",
    }
)
_REVISIONS = Shape(
    gone={
        f"spec.{name}": "`template` and `traffic`"
        for name in ("runLatest", "release", "pinned", "manual", "revisionTemplate", "revisionName")
    }
)
_OPERATOR = Shape(
    gone={
        f"spec.{name}": "`spec.ingress.istio`"
        for name in ("knative-ingress-gateway", "cluster-local-gateway")
    }
)
_CERTIFICATE = Shape(gone={
    "spec.organization": "`subject.organizations`", "spec.keySize": "`privateKey.size`", "spec.keyAlgorithm": "`privateKey.algorithm`",
    "spec.keyEncoding": "`privateKey.encoding`", "spec.uriSANs": "`uris`", "spec.emailSANs": "`emailAddresses`",
})  # fmt: skip
_SHARES = Shape(renamed={"spec.limited.assuredConcurrencyShares": "nominalConcurrencyShares"})
_STAN = Shape(
    never=_BY_HAND
    + "a NatsJetStreamChannel keeps events in a stream, whose limits and replicas somebody has to choose; what names this channel then names that kind"
)

SHAPES: dict[tuple[str, str], Shape] = {
    ("kustomize.toolkit.fluxcd.io", "Kustomization"): Shape(
        gone={f"spec.{name}": _PATCHES for name in ("patchesStrategicMerge", "patchesJson6902")},
        dropped=("spec.validation",),
    ),
    ("source.toolkit.fluxcd.io", "GitRepository"): Shape(gone=_NO_ACCESS, dropped=("spec.gitImplementation",)),
    ("source.toolkit.fluxcd.io", "HelmRepository"): Shape(gone=_NO_ACCESS),
    ("source.toolkit.fluxcd.io", "Bucket"): Shape(gone=_NO_ACCESS),
    ("source.toolkit.fluxcd.io", "HelmChart"): Shape(gone=_NO_ACCESS, listed={"spec.valuesFile": "valuesFiles"}),
    ("helm.toolkit.fluxcd.io", "HelmRelease"): Shape(gone=_POST_RENDERERS, listed={"spec.chart.spec.valuesFile": "valuesFiles"}),
    ("image.toolkit.fluxcd.io", "ImageUpdateAutomation"): Shape(
        gone={"spec.checkout": "`spec.git.checkout`", "spec.commit": "`spec.git.commit`", "spec.push": "`spec.git.push`",
              "spec.git.commit.messageTemplate": "`.Changed` in it, where it has `.Updated`"},
    ),
    ("eventing.knative.dev", "Trigger"): Shape(gone={"spec.filter.sourceAndType": "`filter.attributes`"}),
    ("eventing.knative.dev", "Broker"): Shape(gone={"spec.channelTemplateSpec": "`spec.config`, which names a ConfigMap"}),
    ("messaging.knative.dev", "Channel"): Shape(gone={"spec.subscribable": "Subscriptions"}),
    ("messaging.knative.dev", "InMemoryChannel"): Shape(gone={"spec.subscribable": "Subscriptions"}),
    ("messaging.knative.dev", "NatssChannel"): _STAN,
    ("sources.knative.dev", "PingSource"): Shape(gone={"spec.jsonData": "`data` and `contentType: application/json`"}),
    ("sources.knative.dev", "ContainerSource"): Shape(gone={"spec.image": "`spec.template`", "spec.args": "`spec.template`", "spec.env": "`spec.template`"}),
    ("sources.knative.dev", "ApiServerSource"): Shape(gone={
        "spec.resources[].controller": "`resources[].selector` and `owner`", "spec.resources[].controllerSelector": "`owner`",
        "spec.resources[].labelSelector": "`resources[].selector`",
    }),
    ("serving.knative.dev", "Service"): _REVISIONS,
    ("serving.knative.dev", "Configuration"): _REVISIONS,
    ("operator.knative.dev", "KnativeServing"): _OPERATOR,
    ("operator.knative.dev", "KnativeEventing"): _OPERATOR,
    ("cert-manager.io", "Certificate"): _CERTIFICATE,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Shape(never=_BY_HAND + "v1 wants a schema for each version; take the definitions of the controller's current release"),
    ("install.istio.io", "IstioOperator"): Shape(never=_BY_HAND + "its settings become values of the charts"),
    ("events.k8s.io", "Event"): Shape(never=_BY_HAND + "v1 has other fields"),
    ("discovery.k8s.io", "EndpointSlice"): Shape(gone={"endpoints[].topology": "`nodeName` and `zone`"}),
    ("autoscaling", "HorizontalPodAutoscaler"): Shape(gone={
        f"spec.metrics[].{kind}.{name}": "`target`" for kind in ("resource", "pods", "object", "external")
        for name in ("targetAverageUtilization", "targetAverageValue", "targetValue", "metricName")
    }),
    ("certificates.k8s.io", "CertificateSigningRequest"): Shape(wanted={"spec.signerName": "v1 has no default"}),
    ("policy", "PodDisruptionBudget"): Shape(wanted={"spec.selector.matchLabels": "a selector without labels meant no pod, and means all in v1"}),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): _WEBHOOKS,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): _WEBHOOKS,
    ("rbac.authorization.k8s.io", "RoleBinding"): Shape(gone={"subjects[].apiVersion": "`apiGroup`"}),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): Shape(gone={"subjects[].apiVersion": "`apiGroup`"}),
    ("networking.k8s.io", "Ingress"): _INGRESS,
    ("extensions", "Ingress"): _INGRESS,
    ("apps", "Deployment"): Shape(gone={"spec.rollbackTo": "`kubectl rollout undo`"}, wanted={"spec.selector": _SELECTOR}),
    ("extensions", "Deployment"): Shape(gone={"spec.rollbackTo": "`kubectl rollout undo`"}, wanted={"spec.selector": _SELECTOR}),
    ("extensions", "ReplicaSet"): Shape(wanted={"spec.selector": _SELECTOR}),
    ("apps", "StatefulSet"): Shape(wanted={"spec.selector": _SELECTOR, "spec.updateStrategy": _ON_DELETE}),
    ("extensions", "DaemonSet"): Shape(gone={"spec.templateGeneration": "nothing"}, wanted={"spec.selector": _SELECTOR, "spec.updateStrategy": _ON_DELETE}),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): _SHARES,
}  # fmt: skip
"""(Group of the removed version, kind) -> what its fields need. Kinds that are not here have the same fields."""

FIELDS = {
    "schedule": "schedules",
    "mutex": "mutexes",
    "semaphore": "semaphores",
}
"""Removed field -> the list that its value becomes the one item of."""
DROPPED_FIELDS = ("validation",)
"""Removed fields that have no effect and go."""
LEFT_FIELDS = dict.fromkeys(
    ("native", "exotic"),
    "a bus with another store: write `jetstream` (or `jetstreamExotic` with its `url` and `accessSecret`), and let what "
    "the old one holds be delivered before it goes",
)
"""Removed field -> why it is not rewritten."""


def find_paths(node: YamlNode, path: str) -> Iterator[tuple[YamlNode, str]]:
    """Yield each mapping that a path ends in, and the last key of the path, whether it is there or not."""
    *steps, last = path.split(".")
    places = [node]
    for step in steps:
        inner = [place.get(step.removesuffix("[]")) for place in places]
        places = [
            item for each in inner for item in (each.list if step.endswith("[]") else (each,))
        ]
    yield from ((place, last) for place in places if place)


def find_obstacle(node: YamlNode, shape: Shape) -> str | None:
    """Return why an object of this shape can't be rewritten without a person; None when it can."""
    if shape.never:
        return shape.never
    for path, instead in shape.gone.items():
        for place, key in find_paths(node, path):
            value = place.get(key)
            if path.endswith(".messageTemplate") and ".Updated" not in value.text:
                continue
            if key in place.map:
                return f"`{path}` is not in the current version; its place takes {instead}"
    for path, why in shape.wanted.items():
        parents = [*find_paths(node, path)]
        if "[]" not in path and not parents:
            return f"`{path}` is needed: {why}"
        for place, key in parents:
            if key not in place.map:
                return f"`{path}` is needed: {why}"
    for path, name in (*shape.listed.items(), *shape.renamed.items()):
        for place, key in find_paths(node, path):
            if key in place.map and name in place.map:
                return f"`{path}` and `{name}` are both there"
    return None
