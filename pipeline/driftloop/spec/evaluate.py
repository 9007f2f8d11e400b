"""The evaluation function or command, and the gates."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from driftloop.spec.base import SpecModel
from driftloop.spec.commands import Command, name_code, refuse_two_ways
from driftloop.spec.environment import GivenEnvironment, Variables, VariableSources
from driftloop.spec.pods import NO_SECURED_SETTINGS, SecuredPodSettings
from driftloop.spec.resources import Resources, Retries
from driftloop.spec.values import Function, ImageName, MetricName, PositiveDuration
from driftloop.spec.volumes import Volumes


class Gate(SpecModel):
    """A bar the candidate must clear before any traffic reaches it."""

    metric: MetricName
    """A metric that the evaluation function returns, or the command writes."""
    on: Literal["all", "recent"] = "all"
    """All held-out rows, or only those that production has not been trained on."""
    min: float | None = None
    """The candidate's value is at least this."""
    max: float | None = None
    """The candidate's value is at most this."""
    production_minus: Annotated[float, Field(ge=0)] | None = None
    """The candidate is at most this much below production on the same rows."""
    production_plus: Annotated[float, Field(ge=0)] | None = None
    """The candidate is at most this much above production on the same rows (for errors and
    losses)."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is self.max is self.production_minus is self.production_plus is None:
            raise ValueError(
                "must have at least one of `min`, `max`, `productionMinus` and `productionPlus`"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("must have a `min` that is not above its `max`")
        return self


class Evaluate(SpecModel, GivenEnvironment):
    """The evaluation function or command, and the gates."""

    image: ImageName | None = None
    """Name of an image under spec.images; the trainer's when left out."""
    run: Function | None = None
    """`module:function`: takes the folders `model` and `data`, returns metrics."""
    command: Command = ()
    """Instead of `run`: a program of any language in the image, which reads the model below `DRIFTLOOP_MODEL` and rows
    below `DRIFTLOOP_DATA`, and writes its metrics to the file `DRIFTLOOP_METRICS`."""
    gates: Annotated[tuple[Gate, ...], Field(max_length=50)] = ()
    """All must hold."""
    if_production_fails: Literal["refuse", "judge-alone"] = "refuse"
    """When production can't be evaluated on today's rows: refuse every candidate, or judge it by
    its gates without production alone."""
    timeout: PositiveDuration = timedelta(minutes=30)
    """Evaluation is stopped and fails after this time."""
    retries: Retries | None = None
    """Try again when the function fails."""
    resources: Resources = Resources(cpu="500m", memory="1Gi")
    """Resources of the evaluation's container."""
    env: Variables = Field(default_factory=dict)
    """Environment variables of the evaluation's container: a text, `{secret: NAME, key: KEY}` or `{config: NAME, key: KEY}`."""
    env_from: VariableSources = ()
    volumes: Volumes = ()
    pod: SecuredPodSettings = NO_SECURED_SETTINGS
    """Placement, marks and rights of the evaluation's pod."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        refuse_two_ways(self.run, self.command)
        return self

    @property
    def code(self) -> str:
        """What is called: the function, or the command as one types it."""
        return name_code(self.run, self.command)
