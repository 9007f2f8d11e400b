"""DL52x: Istio's policies, and the pods that they are about."""

from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.pods import Pod, fits, made_labels, pods, unknown_pods
from driftloop.check.rules.network import destinations, host_of, selected
from driftloop.check.world import (
    CLUSTER_TEMPLATE,
    KNATIVE_SERVICE,
    NAMESPACE,
    SERVICE,
    TRIGGER,
    VIRTUAL_SERVICE,
    Kind,
    Object,
    World,
)
from driftloop.text.node import YamlNode

AUTHORIZATION: Kind = ("security.istio.io", "AuthorizationPolicy")
AUTHENTICATION: Kind = ("security.istio.io", "PeerAuthentication")
API_GATEWAY: Kind = ("gateway.networking.k8s.io", "Gateway")
ROOT = "istio-system"
"""Policies here are about pods of every namespace."""

_GIVEN = ("istio.io", "kubernetes.io", "k8s.io", "argoproj.io", "knative.dev")
"""Domains of labels that controllers give pods; `app.kubernetes.io` is the users' own."""
_GIVEN_BARE = {
    "pod-template-hash",
    "controller-uid",
    "job-name",
    "controller-revision-hash",
    "pod-template-generation",
}

Labels = dict[str, str | None]


@rule(
    "DL521",
    "An AuthorizationPolicy selects no pod",
    fix="let the selector be labels of the pods it is about, and all of them on one",
)
def selects_nothing(world: World) -> Iterator[RuleMatch]:
    """It guards nothing: who it was to keep out gets in, and whom it was to let in through a
    policy that refuses everybody stays out."""
    for item in world.of(AUTHORIZATION):
        node = item.spec.get("selector", "matchLabels")
        selector = {key: value.text for key, value in node.map.items()}
        if (
            not selector
            or item.namespace == ROOT
            or any(map(_given, selector))
            or not all(map(_literal, selector.values()))
        ):
            continue
        label_sets = _known(world, item)
        if label_sets and not any(fits(selector, labels) for labels in label_sets):
            listed = ", ".join(f"{key}: {value}" for key, value in selector.items())
            yield item.at(node, f"no pod of namespace `{item.namespace}` has the labels {listed}")


@rule(
    "DL522",
    "An AuthorizationPolicy without rules refuses what is called",
    fix="say in `rules` who may call, or add an ALLOW policy for these pods beside it",
)
def refuses_everybody(world: World) -> Iterator[RuleMatch]:
    """An ALLOW policy that has no rules lets nobody in, and no other policy opens these pods:
    each event and each request that is sent there is refused."""
    policies = list(world.of(AUTHORIZATION))
    called = list(_called(world))
    for policy in policies:
        if (
            not _allows(policy)
            or policy.spec.get("rules").list
            or policy.namespace == ROOT
            or not world.whole(policy.namespace)
        ):
            continue
        own = [other for other in policies if other.namespace in (policy.namespace, ROOT, "")]
        if any(other.spec.get(field) for other in own for field in ("targetRef", "targetRefs")):
            continue  # enforced in a waypoint, where other rules may let them in
        opening = [other for other in own if _allows(other) and other.spec.get("rules").list]
        for caller, pod in called:
            labels = {key: value.text for key, value in pod.labels.map.items()}
            if (
                pod.object.namespace == policy.namespace
                and _about(policy, labels)
                and not any(_about(other, labels) for other in opening)
                and _in_mesh(world, pod)
                and not world.changed & {policy.path, pod.object.path, caller.path}
            ):
                place = policy.spec.get("rules") if "rules" in policy.spec.map else policy.spec
                yield policy.at(
                    place, f"no client may call {pod.object.subject}, which {caller.subject} calls"
                )
                break


