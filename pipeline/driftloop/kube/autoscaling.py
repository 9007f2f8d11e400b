"""autoscaling/v2: HorizontalPodAutoscaler."""

from typing import Literal

from driftloop.kube.base import Model, Object, Reference


class Target(Model):
    """Average that the pods are held at, in percent of their requests."""

    type: Literal["Utilization"] = "Utilization"
    average_utilization: int


class ResourceMetric(Model):
    """A resource that all containers of a pod request."""

    name: Literal["cpu"] = "cpu"
    target: Target


class Metric(Model):
    """One thing that is measured; the largest number of pods that any asks for wins."""

    type: Literal["Resource"] = "Resource"
    resource: ResourceMetric


class AutoscalerSpec(Model):
    """Target of the scaling, its bounds and its metrics."""

    scale_target_ref: Reference
    min_replicas: int
    max_replicas: int
    metrics: tuple[Metric, ...]


class HorizontalPodAutoscaler(Object):
    """Gives a Deployment as many pods as its load asks for; it owns `replicas` from then on."""

    api_version: Literal["autoscaling/v2"] = "autoscaling/v2"
    kind: Literal["HorizontalPodAutoscaler"] = "HorizontalPodAutoscaler"
    spec: AutoscalerSpec
