"""NetworkPolicies for addresses other than those of `cluster/infrastructure`, which are all the
rendered ones know."""

import ipaddress
from typing import Literal
from urllib.parse import urlsplit

from driftloop.contract.names import COMPONENT_LABEL, OWN_LABELS, PLATFORM, REACHES_LABEL
from driftloop.kube.base import LabelRequirement, LabelSelector, ObjectMeta
from driftloop.kube.networking import Egress, IPBlock, NetworkPolicy, NetworkPolicySpec, Peer, Port
from driftloop.resources.guarding import network
from driftloop.resources.workflows import steps

_PORTS = {"http": 80, "https": 443, "nats": 4222, "tls": 4222, "ssh": 22}
_ANYWHERE = (Peer(ip_block=IPBlock(cidr="0.0.0.0/0")), Peer(ip_block=IPBlock(cidr="::/0")))


def _label(
    key: str, operator: Literal["In", "NotIn", "DoesNotExist"], *values: str
) -> LabelRequirement:
    return LabelRequirement(key=key, operator=operator, values=values or None)


_COMMITTING = _label(REACHES_LABEL, "In", steps.GIT, steps.CLAIM, steps.FINISH, steps.JUDGE)
_CLIENTS: dict[str, tuple[LabelSelector, ...]] = {
    "s3": (
        LabelSelector(
            match_expressions=(
                _label(COMPONENT_LABEL, "NotIn", "decision", "judge"),
                _label("eventsource-name", "DoesNotExist"),
                _label("sensor-name", "DoesNotExist"),
            )
        ),
    ),
    "nats": (
        LabelSelector(
            match_expressions=(
                _label(COMPONENT_LABEL, "NotIn", steps.COMPONENT, "serving"),
                _label("seldon-deployment-id", "DoesNotExist"),
            )
        ),
        LabelSelector(match_expressions=(_label(REACHES_LABEL, "In", steps.CLAIM, steps.FINISH),)),
    ),
    "git": (
        LabelSelector(match_expressions=(_COMMITTING,)),
        LabelSelector(match_expressions=(_label(COMPONENT_LABEL, "In", "decision"),)),
    ),
    "kubernetes": (
        LabelSelector(
            match_expressions=(_label(COMPONENT_LABEL, "In", steps.COMPONENT, "decision"),)
        ),
    ),
}
"""Part of the platform -> the pods that call it."""


def policies(
    namespace: str, addresses: dict[str, str], known: dict[str, str]
) -> dict[str, NetworkPolicy]:
    """Name -> policy for each address (by part: s3, nats, git, kubernetes) that the rendered
    policies do not open.

    `known` are the platform's own addresses.
    """
    policies_by_name = {}
    for part, selectors in _CLIENTS.items():
        url = addresses[part]
        if url == known.get(part) or (egress := _egress(url, part)) is None:
            continue
        for number, selector in enumerate(selectors):
            name = f"{PLATFORM}-{part}" + (f"-{number}" if number else "")
            policies_by_name[name] = NetworkPolicy(
                metadata=ObjectMeta(name=name, namespace=namespace, labels=OWN_LABELS),
                spec=NetworkPolicySpec(
                    pod_selector=selector, policy_types=("Egress",), egress=(egress,)
                ),
            )
    return policies_by_name


def _egress(url: str, part: str) -> Egress | None:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    labels = host.split(".")
    if len(labels) in (3, 5) and labels[2] == "svc":
        # a policy sees the pods' ports, and only the Service knows them
        home = LabelSelector(match_labels={"kubernetes.io/metadata.name": labels[1]})
        return Egress(to=(Peer(namespace_selector=home),))
    if port is None or (part in ("git", "kubernetes") and port in network.OUTSIDE):
        return None
    return Egress(to=_peers(host), ports=(Port(port=port),))


def _peers(host: str) -> tuple[Peer, ...]:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _ANYWHERE
    return (Peer(ip_block=IPBlock(cidr=f"{address}/{address.max_prefixlen}")),)
