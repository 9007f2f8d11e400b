"""autoscaling/v2: HorizontalPodAutoscaler."""

from typing import Literal

from driftloop.kube.base import KubernetesObject, ObjectPart, ObjectReference


class MetricTarget(ObjectPart):
    """Average that the pods are held at, in percent of their requests."""

    type: Literal["Utilization"] = "Utilization"
    average_utilization: int


class ResourceMetric(ObjectPart):
    """A resource that all containers of a pod request."""

    name: Literal["cpu"] = "cpu"
    target: MetricTarget


class Metric(ObjectPart):
    """One thing that is measured; the largest number of pods that any asks for wins."""

    type: Literal["Resource"] = "Resource"
    resource: ResourceMetric


class AutoscalerSpec(ObjectPart):
    """Target of the scaling, its bounds and its metrics."""

    scale_target_ref: ObjectReference
    min_replicas: int
    max_replicas: int
    metrics: tuple[Metric, ...]


class HorizontalPodAutoscaler(KubernetesObject):
    """Gives a Deployment as many pods as its load asks for; it owns `replicas` from then on."""

    api_version: Literal["autoscaling/v2"] = "autoscaling/v2"
    kind: Literal["HorizontalPodAutoscaler"] = "HorizontalPodAutoscaler"
    spec: AutoscalerSpec
