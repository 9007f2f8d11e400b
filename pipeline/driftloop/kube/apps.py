"""apps/v1: Deployment."""

from typing import Literal

from driftloop.kube.base import KubernetesObject, LabelSelector, ObjectPart
from driftloop.kube.core import PodTemplate


class RollingUpdate(ObjectPart):
    """Limits of missing and extra pods while a Deployment changes."""

    max_unavailable: int | str
    max_surge: int | str


class Strategy(ObjectPart):
    """Strategy by which a Deployment replaces its pods."""

    type: Literal["RollingUpdate", "Recreate"]
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(ObjectPart):
    """Pods that are kept running."""

    replicas: int | None = None
    """None where an autoscaler decides."""
    selector: LabelSelector
    strategy: Strategy | None = None
    template: PodTemplate


class Deployment(KubernetesObject):
    """Keeps replicas of a pod running."""

    api_version: Literal["apps/v1"] = "apps/v1"
    kind: Literal["Deployment"] = "Deployment"
    spec: DeploymentSpec
