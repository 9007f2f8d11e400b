"""Everything that the one Envoy serves at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ServiceEndpoints:
    """A Service port and the loopback ports behind it."""

    host: str
    """Full name, `<service>.<namespace>.svc.cluster.local`."""
    port: int
    ports: tuple[int, ...]

    @property
    def cluster(self) -> str:
        """The cluster's name, as Istio writes it."""
        return f"outbound|{self.port}||{self.host}"


@dataclass(frozen=True)
class LoggerSidecar:
    """A predictor's logging sidecar: the bootstrap from its ConfigMap, to be merged into this
    Envoy.
    """

    name: str
    """`<namespace>/<deployment>`."""
    config: Mapping[str, Any]
    port: int
    """The loopback port its (only) listener gets."""
    pods: Mapping[int, tuple[int, ...]]
    """Container port of the pod -> loopback ports of its ready replicas."""


@dataclass(frozen=True)
class EnvoyRoutes:
    """Everything the one Envoy serves at one moment."""

    services: tuple[ServiceEndpoints, ...] = ()
    virtual_services: tuple[Mapping[str, Any], ...] = ()
    unready: tuple[Mapping[str, Any], ...] = ()
    """VirtualServices of the tip that have no route yet."""
    logins: tuple[Mapping[str, Any], ...] = ()
    """RequestAuthentications and AuthorizationPolicies of the gateway."""
    settled: bool = False
    """The branch has been read: what is in none of them does not exist."""
    loggers: tuple[LoggerSidecar, ...] = ()
    aliases: Mapping[str, int] = field(default_factory=dict)
    """Hosts that platform parts answer (`<host>:<port>` -> loopback port)."""
