"""Permitted traffic in a pipeline's namespace: none but what each role needs.

All policies stand in the first tree, so that none is missing when the rest starts. Ports are the
pods' own: a policy never sees a Service's. The platform is where `cluster/infrastructure` puts
it; for other addresses `driftloop secrets init` writes policies of its own, and policies add up.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from driftloop.contract.names import (
    COMPONENT_LABEL,
    KNATIVE_NAMESPACE,
    NAME_LABEL,
    NATS_NAMESPACE,
    NATS_PORT,
    PREDICTOR_PORT,
    REACHES_LABEL,
    SERVICE_PORT,
    STORAGE_NAMESPACE,
    STORAGE_PORT,
    WEBHOOK_PORT,
    Names,
)
from driftloop.kube.base import LabelRequirement, LabelSelector
from driftloop.kube.networking import (
    Egress,
    Ingress,
    IPBlock,
    NetworkPolicy,
    NetworkPolicySpec,
    Peer,
    Port,
)
from driftloop.plan import Plan
from driftloop.resources import decision, judge, parts, recorder
from driftloop.resources.serving import serving_backend
from driftloop.resources.serving.servers import installs_packages
from driftloop.resources.workflows.steps import CLAIM, FINISH, JUDGE, SOURCES
from driftloop.resources.workflows.steps import COMPONENT as STEPS

COMPONENT = "network"
OUTSIDE = (443, 6443)
"""The API server and git have no label a policy could select, so their ports are open to any
address.

Every step's pod has them, a person's code too: Argo's own container reports the step's results
from the same pod, and a policy knows pods, not containers. What that code lacks is a token.
"""
PACKAGES = (443,)
"""Of conda's and PyPI's hosts, whose addresses change."""


PROBES = ("169.254.7.127/32", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128")
"""Whom a kubelet's probes come from in an ambient mesh; without one, a node's own address, which
is always let in."""
TUNNEL = 15008
"""Where a mesh's traffic arrives, whatever port it is meant for."""


@dataclass(frozen=True)
class PortCaller:
    """Somebody who calls: where a NetworkPolicy finds its pods, and who they are in a mesh."""

    peer: Peer
    namespace: str
    account: str
    """Their service account."""


@dataclass(frozen=True)
class OpenPort:
    """A port of a pod, and everybody who may call it."""

    port: int
    callers: tuple[PortCaller, ...]


@dataclass(frozen=True)
class OutgoingCall:
    """Somebody whom a pod calls, and on which ports, all without one; without a peer, any address."""

    peer: Peer | None
    ports: tuple[int, ...]
    namespace: str = ""


@dataclass(frozen=True)
class NetworkRole:
    """A role of pods: its callers and its destinations."""

    name: str
    pods: LabelSelector
    doors: tuple[OpenPort, ...] = ()
    calls: tuple[OutgoingCall, ...] = ()


def network_policies(plan: Plan) -> dict[str, NetworkPolicy]:
    """Role -> its policy; the first one shuts everything."""
    names = plan.names
    shut = NetworkPolicySpec(pod_selector=LabelSelector(), policy_types=("Ingress", "Egress"))
    policies = {"deny": shut, "dns": _open_ports(LabelSelector(), (), (_dns_egress(),))}
    for role in list_roles(plan):
        policies[role.name] = _open_ports(
            role.pods, _build_ingress(plan, role), _build_egress(plan, role)
        )
    if plan.mesh is not None:
        probes = tuple(Peer(ip_block=IPBlock(cidr=address)) for address in PROBES)
        policies["probes"] = _open_ports(LabelSelector(), (Ingress(from_=probes),), ())
    return {role: _build_policy(names, role, spec) for role, spec in policies.items()}


def is_enrolled(plan: Plan, namespace: str) -> bool:
    """Return True if pods of a namespace prove in a mesh who they are; Istio's own gateway does
    without a label."""
    if plan.mesh is None:
        return False
    return namespace in (
        plan.names.namespace,
        plan.ground.spec.gateway.pods.namespace,
        *plan.mesh.enrolled,
    )


def all_enrolled(plan: Plan, door: OpenPort) -> bool:
    """Return True if everybody who calls proves who it is."""
    return all(is_enrolled(plan, caller.namespace) for caller in door.callers)


def list_roles(plan: Plan) -> tuple[NetworkRole, ...]:
    """The graph: every role of the namespace's pods, in the order of the files."""
    return tuple(_build_roles(plan))


