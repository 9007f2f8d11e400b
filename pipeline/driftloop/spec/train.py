"""The training function or command, and the search over its parameters."""

import json
from datetime import timedelta
from math import isfinite
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from driftloop.spec.base import SpecModel
from driftloop.spec.commands import Command, name_code, refuse_two_ways
from driftloop.spec.environment import GivenEnvironment, Variables, VariableSources
from driftloop.spec.pods import OwnPodSettings
from driftloop.spec.resources import Resources, Retries
from driftloop.spec.values import (
    Cron,
    Function,
    ImageName,
    MetricName,
    ParameterName,
    PositiveDuration,
    Scalar,
)
from driftloop.spec.volumes import Volumes

LARGEST_WHOLE = 2**53
"""Beyond it not every whole number is a float."""


class Best(SpecModel):
    """Metric that chooses the best trial of a search."""

    metric: MetricName
    """A metric that the training function returns, or the command writes."""
    goal: Literal["maximize", "minimize"] = "maximize"
    """Return True if more or less of it is better."""


class Between(SpecModel):
    """An interval that a parameter's values are drawn from."""

    low: float
    """The smallest value."""
    high: float
    """The largest value."""
    scale: Literal["linear", "log"] = "linear"
    """Spread evenly over the values, or over their logarithms."""
    whole: bool = False
    """Whole numbers only."""

    @model_validator(mode="after")
    def _an_interval(self) -> Self:
        if self.low >= self.high:
            raise ValueError("must have a `low` that is below its `high`")
        if self.scale == "log" and self.low <= 0:
            raise ValueError("must have a `low` above 0 with `scale: log`")
        if self.whole and (
            self.scale == "log" or not (self.low.is_integer() and self.high.is_integer())
        ):
            raise ValueError("must have whole bounds and `scale: linear` with `whole: true`")
        if self.whole and max(-self.low, self.high) > LARGEST_WHOLE:
            raise ValueError(
                f"must have bounds between -{LARGEST_WHOLE} and {LARGEST_WHOLE} with `whole: true`"
            )
        if not isfinite(self.high - self.low):
            raise ValueError("must have a `low` and a `high` whose difference is a finite number")
        return self


class Random(SpecModel):
    """So many trials, each drawn at random."""

    trials: Annotated[int, Field(ge=1, le=100)]
    """Number of trials."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The same seed draws the same trials."""
    between: dict[ParameterName, Between] = Field(default_factory=dict)
    """Parameter to the interval its values are drawn from; those under `over` are drawn from
    their lists."""


class Search(SpecModel):
    """Trials over some of the parameters: a grid, or drawn at random."""

    over: dict[ParameterName, Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=50)]] = (
        Field(default_factory=dict)
    )
    """Parameter to the values it takes; every combination is one trial, unless `random` draws
    them."""
    random: Random | None = None
    """Draw trials instead of taking every combination."""
    best: Best
    """Metric that chooses the best trial."""
    parallelism: Annotated[int, Field(ge=1, le=100)] = 1
    """Trials that run at the same time."""

    @model_validator(mode="after")
    def _searches_something(self) -> Self:
        between = self.random.between if self.random is not None else {}
        if not self.over and not between:
            raise ValueError("must name a parameter under `over`, or under `random.between`")
        for name, values in self.over.items():
            if twice := [
                value
                for n, value in enumerate(values)
                if json.dumps(value) in map(json.dumps, values[:n])
            ]:
                raise ValueError(
                    f"must name each value of `{name}` once, found {json.dumps(twice[0])} twice"
                )
        if both := sorted(self.over.keys() & between.keys()):
            raise ValueError(
                f"must name `{both[0]}` under `over` or under `random.between`, not under both"
            )
        return self


class Train(SpecModel, GivenEnvironment):
    """The training function or command, and how it is called."""

    image: ImageName = "trainer"
    """Name of an image under spec.images."""
    run: Function | None = None
    """`module:function`: takes the parameters and the folders `data` and `out`, writes the
    model, returns metrics."""
    command: Command = ()
    """Instead of `run`: a program of any language in the image, such as `[Rscript, train.R, --rate, "{rate}"]`. It
    reads rows below `DRIFTLOOP_DATA`, writes the model into the folder `DRIFTLOOP_MODEL` and its metrics to the file
    `DRIFTLOOP_METRICS`."""
    parameters: dict[ParameterName, Scalar] = Field(default_factory=dict)
    """Keyword arguments of the function; of a command `{NAME}` in its words and variables `DRIFTLOOP_PARAMETER_NAME`."""
    search: Search | None = None
    """Trials over some parameters; the best one goes on."""
    resources: Resources = Resources(cpu="500m", memory="2Gi")
    """Resources of one trial's container."""
    env: Variables = Field(default_factory=dict)
    """Environment variables of a trial's container: a text, `{secret: NAME, key: KEY}` or `{config: NAME, key: KEY}`."""
    env_from: VariableSources = ()
    volumes: Volumes = ()
    pod: OwnPodSettings = OwnPodSettings()
    """Placement, marks and rights of the trials' pods; their ServiceAccount is also that of data steps, evaluation and rehearsal."""
    timeout: PositiveDuration = timedelta(hours=1)
    """A trial is stopped and fails after this time."""
    retries: Retries | None = None
    """Try a trial again when the function fails."""
    checkpoint: bool = False
    """Give the function a folder `checkpoint` (a command: `DRIFTLOOP_CHECKPOINT`) whose files a later try of the same
    trial finds again."""
    cache: PositiveDuration | None = None
    """Take an earlier trial of the same function, image, parameters and data, up to this old,
    instead of training."""
    schedule: Cron | None = None
    """Train at these times as well (UTC): five cron fields."""
    new_data: Cron | None = None
    """Look at these times (UTC) whether `data.uri` holds batches that no run has seen, and train
    when it does."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        refuse_two_ways(self.run, self.command)
        return self

    @property
    def code(self) -> str:
        """What is called: the function, or the command as one types it."""
        return name_code(self.run, self.command)
