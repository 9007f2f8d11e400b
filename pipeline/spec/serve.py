"""How the model answers requests."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.spec.base import SpecModel
from pipeline.spec.resources import Resources
from pipeline.spec.values import ImageName, ModelClass


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
    backend: Literal["seldon", "plain"] = "seldon"
    """`seldon` commits a SeldonDeployment; `plain` what its operator would make of it."""
    resources: Resources = Resources(cpu="200m", memory="512Mi")
    """What a model server asks for."""
