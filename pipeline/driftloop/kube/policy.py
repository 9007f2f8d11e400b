"""policy/v1: PodDisruptionBudget."""

from typing import Literal

from driftloop.kube.base import KubernetesObject, LabelSelector, ObjectPart


class DisruptionBudgetSpec(ObjectPart):
    """Number of pods that may be evicted at a time."""

    max_unavailable: int
    selector: LabelSelector
    unhealthy_pod_eviction_policy: Literal["IfHealthyBudget", "AlwaysAllow"]
    """Return True if pods that are not ready may always go: otherwise one that crashes holds a
    node for ever."""


class PodDisruptionBudget(KubernetesObject):
    """Pods that a node's drain must leave running."""

    api_version: Literal["policy/v1"] = "policy/v1"
    kind: Literal["PodDisruptionBudget"] = "PodDisruptionBudget"
    spec: DisruptionBudgetSpec