def _build_roles(plan: Plan) -> Iterator[NetworkRole]:
    names = plan.names
    home = names.namespace
    broker = _call_platform(
        KNATIVE_NAMESPACE, 8080, **{"eventing.knative.dev/brokerRole": "ingress"}
    )
    nats = _call_platform(NATS_NAMESPACE, NATS_PORT, **{NAME_LABEL: "nats"})
    storage = _call_platform(STORAGE_NAMESPACE, STORAGE_PORT)
    outside = OutgoingCall(None, OUTSIDE)
    filters = _platform_caller(
        KNATIVE_NAMESPACE, "mt-broker-filter", **{"eventing.knative.dev/brokerRole": "filter"}
    )
    dispatchers = _platform_caller(
        KNATIVE_NAMESPACE, "jetstream-ch-dispatcher", **{"messaging.knative.dev/role": "dispatcher"}
    )
    watching = _platform_caller("monitoring", "kube-prometheus-stack-prometheus")
    ingress = plan.ground.spec.gateway.pods
    gateway = _platform_caller(ingress.namespace, ingress.service_account, **ingress.labels)

    steps = parts.object_labels(names, STEPS)
    rollout = {**steps, REACHES_LABEL: JUDGE}
    webhook, sensor = {"eventsource-name": names.retrain}, {"sensor-name": names.retrain}
    decides, judges = (
        parts.object_labels(names, decision.COMPONENT),
        parts.object_labels(names, judge.COMPONENT),
    )
    backend = serving_backend(plan)
    model = backend.pod_labels(names)

    yield NetworkRole("steps", _select_all(steps), calls=(storage, outside))
    yield NetworkRole("steps-claim", _select_all({**steps, REACHES_LABEL: CLAIM}), calls=(nats,))
    yield NetworkRole(
        "steps-finish", _select_all({**steps, REACHES_LABEL: FINISH}), calls=(nats, broker)
    )
    yield NetworkRole(
        "steps-judge",
        _select_all(rollout),
        calls=(OutgoingCall(_own_pods(judges), (SERVICE_PORT,), home),),
    )
    if calls := _list_source_calls(plan):
        reading = _select_all({**steps, REACHES_LABEL: SOURCES})
        yield NetworkRole("steps-sources", reading, calls=calls)
    asking = OpenPort(WEBHOOK_PORT, (PortCaller(_own_pods(decides), home, names.decision),))
    yield NetworkRole("webhook", _select_all(webhook), (asking,), (nats,))
    yield NetworkRole("sensor", _select_all(sensor), calls=(nats, outside))
    measuring = PortCaller(_own_pods(judges), home, names.judge)
    metrics = tuple(OpenPort(port, (watching,)) for port in backend.metrics_ports(plan))
    served = OpenPort(PREDICTOR_PORT, (gateway, measuring, watching))
    packages = (OutgoingCall(None, PACKAGES),) if installs_packages(plan.serve) else ()
    yield NetworkRole("model", _select_all(model), (served, *metrics), (storage, broker, *packages))
    yield NetworkRole(
        "decision",
        _select_all(decides),
        # dead letters come from the channel's dispatcher itself
        (OpenPort(SERVICE_PORT, (filters, dispatchers, watching)),),
        (
            nats,
            broker,
            storage,
            outside,
            OutgoingCall(_own_pods(webhook), (WEBHOOK_PORT,), home),
            # dead letters that a person sends again
            _call_platform(
                KNATIVE_NAMESPACE, 8080, **{"eventing.knative.dev/brokerRole": "filter"}
            ),
            *(() if plan.tracking is None else (_call_server(plan.tracking.mlflow),)),
        ),
    )
    advancing = PortCaller(_own_pods(rollout), home, names.advance)
    yield NetworkRole(
        "judge",
        _select_all(judges),
        (OpenPort(SERVICE_PORT, (filters, watching, advancing)),),
        (nats, OutgoingCall(_own_pods(model), (PREDICTOR_PORT,), home)),
    )
    if plan.capture is not None:
        yield NetworkRole(
            "recorder",
            _select_all(parts.object_labels(names, recorder.COMPONENT)),
            (OpenPort(SERVICE_PORT, (filters, watching)),),
            (storage, nats),
        )
    if plan.monitors:
        named = LabelRequirement(
            key=COMPONENT_LABEL,
            operator="In",
            values=tuple(monitor.name for monitor in plan.monitors),
        )
        detectors = LabelSelector(
            match_labels={NAME_LABEL: names.pipeline}, match_expressions=(named,)
        )
        yield NetworkRole(
            "detectors",
            detectors,
            (OpenPort(SERVICE_PORT, (filters, watching)),),
            (storage, nats, broker),
        )


