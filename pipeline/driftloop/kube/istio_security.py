"""security.istio.io/v1: AuthorizationPolicy and PeerAuthentication, as far as ztunnel enforces
them (layer 4), and the gateway's login: RequestAuthentication, and policies of what it verifies."""

from typing import Literal

from pydantic import Field

from driftloop.kube.base import KubernetesObject, ObjectPart


class WorkloadSelector(ObjectPart):
    """Pods that carry all of these labels; Istio knows no expressions."""

    match_labels: dict[str, str]


class CallerSource(ObjectPart):
    """Callers, by the service account that mutual TLS proves; `*` among `not_principals` is who
    proves none. At the gateway by the token, as `ISSUER/SUBJECT`."""

    principals: tuple[str, ...] | None = None
    not_principals: tuple[str, ...] | None = None
    request_principals: tuple[str, ...] | None = None
    not_request_principals: tuple[str, ...] | None = None


class From(ObjectPart):
    """One kind of caller."""

    source: CallerSource


class Operation(ObjectPart):
    """Ports of the pod at the receiving end, as text. Paths and methods are the gateway's: elsewhere
    they would need a waypoint."""

    ports: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    not_methods: tuple[str, ...] | None = None


class To(ObjectPart):
    """One kind of call."""

    operation: Operation


class Condition(ObjectPart):
    """A header or a claim that has one of some values, or none of them."""

    key: str
    values: tuple[str, ...] | None = None
    not_values: tuple[str, ...] | None = None


class AuthorizationRule(ObjectPart):
    """Calls that are let in, or refused: these callers, on these ports or paths."""

    from_: tuple[From, ...] = Field(alias="from")
    to: tuple[To, ...] | None = None
    when: tuple[Condition, ...] | None = None


class AuthorizationPolicySpec(ObjectPart):
    """Calls that the selected pods accept, or all pods of the namespace; none without rules.
    Policies add up."""

    selector: WorkloadSelector | None = None
    action: Literal["ALLOW", "DENY"] | None = None
    rules: tuple[AuthorizationRule, ...] | None = None


class AuthorizationPolicy(KubernetesObject):
    """Permission to call pods. It has an effect only on pods in a mesh, and on the gateway."""

    api_version: Literal["security.istio.io/v1"] = "security.istio.io/v1"
    kind: Literal["AuthorizationPolicy"] = "AuthorizationPolicy"
    spec: AuthorizationPolicySpec


class TokenHeader(ObjectPart):
    """A header with a token behind a prefix."""

    name: str
    prefix: str | None = None


class JWTRule(ObjectPart):
    """An issuer, its public keys, and where its tokens are sent."""

    issuer: str
    audiences: tuple[str, ...] | None = None
    jwks_uri: str | None = None
    jwks: str | None = None
    from_headers: tuple[TokenHeader, ...]
    forward_original_token: bool | None = None


class RequestAuthenticationSpec(ObjectPart):
    """Tokens that the selected pods verify."""

    selector: WorkloadSelector
    jwt_rules: tuple[JWTRule, ...]


class RequestAuthentication(KubernetesObject):
    """Tokens that must be valid where they come; an AuthorizationPolicy says who needs one."""

    api_version: Literal["security.istio.io/v1"] = "security.istio.io/v1"
    kind: Literal["RequestAuthentication"] = "RequestAuthentication"
    spec: RequestAuthenticationSpec


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
