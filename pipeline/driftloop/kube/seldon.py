"""machinelearning.seldon.io/v1: SeldonDeployment."""

from typing import Literal

from driftloop.kube.autoscaling import Metric
from driftloop.kube.base import KubernetesObject, ObjectPart
from driftloop.kube.core import ContainerResources, EnvVar, PodSpec


class Logger(ObjectPart):
    """Posts requests and responses as CloudEvents."""

    mode: Literal["request", "response", "all"]
    url: str


class UnitParameter(ObjectPart):
    """A keyword argument of the model's class; the value is always text."""

    name: str
    type: Literal["INT", "FLOAT", "DOUBLE", "STRING", "BOOL"]
    value: str


class PredictiveUnit(ObjectPart):
    """One node of the inference graph; its container has the same name."""

    name: str
    type: Literal["MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER"] | None = None
    implementation: str | None = None
    model_uri: str | None = None
    env_secret_ref_name: str | None = None
    parameters: tuple[UnitParameter, ...] | None = None
    logger: Logger | None = None
    children: tuple["PredictiveUnit", ...] | None = None


class ComponentMeta(ObjectPart):
    """Marks of a pod, and the end of its Deployment's name in place of the names of all containers."""

    name: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Autoscaler(ObjectPart):
    """Spec of the operator's HorizontalPodAutoscaler of a pod; it wins over `replicas`."""

    min_replicas: int
    max_replicas: int
    metricsv2: tuple[Metric, ...]
    """In the shape of autoscaling/v2; `metrics` is that of v2beta1."""


class ComponentSpec(ObjectPart):
    """The pod that holds the graph's containers.

    `pdbSpec` is left out on purpose: its budget counts the pods of all predictors, so that two
    of them forbid every eviction.
    """

    metadata: ComponentMeta | None = None
    spec: PodSpec
    hpa_spec: Autoscaler | None = None


class Orchestrator(ObjectPart):
    """The executor beside the model; its default request is half a core."""

    resources: ContainerResources | None = None
    env: tuple[EnvVar, ...] | None = None


class Predictor(ObjectPart):
    """One model version; its name is the release id."""

    name: str
    replicas: int | None = None
    traffic: int | None = None
    shadow: bool | None = None
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    graph: PredictiveUnit
    component_specs: tuple[ComponentSpec, ...]
    svc_orch_spec: Orchestrator | None = None


class SeldonSpec(ObjectPart):
    """The predictors that share the traffic."""

    name: str | None = None
    protocol: Literal["seldon", "tensorflow", "v2"] = "seldon"
    annotations: dict[str, str] | None = None
    predictors: tuple[Predictor, ...]


class SeldonDeployment(KubernetesObject):
    """A served model: one predictor a version."""

    api_version: Literal["machinelearning.seldon.io/v1"] = "machinelearning.seldon.io/v1"
    kind: Literal["SeldonDeployment"] = "SeldonDeployment"
    spec: SeldonSpec
