"""Permitted traffic in a pipeline's namespace: none but what each role needs.

All policies stand in the first tree, so that none is missing when the rest starts. Ports are the
pods' own: a policy never sees a Service's. The platform is where `cluster/infrastructure` puts
it; for other addresses `driftloop secrets init` writes policies of its own, and policies add up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from driftloop.contract.names import (
    COMPONENT_LABEL,
    KNATIVE_NAMESPACE,
    NAME_LABEL,
    NATS_NAMESPACE,
    NATS_PORT,
    PREDICTOR_PORT,
    SERVICE_PORT,
    STORAGE_NAMESPACE,
    STORAGE_PORT,
    WEBHOOK_PORT,
    Names,
)
from driftloop.kube.base import LabelRequirement, LabelSelector
from driftloop.kube.networking import Egress, Ingress, IPBlock, NetworkPolicy, NetworkPolicySpec, Peer, Port
from driftloop.plan import Plan
from driftloop.resources import decision, judge, parts
from driftloop.resources.serving import serving_backend
from driftloop.resources.serving.servers import installs
from driftloop.resources.workflows.steps import CLAIM, FINISH, JUDGE, REACHES
from driftloop.resources.workflows.steps import COMPONENT as STEPS

COMPONENT = "network"
GATEWAY_NAMESPACE = "istio-system"
OUTSIDE = (443, 6443)
"""The API server and git have no label a policy could select, so their ports are open to any
address."""
PACKAGES = (443,)
"""Of conda's and PyPI's hosts, whose addresses change."""


PROBES = ("169.254.7.127/32", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128")
"""Whom a kubelet's probes come from in an ambient mesh; without one, a node's own address, which
is always let in."""
TUNNEL = 15008
"""Where a mesh's traffic arrives, whatever port it is meant for."""


@dataclass(frozen=True)
class Caller:
    """Somebody who calls: where a NetworkPolicy finds its pods, and who they are in a mesh."""

    peer: Peer
    namespace: str
    account: str
    """Their service account."""


@dataclass(frozen=True)
class Door:
    """A port of a pod, and everybody who may call it."""

    port: int
    callers: tuple[Caller, ...]


@dataclass(frozen=True)
class Call:
    """Somebody whom a pod calls, and on which ports; without a peer, any address."""

    peer: Peer | None
    ports: tuple[int, ...]
    namespace: str = ""


@dataclass(frozen=True)
class Role:
    """A role of pods: its callers and its destinations."""

    name: str
    pods: LabelSelector
    doors: tuple[Door, ...] = ()
    calls: tuple[Call, ...] = ()


def policies(plan: Plan) -> dict[str, NetworkPolicy]:
    """Role -> its policy; the first one shuts everything."""
    names = plan.names
    shut = NetworkPolicySpec(pod_selector=LabelSelector(), policy_types=("Ingress", "Egress"))
    policies = {"deny": shut, "dns": _opened(LabelSelector(), (), (_dns(),))}
    for role in roles(plan):
        policies[role.name] = _opened(role.pods, _ingress(plan, role), _egress(plan, role))
    if plan.mesh is not None:
        probes = tuple(Peer(ip_block=IPBlock(cidr=address)) for address in PROBES)
        policies["probes"] = _opened(LabelSelector(), (Ingress(from_=probes),), ())
    return {role: _policy(names, role, spec) for role, spec in policies.items()}


def enrolled(plan: Plan, namespace: str) -> bool:
    """Return True if pods of a namespace prove in a mesh who they are; Istio's own gateway does
    without a label."""
    if plan.mesh is None:
        return False
    return namespace in (plan.names.namespace, GATEWAY_NAMESPACE, *plan.mesh.enrolled)


def all_enrolled(plan: Plan, door: Door) -> bool:
    """Return True if everybody who calls proves who it is."""
    return all(enrolled(plan, caller.namespace) for caller in door.callers)


def roles(plan: Plan) -> tuple[Role, ...]:
    """The graph: every role of the namespace's pods, in the order of the files."""
    return tuple(_roles(plan))