def _build_ingress(plan: Plan, role: NetworkRole) -> tuple[Ingress, ...]:
    plain = tuple(
        _ingress_from(*(caller.peer for caller in door.callers), port=door.port)
        for door in role.doors
    )
    wrapped: list[Peer] = []
    for door in role.doors:
        for caller in door.callers:
            if is_enrolled(plan, caller.namespace) and caller.peer not in wrapped:
                wrapped.append(caller.peer)
    return (*plain, _ingress_from(*wrapped, port=TUNNEL)) if wrapped else plain


def _build_egress(plan: Plan, role: NetworkRole) -> tuple[Egress, ...]:
    rules = []
    for call in role.calls:
        tunnel = (TUNNEL,) if call.ports and is_enrolled(plan, call.namespace) else ()
        ports = tuple(Port(port=port) for port in (*call.ports, *tunnel)) or None
        rules.append(Egress(to=None if call.peer is None else (call.peer,), ports=ports))
    return tuple(rules)


def _dns_egress() -> Egress:
    # a node's own cache has an address of the link, not a pod's
    cache = Peer(ip_block=IPBlock(cidr="169.254.20.10/32"))
    resolvers = (_pods_in("kube-system", **{"k8s-app": "kube-dns"}), cache)
    return Egress(to=resolvers, ports=(Port(protocol="UDP", port=53), Port(port=53)))


def _open_ports(
    pods: LabelSelector, ingress: tuple[Ingress, ...], egress: tuple[Egress, ...]
) -> NetworkPolicySpec:
    return NetworkPolicySpec(
        pod_selector=pods,
        policy_types=(*(("Ingress",) if ingress else ()), *(("Egress",) if egress else ())),
        ingress=ingress or None,
        egress=egress or None,
    )


def _build_policy(names: Names, role: str, spec: NetworkPolicySpec) -> NetworkPolicy:
    return NetworkPolicy(
        metadata=parts.object_meta(names, f"{names.pipeline}-{role}", COMPONENT), spec=spec
    )


def _select_all(labels: dict[str, str]) -> LabelSelector:
    return LabelSelector(match_labels=labels)


def _own_pods(labels: dict[str, str]) -> Peer:
    """Pods of the pipeline's own namespace."""
    return Peer(pod_selector=_select_all(labels))


def _pods_in(namespace: str, **labels: str) -> Peer:
    """Pods of another namespace."""
    home = _select_all({"kubernetes.io/metadata.name": namespace})
    return Peer(namespace_selector=home, pod_selector=_select_all(labels) if labels else None)


def _call_platform(namespace: str, port: int, **labels: str) -> OutgoingCall:
    return OutgoingCall(_pods_in(namespace, **labels), (port,), namespace)


def _list_source_calls(plan: Plan) -> tuple[OutgoingCall, ...]:
    """Return what sources of data need beyond the ports that every step's pod has."""
    calls: list[OutgoingCall] = []
    for source in plan.sources:
        web = (*source.urls, *(f"https://{host}" for host in source.redirects))
        for url in web if source.address.kind == "https" else filter(None, (source.endpoint,)):
            call = _call_server(url)
            if call not in calls and not (call.peer is None and set(call.ports) <= set(OUTSIDE)):
                calls.append(call)
    return tuple(calls)


def _call_server(url: str) -> OutgoingCall:
    """A server of the user's own, as a spec names it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    labels = host.split(".")
    if len(labels) in (3, 5) and labels[2] == "svc":
        # a policy sees the pods' ports, and only the Service knows them
        return OutgoingCall(_pods_in(labels[1]), (), labels[1])
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return OutgoingCall(None, (port,))
    block = IPBlock(cidr=f"{address}/{address.max_prefixlen}")
    return OutgoingCall(Peer(ip_block=block), (port,))


def _platform_caller(namespace: str, account: str, **labels: str) -> PortCaller:
    """A caller of another namespace."""
    return PortCaller(_pods_in(namespace, **labels), namespace, account)


def _ingress_from(*peers: Peer, port: int) -> Ingress:
    return Ingress(from_=peers, ports=(Port(port=port),))
