"""rbac.authorization.k8s.io/v1: Role and RoleBinding, never more than a namespace."""

from typing import Literal

from driftloop.kube.base import KubernetesObject, ObjectPart


class PolicyRule(ObjectPart):
    """Verbs on resources."""

    api_groups: tuple[str, ...]
    resources: tuple[str, ...]
    resource_names: tuple[str, ...] | None = None
    verbs: tuple[str, ...]


class Role(KubernetesObject):
    """Permissions in one namespace."""

    api_version: Literal["rbac.authorization.k8s.io/v1"] = "rbac.authorization.k8s.io/v1"
    kind: Literal["Role"] = "Role"
    rules: tuple[PolicyRule, ...]


class RoleRef(ObjectPart):
    """The role that is granted."""

    api_group: Literal["rbac.authorization.k8s.io"] = "rbac.authorization.k8s.io"
    kind: Literal["Role"] = "Role"
    name: str


class Subject(ObjectPart):
    """Account that a role is bound to."""

    kind: Literal["ServiceAccount"] = "ServiceAccount"
    name: str
    namespace: str


class RoleBinding(KubernetesObject):
    """Grants a Role to a ServiceAccount."""

    api_version: Literal["rbac.authorization.k8s.io/v1"] = "rbac.authorization.k8s.io/v1"
    kind: Literal["RoleBinding"] = "RoleBinding"
    role_ref: RoleRef
    subjects: tuple[Subject, ...]