@rule(
    "DL523",
    "STRICT in a namespace whose pods are in no mesh",
    severity=Severity.WARNING,
    fix="let the namespace take part (`istio.io/dataplane-mode: ambient`, or injection), or take the policy out",
)
def strict_without_mesh(world: World) -> Iterator[RuleMatch]:
    """Nothing enforces it: the pods have no proxy, so they take plain traffic from anybody, and
    the file says the opposite."""
    for item in world.of(AUTHENTICATION):
        mode = item.spec.get("mtls", "mode")
        if mode.text != "STRICT" or item.namespace == ROOT or not _known(world, item):
            continue
        homes = world.named(NAMESPACE, item.namespace, "")
        own = [home.node.get("metadata", "labels") for home in homes]
        if len(own) != 1 or own[0].get("istio.io/dataplane-mode").text == "ambient":
            continue
        here = [pod for pod in pods(world) if pod.object.namespace in (item.namespace, "")]
        made = list(made_labels(world, item.namespace))
        if any(pod.labels.get("istio.io/dataplane-mode") for pod in here):
            continue
        off = own[0].get("istio-injection").text == "disabled"
        if off and any(_injects(pod) == "true" for pod in here):
            continue
        each = all(_injects(pod) == "false" for pod in here) and all(
            labels.get("sidecar.istio.io/inject") == "false" for labels in made
        )
        if off or each:
            why = (
                "injection is disabled there"
                if off
                else "its pods all say `sidecar.istio.io/inject: false`"
            )
            yield item.at(
                mode, f"namespace `{item.namespace}` has no label of the ambient mesh, and {why}"
            )


def _known(world: World, policy: Object) -> list[Labels]:
    """The labels of all pods of a policy's namespace; none when the files don't say all of them,
    or there are none."""
    namespace = policy.namespace
    if not namespace or not world.whole(namespace) or unknown_pods(world, namespace):
        return []
    # what these make has labels that no file holds
    if any(other.namespace in (namespace, "") for other in world.of(KNATIVE_SERVICE, API_GATEWAY)):
        return []
    if any(world.of(CLUSTER_TEMPLATE)):
        return []
    here = [pod for pod in pods(world) if pod.object.namespace in (namespace, "")]
    if world.changed & {policy.path, *(pod.object.path for pod in here)}:
        return []
    label_sets: list[Labels] = [
        {key: _value(node) for key, node in pod.labels.map.items()} for pod in here
    ]
    return [*label_sets, *made_labels(world, namespace)]


def _value(node: YamlNode) -> str | None:
    return node.text if _literal(node.text) else None


def _literal(text: str) -> bool:
    return bool(text) and "{{" not in text and "$" not in text


def _given(key: str) -> bool:
    domain, slash, _ = key.partition("/")
    if not slash:
        return key in _GIVEN_BARE
    return domain != "app.kubernetes.io" and domain.endswith(_GIVEN)


def _allows(policy: Object) -> bool:
    return policy.spec.get("action").text in ("", "ALLOW")


def _about(policy: Object, labels: dict[str, str]) -> bool:
    selector = policy.spec.get("selector", "matchLabels").map
    return all(labels.get(key) == node.text for key, node in selector.items())


def _called(world: World) -> Iterator[tuple[Object, Pod]]:
    """(who calls, pod) for events and routes that lead to a Service of the set."""
    all_pods = list(pods(world))
    for trigger in world.of(TRIGGER):
        ref = trigger.spec.get("subscriber", "ref")
        if ref.get("kind").text == "Service" and ref.get("apiVersion").text == "v1":
            namespace = ref.get("namespace").text or trigger.namespace
            for service in world.named(SERVICE, ref.get("name").text, namespace):
                yield from ((trigger, pod) for pod in selected(world, service, all_pods))
    for trigger in world.of(VIRTUAL_SERVICE):
        for node in destinations(trigger):
            place = host_of(trigger, node.get("host").text)
            for service in world.named(SERVICE, *place) if place is not None else ():
                yield from ((trigger, pod) for pod in selected(world, service, all_pods))


def _in_mesh(world: World, pod: Pod) -> bool:
    """Return True if the files say that a pod is in the mesh."""
    if pod.labels.get("istio.io/dataplane-mode").text == "none" or _injects(pod) == "false":
        return False
    for home in world.named(NAMESPACE, pod.object.namespace, ""):
        labels = home.node.get("metadata", "labels")
        if (
            labels.get("istio.io/dataplane-mode").text == "ambient"
            or labels.get("istio-injection").text == "enabled"
        ):
            return True
    return pod.labels.get("istio.io/dataplane-mode").text == "ambient" or _injects(pod) == "true"


def _injects(pod: Pod) -> str:
    """`true` or `false` where a pod says whether it wants a sidecar."""
    key = "sidecar.istio.io/inject"
    for node in (
        pod.labels.get(key),
        pod.object.spec.get("template", "metadata", "annotations", key),
    ):
        if node:
            return str(node.value).lower()
    return ""
