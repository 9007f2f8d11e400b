"""Permitted calls in an ambient mesh, by service account: the same graph as the
NetworkPolicies'.

ztunnel enforces it, at layer 4 and on the receiving side: callers and ports, no paths. A caller
of a namespace that is not enrolled proves nothing; what it calls is open to everybody who proves
nothing, and the NetworkPolicy alone says who of them comes through.
"""

from collections.abc import Iterator

from driftloop.kube.base import LabelSelector
from driftloop.kube.istio_security import (
    AuthorizationPolicy,
    AuthorizationPolicySpec,
    AuthorizationRule,
    CallerSource,
    From,
    MutualTLS,
    Operation,
    PeerAuthentication,
    PeerAuthenticationSpec,
    To,
    WorkloadSelector,
)
from driftloop.plan import Plan
from driftloop.release.record import Release
from driftloop.resources import parts
from driftloop.resources.guarding import network

COMPONENT = "mesh"
TRUST_DOMAIN = "cluster.local"
"""Istio's default; a mesh with another one needs it patched in."""

STRICT, PERMISSIVE = MutualTLS(mode="STRICT"), MutualTLS(mode="PERMISSIVE")


def authorization_policies(plan: Plan, release: Release) -> dict[str, AuthorizationPolicy]:
    """Role -> its policy, for every role that is called and has pods; the first one refuses
    everything."""
    names = plan.names
    specs = {"deny": AuthorizationPolicySpec()}
    for name, labels, role in _list_called_roles(plan, release):
        specs[name] = AuthorizationPolicySpec(
            selector=WorkloadSelector(match_labels=labels),
            action="ALLOW",
            rules=tuple(_build_rule(plan, door) for door in role.doors),
        )
    return {
        name: AuthorizationPolicy(
            metadata=parts.object_meta(names, f"{names.pipeline}-{name}", COMPONENT), spec=spec
        )
        for name, spec in specs.items()
    }


def peer_authentications(plan: Plan, release: Release) -> dict[str, PeerAuthentication]:
    """Mutual TLS for every pod, but for the ports that somebody calls who has none."""
    names = plan.names
    specs = {"strict": PeerAuthenticationSpec(mtls=STRICT)}
    for name, labels, role in _list_called_roles(plan, release):
        if ports := {
            str(door.port): PERMISSIVE
            for door in role.doors
            if not network.all_enrolled(plan, door)
        }:
            specs[name] = PeerAuthenticationSpec(
                selector=WorkloadSelector(match_labels=labels), mtls=STRICT, port_level_mtls=ports
            )
    return {
        name: PeerAuthentication(
            metadata=parts.object_meta(names, f"{names.pipeline}-{name}", COMPONENT), spec=spec
        )
        for name, spec in specs.items()
    }


def _list_called_roles(
    plan: Plan, release: Release
) -> Iterator[tuple[str, dict[str, str], network.NetworkRole]]:
    """(name, labels, role) of what is called; detectors one by one, since Istio's selectors know
    no expressions."""
    production = release.production
    absent = {
        "model": production is None and release.candidate is None,
        "detectors": production is None or production.detectors is None,
    }
    for role in network.list_roles(plan):
        if role.doors and not absent.get(role.name, False):
            for name, labels in _split_selector(role.name, role.pods):
                yield name, labels, role


def _split_selector(name: str, pods: LabelSelector) -> Iterator[tuple[str, dict[str, str]]]:
    labels = pods.match_labels or {}
    if not pods.match_expressions:
        yield name, labels
    for requirement in pods.match_expressions or ():
        for value in requirement.values or ():
            yield value, {**labels, requirement.key: value}


def _build_rule(plan: Plan, door: network.OpenPort) -> AuthorizationRule:
    callers = [caller for caller in door.callers if network.is_enrolled(plan, caller.namespace)]
    principals = tuple(
        f"{TRUST_DOMAIN}/ns/{caller.namespace}/sa/{caller.account}" for caller in callers
    )
    sources = [CallerSource(principals=principals)] if principals else []
    if len(callers) < len(door.callers):
        sources.append(CallerSource(not_principals=("*",)))
    return AuthorizationRule(
        from_=tuple(From(source=source) for source in sources),
        to=(To(operation=Operation(ports=(str(door.port),))),),
    )
