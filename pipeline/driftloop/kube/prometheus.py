"""monitoring.coreos.com/v1: PodMonitor and PrometheusRule."""

from typing import Literal

from pydantic import Field

from driftloop.kube.base import KubernetesObject, LabelSelector, ObjectPart


class MetricsEndpoint(ObjectPart):
    """A port, by its name in the pod, and the path on it that shows metrics."""

    port: str
    path: str


class PodMonitorSpec(ObjectPart):
    """Pods of the object's own namespace to scrape, and their labels that every series gets."""

    selector: LabelSelector
    pod_target_labels: tuple[str, ...]
    pod_metrics_endpoints: tuple[MetricsEndpoint, ...]


class PodMonitor(KubernetesObject):
    """Tells Prometheus what to scrape. Its series carry the label `job: NAMESPACE/NAME`."""

    api_version: Literal["monitoring.coreos.com/v1"] = "monitoring.coreos.com/v1"
    kind: Literal["PodMonitor"] = "PodMonitor"
    spec: PodMonitorSpec


class AlertingRule(ObjectPart):
    """An alert: it is raised for every series that the expression returns, once it did so for as
    long as `for`."""

    alert: str
    expr: str
    for_: str | None = Field(default=None, alias="for")
    labels: dict[str, str]
    annotations: dict[str, str]


class Group(ObjectPart):
    """Rules that are looked at together."""

    name: str
    rules: tuple[AlertingRule, ...]


class PrometheusRuleSpec(ObjectPart):
    """Groups, each with a name of its own."""

    groups: tuple[Group, ...]


class PrometheusRule(KubernetesObject):
    """Tells Prometheus what to raise an alert for."""

    api_version: Literal["monitoring.coreos.com/v1"] = "monitoring.coreos.com/v1"
    kind: Literal["PrometheusRule"] = "PrometheusRule"
    spec: PrometheusRuleSpec