def _roles(plan: Plan) -> Iterator[Role]:
    names = plan.names
    home = names.namespace
    broker = _call(KNATIVE_NAMESPACE, 8080, **{"eventing.knative.dev/brokerRole": "ingress"})
    nats = _call(NATS_NAMESPACE, NATS_PORT, **{NAME_LABEL: "nats"})
    storage = _call(STORAGE_NAMESPACE, STORAGE_PORT)
    outside = Call(None, OUTSIDE)
    filters = _platform(KNATIVE_NAMESPACE, "mt-broker-filter", **{"eventing.knative.dev/brokerRole": "filter"})
    dispatchers = _platform(
        KNATIVE_NAMESPACE, "jetstream-ch-dispatcher", **{"messaging.knative.dev/role": "dispatcher"}
    )
    watching = _platform("monitoring", "kube-prometheus-stack-prometheus")
    gateway = _platform(GATEWAY_NAMESPACE, "istio-ingressgateway", istio="ingressgateway")

    steps = parts.labels(names, STEPS)
    rollout = {**steps, REACHES: JUDGE}
    webhook, sensor = {"eventsource-name": names.retrain}, {"sensor-name": names.retrain}
    decides, judges = parts.labels(names, decision.COMPONENT), parts.labels(names, judge.COMPONENT)
    backend = serving_backend(plan)
    model = backend.pod_labels(names)

    yield Role("steps", _all(steps), calls=(storage, outside))
    yield Role("steps-claim", _all({**steps, REACHES: CLAIM}), calls=(nats,))
    yield Role("steps-finish", _all({**steps, REACHES: FINISH}), calls=(nats, broker))
    yield Role("steps-judge", _all(rollout), calls=(Call(_pods(judges), (SERVICE_PORT,), home),))
    asking = Door(WEBHOOK_PORT, (Caller(_pods(decides), home, names.decision),))
    yield Role("webhook", _all(webhook), (asking,), (nats,))
    yield Role("sensor", _all(sensor), calls=(nats, outside))
    measuring = Caller(_pods(judges), home, names.judge)
    metrics = tuple(Door(port, (watching,)) for port in backend.metrics_ports(plan))
    served = Door(PREDICTOR_PORT, (gateway, measuring, watching))
    packages = (Call(None, PACKAGES),) if installs(plan.serve) else ()
    yield Role("model", _all(model), (served, *metrics), (storage, broker, *packages))
    yield Role(
        "decision",
        _all(decides),
        # dead letters come from the channel's dispatcher itself
        (Door(SERVICE_PORT, (filters, dispatchers, watching)),),
        (nats, broker, outside, Call(_pods(webhook), (WEBHOOK_PORT,), home)),
    )
    # in a mesh every step is the same account; which of them reach the judge is the NetworkPolicy's to say
    advancing = Caller(_pods(rollout), home, names.train)
    yield Role(
        "judge",
        _all(judges),
        (Door(SERVICE_PORT, (filters, watching, advancing)),),
        (nats, Call(_pods(model), (PREDICTOR_PORT,), home)),
    )
    if plan.monitors:
        named = LabelRequirement(
            key=COMPONENT_LABEL, operator="In", values=tuple(monitor.name for monitor in plan.monitors)
        )
        detectors = LabelSelector(match_labels={NAME_LABEL: names.pipeline}, match_expressions=(named,))
        yield Role("detectors", detectors, (Door(SERVICE_PORT, (filters, watching)),), (storage, nats, broker))


def _ingress(plan: Plan, role: Role) -> tuple[Ingress, ...]:
    plain = tuple(_from(*(caller.peer for caller in door.callers), port=door.port) for door in role.doors)
    wrapped: list[Peer] = []
    for door in role.doors:
        for caller in door.callers:
            if enrolled(plan, caller.namespace) and caller.peer not in wrapped:
                wrapped.append(caller.peer)
    return (*plain, _from(*wrapped, port=TUNNEL)) if wrapped else plain


def _egress(plan: Plan, role: Role) -> tuple[Egress, ...]:
    rules = []
    for call in role.calls:
        tunnel = (TUNNEL,) if enrolled(plan, call.namespace) else ()
        ports = tuple(Port(port=port) for port in (*call.ports, *tunnel))
        rules.append(Egress(to=None if call.peer is None else (call.peer,), ports=ports))
    return tuple(rules)


def _dns() -> Egress:
    # a node's own cache has an address of the link, not a pod's
    cache = Peer(ip_block=IPBlock(cidr="169.254.20.10/32"))
    resolvers = (_in("kube-system", **{"k8s-app": "kube-dns"}), cache)
    return Egress(to=resolvers, ports=(Port(protocol="UDP", port=53), Port(port=53)))


def _opened(pods: LabelSelector, ingress: tuple[Ingress, ...], egress: tuple[Egress, ...]) -> NetworkPolicySpec:
    return NetworkPolicySpec(
        pod_selector=pods,
        policy_types=(*(("Ingress",) if ingress else ()), *(("Egress",) if egress else ())),
        ingress=ingress or None,
        egress=egress or None,
    )


def _policy(names: Names, role: str, spec: NetworkPolicySpec) -> NetworkPolicy:
    return NetworkPolicy(metadata=parts.meta(names, f"{names.pipeline}-{role}", COMPONENT), spec=spec)


def _all(labels: dict[str, str]) -> LabelSelector:
    return LabelSelector(match_labels=labels)


def _pods(labels: dict[str, str]) -> Peer:
    """Pods of the pipeline's own namespace."""
    return Peer(pod_selector=_all(labels))


def _in(namespace: str, **labels: str) -> Peer:
    """Pods of another namespace."""
    home = _all({"kubernetes.io/metadata.name": namespace})
    return Peer(namespace_selector=home, pod_selector=_all(labels) if labels else None)


def _call(namespace: str, port: int, **labels: str) -> Call:
    return Call(_in(namespace, **labels), (port,), namespace)


def _platform(namespace: str, account: str, **labels: str) -> Caller:
    """A caller of another namespace."""
    return Caller(_in(namespace, **labels), namespace, account)


def _from(*peers: Peer, port: int) -> Ingress:
    return Ingress(from_=peers, ports=(Port(port=port),))
