"""apps/v1: Deployment."""

from typing import Literal

from driftloop.kube.base import LabelSelector, Model, Object
from driftloop.kube.core import PodTemplate


class RollingUpdate(Model):
    """Limits of missing and extra pods while a Deployment changes."""

    max_unavailable: int | str
    max_surge: int | str


class Strategy(Model):
    """Strategy by which a Deployment replaces its pods."""

    type: Literal["RollingUpdate", "Recreate"]
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Model):
    """Pods that are kept running."""

    replicas: int | None = None
    """None where an autoscaler decides."""
    selector: LabelSelector
    strategy: Strategy | None = None
    template: PodTemplate


class Deployment(Object):
    """Keeps replicas of a pod running."""

    api_version: Literal["apps/v1"] = "apps/v1"
    kind: Literal["Deployment"] = "Deployment"
    spec: DeploymentSpec
