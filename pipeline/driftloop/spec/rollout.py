"""Stages by which a candidate becomes production."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from driftloop.spec.base import SpecModel
from driftloop.spec.values import MetricName, PositiveDuration, Share


class Shadow(SpecModel):
    """The candidate sees a copy of the traffic; nobody sees its answers."""

    for_: Annotated[PositiveDuration, Field(alias="for")] = timedelta(minutes=10)
    """At least this long."""
    requests: Annotated[int, Field(ge=1)] = 500
    """At least so many requests seen by both."""
    agreement: Literal["auto"] | Share | None = "auto"
    """Share of rows both answer alike: a least one; `auto`: as both accuracies on recent rows
    allow, or, of numbers, the rehearsal's, within what both residuals explain; null: any."""
    accuracy: MetricName = "accuracy"
    """Metric of the evaluation that `auto` reads: the share of right answers, 0 to 1, one answer
    a row."""


class LiveQuality(SpecModel):
    """A bound on how good the candidate's answers are by labels that come while it is rolled out."""

    metric: Literal["accuracy", "mae", "rmse"] = "accuracy"
    """The share of right answers; of numbers the mean absolute error, or the root of the mean squared one."""
    min: float | None = None
    """The candidate's value is at least this."""
    max: float | None = None
    """The candidate's value is at most this."""
    production_minus: Annotated[float, Field(ge=0)] | None = None
    """The candidate is at most this much below production, by labels of the same time."""
    production_plus: Annotated[float, Field(ge=0)] | None = None
    """The candidate is at most this much above production (for errors)."""
    labels: Annotated[int, Field(ge=20, le=20_000)] = 200
    """Labelled rows of each of both, since the candidate's first answer, without which nothing is said."""
    without: Literal["go-on", "wait"] = "go-on"
    """With fewer at the end of a step's time: go on, and say so, or wait for them."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is self.max is self.production_minus is self.production_plus is None:
            raise ValueError(
                "must have at least one of `min`, `max`, `productionMinus` and `productionPlus`"
            )
        return self


class Canary(SpecModel):
    """The candidate answers a growing share of the traffic."""

    steps: Annotated[tuple[Annotated[int, Field(ge=1, le=99)], ...], Field(max_length=20)] = (
        10,
        50,
    )
    """Percent of the traffic, rising; empty goes from shadow straight to promotion."""
    every: PositiveDuration = timedelta(minutes=5)
    """Each step lasts at least this long."""
    requests: Annotated[int, Field(ge=1)] = 50
    """At least so many requests answered by the candidate in each step."""
    error_rate: Share = 0.01
    """Largest share of the candidate's requests that fail (5xx), or are refused (4xx) though
    production answers such, beyond production's own."""
    p99: PositiveDuration | None = None
    """Longest time that 99 of 100 requests to the candidate take; not judged when left out. With
    `backend: seldon` shorter than 10s, as far as its executor measures."""
    quality: LiveQuality | None = None
    """Bound on the candidate's live quality, where labels come within minutes; not judged when left out."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(b <= a for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError("must have `steps` that rise")
        return self


class Rollout(SpecModel):
    """Stages by which a candidate becomes production."""

    shadow: Shadow = Shadow()
    """First: a copy of the traffic."""
    canary: Canary = Canary()
    """Then: a growing share of it."""
    promote: Literal["auto", "manual"] = "auto"
    """After the last step: promote at once (`auto`), or hold until a person approves it (`manual`,
    `driftloop approve`); what is measured goes on being held to the last step's limits."""
    keep_previous: bool = False
    """Keep the replaced version's pods without traffic until the next rollout: going back to it
    then needs no start."""
