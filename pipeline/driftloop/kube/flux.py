"""kustomize.toolkit.fluxcd.io/v1: Kustomization."""

from typing import Literal

from driftloop.kube.base import KubernetesObject, ObjectPart, ObjectReference
from driftloop.kube.core import LocalReference


class KustomizationDependency(ObjectPart):
    """Another Kustomization that must be ready first."""

    name: str
    namespace: str | None = None
    ready_expr: str | None = None
    """CEL over `dep` and `self` that replaces the check for readiness at the same revision."""


class HealthCheck(ObjectPart):
    """CEL on an object's status, for kinds without a standard Ready condition."""

    api_version: str
    kind: str
    current: str
    in_progress: str | None = None
    failed: str | None = None


class Decryption(ObjectPart):
    """Values in the folder are encrypted, and Flux decrypts them with the keys of a Secret."""

    provider: Literal["sops"]
    secret_ref: LocalReference


class KustomizationSpec(ObjectPart):
    """A folder of the repository that Flux applies."""

    interval: str
    retry_interval: str | None = None
    timeout: str | None = None
    path: str
    prune: bool
    wait: bool | None = None
    service_account_name: str | None = None
    """Account of its own namespace by whose rights everything is applied and removed."""
    source_ref: ObjectReference
    decryption: Decryption | None = None
    depends_on: tuple[KustomizationDependency, ...] | None = None
    health_check_exprs: tuple[HealthCheck, ...] | None = None


class Kustomization(KubernetesObject):
    """A folder that Flux applies, its source and its dependencies."""

    api_version: Literal["kustomize.toolkit.fluxcd.io/v1"] = "kustomize.toolkit.fluxcd.io/v1"
    kind: Literal["Kustomization"] = "Kustomization"
    spec: KustomizationSpec
