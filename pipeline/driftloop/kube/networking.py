"""networking.k8s.io/v1: NetworkPolicy."""

from typing import Literal

from pydantic import Field

from driftloop.kube.base import KubernetesObject, LabelSelector, ObjectPart, Protocol


class Port(ObjectPart):
    """A port of the pod at the receiving end, never the Service's."""

    protocol: Protocol = "TCP"
    port: int


class IPBlock(ObjectPart):
    """Addresses outside the cluster, or of a node."""

    cidr: str


class Peer(ObjectPart):
    """The other end: pods with these labels, in this namespace or (both selectors) in others; or
    addresses."""

    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class Ingress(ObjectPart):
    """Permitted callers and ports."""

    from_: tuple[Peer, ...] | None = Field(default=None, alias="from")
    ports: tuple[Port, ...] | None = None


class Egress(ObjectPart):
    """Permitted destinations and ports; any destination without `to`."""

    to: tuple[Peer, ...] | None = None
    ports: tuple[Port, ...] | None = None


class NetworkPolicySpec(ObjectPart):
    """Traffic permitted to the selected pods in the named directions; policies add up."""

    pod_selector: LabelSelector
    policy_types: tuple[Literal["Ingress", "Egress"], ...]
    ingress: tuple[Ingress, ...] | None = None
    egress: tuple[Egress, ...] | None = None


class NetworkPolicy(KubernetesObject):
    """Permitted traffic. It has an effect only where the cluster's network plugin enforces it."""

    api_version: Literal["networking.k8s.io/v1"] = "networking.k8s.io/v1"
    kind: Literal["NetworkPolicy"] = "NetworkPolicy"
    spec: NetworkPolicySpec
