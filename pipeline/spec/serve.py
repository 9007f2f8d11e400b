"""How the model answers requests."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.spec.base import SpecModel
from pipeline.spec.resources import Resources
from pipeline.spec.values import ImageName, ModelClass


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


class Serve(SpecModel):
    """How the model answers requests."""

    server: Literal["python"] = "python"
    """A Python class behind seldon-core's microservice."""
    image: ImageName = "server"
    """Name of an image under spec.images."""
    model: ModelClass
    """The class: `Digits` in Digits.py; it gets the keyword argument `model_uri`."""
    protocol: Literal["seldon"] = "seldon"
    """The payload's protocol."""
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Pods per version."""
    autoscale: Autoscale | None = None
    """Instead of `replicas`: more pods under load."""
    backend: Literal["seldon", "plain"] = "seldon"
    """`seldon` commits a SeldonDeployment; `plain` what its operator would make of it."""
    resources: Resources = Resources(cpu="200m", memory="512Mi")
    """What a model server asks for."""

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if self.autoscale is not None and "replicas" in self.model_fields_set:
            raise ValueError("must have either `replicas` or `autoscale`")
        return self

    @property
    def most(self) -> int:
        """Pods of one version at most."""
        return self.replicas if self.autoscale is None else self.autoscale.max
