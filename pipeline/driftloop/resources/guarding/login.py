"""The login of callers at the gateway: which tokens count, and whom it refuses.

The objects are in the gateway's namespace, where a pipeline's own account may write nothing. What is
refused there is counted by rule: who brings nothing, who brings another's, who brings one for another
audience.
"""

from collections.abc import Iterator

from driftloop.contract.keys import write_key_set
from driftloop.contract.names import KEY_HEADER, TOKEN_HEADER
from driftloop.kube.base import KubernetesObject, ObjectMeta
from driftloop.kube.istio_security import (
    AuthorizationPolicy,
    AuthorizationPolicySpec,
    AuthorizationRule,
    CallerSource,
    Condition,
    From,
    JWTRule,
    Operation,
    RequestAuthentication,
    RequestAuthenticationSpec,
    To,
    TokenHeader,
    WorkloadSelector,
)
from driftloop.plan import Plan
from driftloop.plan.backends import backend_limits
from driftloop.resources import parts
from driftloop.spec.access import Access

COMPONENT = "access"
_PREFLIGHT = "OPTIONS"


def gateway_login(plan: Plan) -> tuple[KubernetesObject, ...]:
    """The objects of a pipeline's login; none where everybody may ask."""
    access = plan.access
    if access is None or not access.closed:
        return ()
    pods = plan.ground.spec.gateway.pods
    gateway = WorkloadSelector(match_labels=pods.labels)
    about = ObjectMeta(
        name=plan.names.access,
        namespace=pods.namespace,
        labels=parts.object_labels(plan.names, COMPONENT),
    )
    issuers = tuple(_list_issuers(plan, access))
    verified = RequestAuthentication(
        metadata=about, spec=RequestAuthenticationSpec(selector=gateway, jwt_rules=issuers)
    )
    return (
        *((verified,) if issuers else ()),
        AuthorizationPolicy(
            metadata=about,
            spec=AuthorizationPolicySpec(
                selector=gateway, action="DENY", rules=tuple(_list_refusals(plan, access))
            ),
        ),
    )


def _list_issuers(plan: Plan, access: Access) -> Iterator[JWTRule]:
    if access.api_keys:
        yield JWTRule(
            issuer=plan.names.own_issuer,
            jwks=write_key_set({name: key.public for name, key in access.api_keys.items()}),
            from_headers=(TokenHeader(name=KEY_HEADER),),
        )
    if access.jwt is not None:
        yield JWTRule(
            issuer=access.jwt.issuer,
            audiences=access.jwt.audiences,
            jwks_uri=access.jwt.jwks_uri,
            from_headers=(TokenHeader(name=TOKEN_HEADER, prefix="Bearer "),),
            forward_original_token=access.jwt.forward or None,
        )


def _list_refusals(plan: Plan, access: Access) -> Iterator[AuthorizationRule]:
    """Yield whom the gateway refuses: over HTTP by the path, over gRPC by the headers that the
    operator's own routes ask for."""
    names = plan.names
    preflights = (_PREFLIGHT,) if access.cors is not None else None
    path = (To(operation=Operation(paths=(f"{names.prefix}*",), not_methods=preflights)),)
    yield from _refuse_others(plan, access, path, ())
    if not backend_limits(plan.serve).names_routes:
        headers = {"seldon": names.pipeline, "namespace": names.namespace}
        called = tuple(
            Condition(key=f"request.headers[{name}]", values=(value,))
            for name, value in headers.items()
        )
        yield from _refuse_others(plan, access, None, called)


def _refuse_others(
    plan: Plan, access: Access, to: tuple[To, ...] | None, when: tuple[Condition, ...]
) -> Iterator[AuthorizationRule]:
    issuers = (
        *((plan.names.own_issuer,) if access.api_keys is not None else ()),
        *((access.jwt.issuer,) if access.jwt is not None else ()),
    )
    known = tuple(f"{issuer}/*" for issuer in issuers)
    nobody = CallerSource(not_request_principals=("*",))
    another = CallerSource(request_principals=("*",), not_request_principals=known)
    for source in (nobody, another):
        yield AuthorizationRule(from_=(From(source=source),), to=to, when=when or None)
    if access.jwt is not None:
        # another pipeline may take tokens of the same issuer, and the gateway knows all their audiences
        audience = Condition(key="request.auth.claims[aud]", not_values=access.jwt.audiences)
        source = CallerSource(request_principals=(f"{access.jwt.issuer}/*",))
        yield AuthorizationRule(from_=(From(source=source),), to=to, when=(*when, audience))
