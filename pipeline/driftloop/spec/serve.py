"""Serving of the model: one class for each server that can hold it. A new one joins the union;
the type checker names what is missing."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, Tag, model_validator

from driftloop.contract.limits import DEFAULT_REQUEST_LIMIT
from driftloop.spec.base import SpecModel, tagged
from driftloop.spec.environment import GivenEnvironment, Variables, VariableSources
from driftloop.spec.graph import Node
from driftloop.spec.pods import OwnPodSettings
from driftloop.spec.resources import Resources
from driftloop.spec.values import ImageName, ModelClass, RequestLimit
from driftloop.spec.volumes import Volumes


class Autoscale(SpecModel):
    """As many pods as the load asks for, for each version on its own."""

    min: Annotated[int, Field(ge=1, le=100)] = 1
    """Pods at least."""
    max: Annotated[int, Field(ge=1, le=100)]
    """Pods at most."""
    cpu: Annotated[int, Field(ge=1, le=1000)] = 70
    """Processor time that is aimed at, in percent of what a pod requests."""

    @model_validator(mode="after")
    def _an_interval(self) -> Self:
        if self.min > self.max:
            raise ValueError("must have a `min` that is not above its `max`")
        return self


class _Server(SpecModel, GivenEnvironment):
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Pods per version."""
    autoscale: Autoscale | None = None
    """Instead of `replicas`: more pods under load."""
    backend: Literal["seldon", "plain"] = "seldon"
    """`seldon` commits a SeldonDeployment; `plain` what its operator would make of it."""
    max_request_bytes: RequestLimit = DEFAULT_REQUEST_LIMIT
    """Largest body of a prediction that the gateway takes, a power of two from 1Mi to 64Mi; larger
    ones get 413. A Python model server needs forty times as much memory to read one. Another size
    than 8Mi needs `backend: plain`."""
    resources: Resources = Resources(cpu="200m", memory="512Mi")
    """Resources of a model server."""
    env: Variables = Field(default_factory=dict)
    """Environment variables of a model server, also in the rehearsal: a text, `{secret: NAME, key: KEY}` or `{config: NAME, key: KEY}`."""
    env_from: VariableSources = ()
    volumes: Volumes = ()
    pod: OwnPodSettings = OwnPodSettings()
    """Placement, marks and rights of the versions' pods; the rehearsal is placed as they are."""
    graph: Node | None = None
    """Nodes around the released model: transformers, a combiner, a router."""

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if self.autoscale is not None and "replicas" in self.model_fields_set:
            raise ValueError("must have either `replicas` or `autoscale`")
        return self

    @property
    def most(self) -> int:
        """Pods of one version at most."""
        return self.replicas if self.autoscale is None else self.autoscale.max


class PythonServer(_Server):
    """A Python class behind seldon-core's microservice."""

    server: Literal["python"] = "python"
    """Server that holds the model."""
    image: ImageName = "server"
    """Name of an image under spec.images."""
    model: ModelClass
    """The class: `Digits` in Digits.py; it gets the keyword argument `model_uri`."""
    protocol: Literal["seldon"] = "seldon"
    """The payload's protocol."""


class _Prepackaged(_Server):
    image: ImageName | None = None
    """Name of an image under spec.images; the one that Seldon's operator is configured with when
    left out."""


class SklearnServer(_Prepackaged):
    """Seldon's server for scikit-learn: the trainer writes model.joblib."""

    server: Literal["sklearn"] = "sklearn"
    """Server that holds the model."""
    protocol: Literal["seldon", "v2"] = "seldon"
    """The payload's protocol; `v2` is the Open Inference Protocol, by MLServer."""
    method: Literal["predict_proba", "predict", "decision_function"] = "predict_proba"
    """The model's method that answers; a regressor has `predict` only."""

    @model_validator(mode="after")
    def _seldon_asks(self) -> Self:
        if self.protocol == "v2" and "method" in self.model_fields_set:
            raise ValueError(
                "must have `method` with `protocol: seldon` only: a v2 request names the output it wants"
            )
        return self


class XgboostServer(_Prepackaged):
    """Seldon's server for XGBoost: the trainer writes model.bst."""

    server: Literal["xgboost"] = "xgboost"
    """Server that holds the model."""
    protocol: Literal["seldon", "v2"] = "seldon"
    """The payload's protocol; `v2` is the Open Inference Protocol, by MLServer."""


class MlflowServer(_Prepackaged):
    """Seldon's server for MLflow: the trainer writes what `mlflow.<flavor>.save_model` does."""

    server: Literal["mlflow"] = "mlflow"
    """Server that holds the model."""
    protocol: Literal["seldon", "v2"] = "seldon"
    """The payload's protocol; `v2` is the Open Inference Protocol, by MLServer."""


class TensorflowServer(_Prepackaged):
    """TensorFlow Serving: the trainer writes a SavedModel in a folder named by a number, such as
    1."""

    server: Literal["tensorflow"] = "tensorflow"
    """Server that holds the model."""
    protocol: Literal["tensorflow", "seldon"] = "tensorflow"
    """The payload's protocol; with `seldon` a proxy of Seldon's translates."""


class TritonServer(_Prepackaged):
    """NVIDIA Triton: the trainer writes a model repository whose one model is named `model`, as
    is its folder."""

    server: Literal["triton"] = "triton"
    """Server that holds the model."""
    protocol: Literal["v2"] = "v2"
    """The payload's protocol, the Open Inference Protocol."""


Prepackaged = SklearnServer | XgboostServer | MlflowServer | TensorflowServer | TritonServer
"""Servers that Seldon's operator brings along, so that no image has to be built."""

Serve = Annotated[
    Annotated[PythonServer, Tag("python")]
    | Annotated[SklearnServer, Tag("sklearn")]
    | Annotated[XgboostServer, Tag("xgboost")]
    | Annotated[MlflowServer, Tag("mlflow")]
    | Annotated[TensorflowServer, Tag("tensorflow")]
    | Annotated[TritonServer, Tag("triton")],
    tagged("server", default="python"),
]
"""Any of them."""


def speaking(protocol: str) -> tuple[str, ...]:
    """The servers that have a protocol."""
    servers = (PythonServer, *get_args(Prepackaged))
    return tuple(
        str(server.model_fields["server"].default)
        for server in servers
        if protocol in get_args(server.model_fields["protocol"].annotation)
    )
