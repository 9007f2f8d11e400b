"""security.istio.io/v1: AuthorizationPolicy and PeerAuthentication, as far as ztunnel enforces
them: layer 4."""

from typing import Literal

from pydantic import Field

from driftloop.kube.base import KubernetesObject, ObjectPart


class WorkloadSelector(ObjectPart):
    """Pods that carry all of these labels; Istio knows no expressions."""

    match_labels: dict[str, str]


class CallerSource(ObjectPart):
    """Callers, by the service account that mutual TLS proves; `*` among `not_principals` is who
    proves none."""

    principals: tuple[str, ...] | None = None
    not_principals: tuple[str, ...] | None = None


class From(ObjectPart):
    """One kind of caller."""

    source: CallerSource


class Operation(ObjectPart):
    """Ports of the pod at the receiving end, as text. A path or method here would need a
    waypoint."""

    ports: tuple[str, ...]


class To(ObjectPart):
    """One kind of call."""

    operation: Operation


class AuthorizationRule(ObjectPart):
    """Calls that are let in: these callers, on these ports."""

    from_: tuple[From, ...] = Field(alias="from")
    to: tuple[To, ...]


class AuthorizationPolicySpec(ObjectPart):
    """Calls that the selected pods accept, or all pods of the namespace; none without rules.
    Policies add up."""

    selector: WorkloadSelector | None = None
    action: Literal["ALLOW"] | None = None
    rules: tuple[AuthorizationRule, ...] | None = None


class AuthorizationPolicy(KubernetesObject):
    """Permission to call pods. It has an effect only on pods in a mesh."""

    api_version: Literal["security.istio.io/v1"] = "security.istio.io/v1"
    kind: Literal["AuthorizationPolicy"] = "AuthorizationPolicy"
    spec: AuthorizationPolicySpec


class MutualTLS(ObjectPart):
    """Mode of mutual TLS."""

    mode: Literal["STRICT", "PERMISSIVE"]


class PeerAuthenticationSpec(ObjectPart):
    """For the selected pods, or all of the namespace; ports of theirs may differ."""

    selector: WorkloadSelector | None = None
    mtls: MutualTLS
    port_level_mtls: dict[str, MutualTLS] | None = None


class PeerAuthentication(KubernetesObject):
    """Encryption that calls must have. It has an effect only on pods in a mesh."""

    api_version: Literal["security.istio.io/v1"] = "security.istio.io/v1"
    kind: Literal["PeerAuthentication"] = "PeerAuthentication"
    spec: PeerAuthenticationSpec
