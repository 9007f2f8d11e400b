"""Who may talk to whom in a pipeline's namespace: nobody, but for what each role needs.

All policies stand in the first tree, so that none is missing when the rest starts. Ports are the pods' own: a policy
never sees a Service's. The platform is where `cluster/infrastructure` puts it; for other addresses `driftloop secrets
init` writes policies of its own, and policies add up.
"""

from collections.abc import Iterator

from pipeline.kube.base import LabelRequirement, LabelSelector
from pipeline.kube.networking import Egress, Ingress, IPBlock, NetworkPolicy, NetworkPolicySpec, Peer, Port
from pipeline.plan import Plan
from pipeline.plan.names import PREDICTOR_PORT, SERVICE_PORT, WEBHOOK_PORT, Names
from pipeline.resources import decision, judge, parts, serving
from pipeline.resources.servers import METRICS_PORT
from pipeline.spec.graph import own

COMPONENT = "network"
STEPS = "workflows"
REACHES = "driftloop.dev/reaches"
"""Label of workflow pods that need more than storage and git."""
CLAIM, FINISH, JUDGE = "nats", "nats-broker", "judge"
"""Its values. A user's code reaches none of these."""

OUTSIDE = (443, 6443)
"""The API server and git have no label a policy could select, so their ports are open to any address."""


def policies(plan: Plan) -> dict[str, NetworkPolicy]:
    """Role -> its policy; the first one shuts everything."""
    names = plan.names
    shut = NetworkPolicySpec(pod_selector=LabelSelector(), policy_types=("Ingress", "Egress"))
    return {"deny": _policy(names, "deny", shut)} | {
        role: _policy(
            names,
            role,
            NetworkPolicySpec(
                pod_selector=selector,
                policy_types=(*(("Ingress",) if ingress else ()), *(("Egress",) if egress else ())),
                ingress=ingress or None,
                egress=egress or None,
            ),
        )
        for role, selector, ingress, egress in _roles(plan)
    }


def _roles(plan: Plan) -> Iterator[tuple[str, LabelSelector, tuple[Ingress, ...], tuple[Egress, ...]]]:
    names = plan.names
    broker = _to(_in("knative-eventing", **{"eventing.knative.dev/brokerRole": "ingress"}), 8080)
    nats = _to(_in("nats-io", **{"app.kubernetes.io/name": "nats"}), 4222)
    storage = _to(_in("storage"), 8333)
    outside = Egress(ports=tuple(Port(port=port) for port in OUTSIDE))
    filters = _in("knative-eventing", **{"eventing.knative.dev/brokerRole": "filter"})
    dispatchers = _in("knative-eventing", **{"messaging.knative.dev/role": "dispatcher"})
    watching = _in("monitoring")

    steps = parts.labels(names, STEPS)
    rollout = {**steps, REACHES: JUDGE}
    webhook, sensor = {"eventsource-name": names.retrain}, {"sensor-name": names.retrain}
    decides, judges = parts.labels(names, decision.COMPONENT), parts.labels(names, judge.COMPONENT)
    model = _model(plan)

    yield "dns", LabelSelector(), (), (_dns(),)
    yield "steps", _all(steps), (), (storage, outside)
    yield "steps-claim", _all({**steps, REACHES: CLAIM}), (), (nats,)
    yield "steps-finish", _all({**steps, REACHES: FINISH}), (), (nats, broker)
    yield "steps-judge", _all(rollout), (), (_to(_pods(judges), SERVICE_PORT),)
    yield "webhook", _all(webhook), (_from(_pods(decides), port=WEBHOOK_PORT),), (nats,)
    yield "sensor", _all(sensor), (), (nats, outside)
    gateway = _in("istio-system", istio="ingressgateway")
    # what a model server, and each class of a graph, shows of itself where Seldon's operator runs it
    shown = tuple(Port(port=METRICS_PORT + number) for number in range(1 + len(own(plan.serve.graph))))
    metrics = (Ingress(from_=(watching,), ports=shown),) if plan.serve.backend == "seldon" else ()
    served = _from(gateway, _pods(judges), watching, port=PREDICTOR_PORT)
    yield "model", _all(model), (served, *metrics), (storage, broker)
    yield (
        "decision",
        _all(decides),
        # dead letters come from the channel's dispatcher itself
        (_from(filters, dispatchers, watching, port=SERVICE_PORT),),
        (nats, broker, outside, _to(_pods(webhook), WEBHOOK_PORT)),
    )
    yield (
        "judge",
        _all(judges),
        (_from(filters, watching, _pods(rollout), port=SERVICE_PORT),),
        (nats, _to(_pods(model), PREDICTOR_PORT)),
    )
    if plan.monitors:
        named = LabelRequirement(
            key="app.kubernetes.io/component", operator="In", values=tuple(one.name for one in plan.monitors)
        )
        detectors = LabelSelector(match_labels={"app.kubernetes.io/name": names.pipeline}, match_expressions=(named,))
        yield "detectors", detectors, (_from(filters, watching, port=SERVICE_PORT),), (storage, nats, broker)


def _model(plan: Plan) -> dict[str, str]:
    """Labels of the model servers' pods; Seldon's operator gives them its own."""
    if plan.serve.backend == "seldon":
        return {"seldon-deployment-id": plan.names.pipeline}
    return parts.labels(plan.names, serving.COMPONENT)


def _dns() -> Egress:
    # a node's own cache has an address of the link, not a pod's
    cache = Peer(ip_block=IPBlock(cidr="169.254.20.10/32"))
    found = (_in("kube-system", **{"k8s-app": "kube-dns"}), cache)
    return Egress(to=found, ports=(Port(protocol="UDP", port=53), Port(port=53)))


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


def _to(peer: Peer, port: int) -> Egress:
    return Egress(to=(peer,), ports=(Port(port=port),))


def _from(*peers: Peer, port: int) -> Ingress:
    return Ingress(from_=peers, ports=(Port(port=port),))
