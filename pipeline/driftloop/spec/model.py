"""The spec as a user writes it. Every field but the names, the images and the functions has a
default.

The reference and the JSON Schema for editors are generated from these models: each field's
docstring is its text.
"""

import json
from datetime import timedelta
from math import isfinite
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from driftloop.contract.columns import TARGET, ColumnUse
from driftloop.spec.base import SpecModel
from driftloop.spec.capture import Capture
from driftloop.spec.card import Card
from driftloop.spec.detector import IMPLIED, Detector
from driftloop.spec.events import Events
from driftloop.spec.labels import Labels
from driftloop.spec.observability import Observability
from driftloop.spec.quiet import QuietTimes
from driftloop.spec.resources import GpuProfile, Resources, Retries
from driftloop.spec.retention import Retention
from driftloop.spec.serve import Serve
from driftloop.spec.tracking import Tracking
from driftloop.spec.values import (
    ColumnName,
    ColumnNames,
    ContextFolder,
    Cron,
    Duration,
    FalseAlarms,
    Function,
    ImageDigest,
    ImageName,
    ImageRef,
    Memory,
    MetricName,
    MonitorName,
    NamespaceName,
    ParameterName,
    PersonName,
    PipelineName,
    PositiveDuration,
    ProfileName,
    RunBudget,
    S3Uri,
    Scalar,
    SecretName,
    StepName,
    TaggedRef,
    Traffic,
    Word,
)

API_VERSION = "driftloop.dev/v1alpha1"

LARGEST_WHOLE = 2**53
"""Beyond it not every whole number is a float."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of the whole, 0 to 1."""


class Image(SpecModel):
    """A container image and the folder it is built from."""

    ref: ImageRef
    """Image reference with a tag or digest; what it names never changes."""
    context: ContextFolder | None = None
    """Folder beside the spec with Dockerfile, requirements.txt and code; needed to run it
    without a cluster."""


class DataStep(SpecModel):
    """One step between the raw batches and the training data."""

    name: StepName
    """Name of the step, unique in this list."""
    image: ImageName = "trainer"
    """Name of an image under spec.images."""
    run: Function | None = None
    """`module:function`, called with the folders `data` and `out`."""
    command: Annotated[tuple[Word, ...], Field(max_length=100)] = ()
    """Instead of `run`: a command that reads /work/in/data and writes /work/out/data."""
    timeout: PositiveDuration = timedelta(minutes=30)
    """The step is stopped and fails after this time."""
    retries: Retries | None = None
    """Try again when the step itself fails."""
    cache: PositiveDuration | None = None
    """Take the output of an earlier run over the same data, up to this old, instead of running."""
    approve: bool = False
    """Hold the run after this step until a person approves it (`driftloop approve`); the next step reads what
    is in the step's folder of the bucket then."""
    resources: Resources = Resources()
    """Resources of the step's container."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.run is None) == (not self.command):
            raise ValueError("must have either `run` or `command`")
        return self


class Data(SpecModel):
    """Source of the labelled batches, and the steps before training."""

    uri: S3Uri
    """Folder of labelled batches (.npz, .csv, .jsonl or .parquet files of rows)."""
    steps: Annotated[tuple[DataStep, ...], Field(max_length=20)] = ()
    """Run in this order; each reads what the one before wrote."""
    heldout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of rows kept from training and used to evaluate; chosen by the row's hash."""
    features: ColumnNames = "x"
    """Input of the detectors: an array (.npz), or columns separated by commas; `x`: all columns
    but the target."""
    target: ColumnName = TARGET
    """Column (.npz: array) with the right answers; never an input of the detectors."""
    columns: dict[ColumnName, ColumnUse] = Field(default_factory=dict, max_length=1000)
    """`number`, `category`, `boolean`, `time`, `text` or `ignore` of a column that is learnt wrong.
    By its name: `zip: category`, a number that counts nothing; `note: ignore`, which no detector gets."""
    max_size: Memory = "20Gi"
    """Size of all batches together that a run reads at most; with more it ends before it fetches any."""


class Best(SpecModel):
    """Metric that chooses the best trial of a search."""

    metric: MetricName
    """A metric that the training function returns."""
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


class Train(SpecModel):
    """The training function and how it is called."""

    image: ImageName = "trainer"
    """Name of an image under spec.images."""
    run: Function
    """`module:function`: takes the parameters and the folders `data` and `out`, writes the
    model, returns metrics."""
    parameters: dict[ParameterName, Scalar] = Field(default_factory=dict)
    """Keyword arguments of the function."""
    search: Search | None = None
    """Trials over some parameters; the best one goes on."""
    resources: Resources = Resources(cpu="500m", memory="2Gi")
    """Resources of one trial's container."""
    timeout: PositiveDuration = timedelta(hours=1)
    """A trial is stopped and fails after this time."""
    retries: Retries | None = None
    """Try a trial again when the function fails."""
    checkpoint: bool = False
    """Give the function a folder `checkpoint` whose files a later try of the same trial finds
    again."""
    cache: PositiveDuration | None = None
    """Take an earlier trial of the same function, image, parameters and data, up to this old,
    instead of training."""
    schedule: Cron | None = None
    """Train at these times as well (UTC): five cron fields."""
    new_data: Cron | None = None
    """Look at these times (UTC) whether `data.uri` holds batches that no run has seen, and train
    when it does."""


class Gate(SpecModel):
    """A bar the candidate must clear before any traffic reaches it."""

    metric: MetricName
    """A metric that the evaluation function returns."""
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


class Evaluate(SpecModel):
    """The evaluation function and the gates."""

    image: ImageName | None = None
    """Name of an image under spec.images; the trainer's when left out."""
    run: Function
    """`module:function`: takes the folders `model` and `data`, returns metrics."""
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


class Rehearse(SpecModel):
    """The candidate answers held-out rows in the image that will serve it, before any traffic."""

    rows: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Held-out rows that it is asked at most, recent ones first."""
    start: PositiveDuration = timedelta(minutes=10)
    """Longest time until the server has loaded the model."""
    skew: Share = 0.02
    """Largest distance between the accuracy of the server's answers and the one that the
    evaluation measured, beyond chance; of answers that are numbers, between the typical errors, as a
    share."""


def _read_off(value: object) -> object:
    """Return None for `off`, which YAML reads as false."""
    if value is True:
        raise ValueError("must be a mapping, or `off`")
    return None if value is False or value == "off" else value


def _choose_detectors(value: object) -> object:
    """Return the monitors with the detector of `outlier`, whose default is not that of the others."""
    outlier = value.get("outlier") if isinstance(value, dict) else None
    if not (isinstance(value, dict) and isinstance(outlier, dict)) or any(
        key in outlier for key, _ in IMPLIED
    ):
        return value
    return {**value, "outlier": {"detector": "iforest", **outlier}}


Monitors = Annotated[
    dict[MonitorName, Detector],
    Field(max_length=20),
    BeforeValidator(_choose_detectors, json_schema_input_type=dict[MonitorName, Detector]),
]
"""Name to detector; each is fitted on the data its model was trained on."""


class Retrain(SpecModel):
    """Conditions under which alarms start a training run."""

    on: Annotated[tuple[MonitorName, ...], Field(max_length=20)] | None = None
    """Monitors whose alarms start runs; when left out those with `then: retrain`, and of those without
    `then` the one named `drift`, or the only one that looks for drift."""
    consecutive: Annotated[int, Field(ge=1, le=100)] = 2
    """Windows in a row that must alarm before it counts, of monitors without `alarms` of their own."""
    cooldown: Duration = timedelta(minutes=30)
    """No alarm counts for this long after a run has ended, however it ended."""
    while_running: Literal["drop", "remember"] = "drop"
    """Handling of alarms that arrive during a run."""
    budget: Annotated[RunBudget, Field(json_schema_extra={"default": "4/day"})] = 4
    """Runs that alarms may start in 24 hours; schedules and people are not counted."""
    hold: Duration | None = None
    """Alarms and schedules start nothing so long after a person's revert; default: the cooldown."""
    halt_after: Annotated[int, Field(ge=1, le=100)] = 3
    """Candidates in a row that are refused or rejected before the loop halts itself."""
    quiet_hours: QuietTimes | None = None
    """Times in which alarms start no run: one that counts is kept, and starts a run at their end if it goes
    on."""
    least_new_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Labelled rows, in batches that production was not trained on, with fewer of which alarms and new data
    train nothing: the alarm is kept until there are as many. Schedules and people train with fewer."""


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


class Mesh(SpecModel):
    """Istio's ambient mesh, where the cluster has it: mutual TLS, and who may call whom by
    service account."""

    mode: Literal["ambient"]
    """Without sidecars: the node's ztunnel wraps what pods send each other."""
    enrolled: Annotated[
        tuple[Literal["knative-eventing", "monitoring"], ...], Field(max_length=2)
    ] = (
        "knative-eventing",
        "monitoring",
    )
    """Namespaces of the platform that carry the mesh's label, too; what others call stays open
    to plain traffic."""


class Spec(SpecModel):
    """One model, from its data to its traffic."""

    images: Annotated[dict[ImageName, Image], Field(min_length=1)]
    """Name to image; other fields refer to these names."""
    pins: dict[TaggedRef, ImageDigest] = Field(default_factory=dict)
    """Reference to the digest that its tag stood for; `render --pin` asks the registries and
    writes this."""
    image_pull_secrets: Annotated[tuple[SecretName, ...], Field(max_length=10)] = ()
    """Secrets of the pipeline's namespace (`kubernetes.io/dockerconfigjson`) that its pods pull images with. On one machine
    images are local, and nothing is read."""
    gpus: Annotated[dict[ProfileName, GpuProfile], Field(max_length=20)] = Field(
        default_factory=dict
    )
    """Kinds of GPU by name; `default` is that of `gpu: 1` alone and need not be written."""
    data: Data
    """Source of the labelled batches."""
    train: Train
    """Training of a model."""
    evaluate: Evaluate
    """Metrics of a model, and the gates it must pass."""
    serve: Serve
    """Serving of the released model."""
    rehearse: Annotated[
        Rehearse | None,
        BeforeValidator(_read_off, json_schema_input_type=Rehearse | Literal["off", False] | None),
    ] = Rehearse()
    """Rehearsal of a candidate before any traffic: `off` leaves it out. Only a model behind a class
    of your own (`server: python` without a graph) can be rehearsed."""
    monitors: Monitors = Field(default_factory=dict)
    """Name to detector, 20 at most: what watches the traffic. The detector of `outlier` is `iforest` when
    left out."""
    false_alarms: FalseAlarms = "1/month"
    """False alarms of all monitors together, by day, week, month (30 days) or year: alarms that count though
    nothing has changed. Monitors without an `alarmRate` of their own share it evenly."""
    traffic: Traffic | None = None
    """Rows that the model is asked, by s, min, h or day, such as `40/s`: so many windows share
    `falseAlarms`. When left out one a second, and `driftloop status` compares it with what comes."""
    capture: Annotated[
        Capture | None,
        BeforeValidator(_read_off, json_schema_input_type=Capture | Literal["off", False] | None),
    ] = None
    """Recorded traffic: `capture: {}` records all requests with their answers for 30 days. When left out, or
    `off`, nothing is recorded."""
    labels: Labels = Labels()
    """Uses of labels besides monitors of them."""
    retrain: Retrain = Retrain()
    """Training runs that alarms start."""
    rollout: Rollout = Rollout()
    """Steps by which a candidate becomes production."""
    approvers: Annotated[tuple[PersonName, ...], Field(max_length=50)] = ()
    """People who may approve what waits for a person, as git or Kubernetes names them; empty: everybody who
    can reach it."""
    approve_within: PositiveDuration = timedelta(days=7)
    """Longest time that something waits for an approval; after it a candidate is rejected, and the commit says so."""
    events: Events = Events()
    """Room of the events on their way."""
    retention: Retention = Retention()
    """Retention of what runs leave in the bucket."""
    card: Card | None = None
    """What a person says of the model, for its card; `driftloop card` needs it."""
    tracking: Tracking | None = None
    """Server that is told of runs, models and releases; none when left out."""
    signatures: Literal["write", "require"] | None = None
    """Signatures of releases by the platform's key, checked before a model or detector starts: `write` signs new
    releases; `require` also serves no others. None are made or checked when left out."""
    mesh: Mesh | None = None
    """Take part in the cluster's mesh; without it pods are guarded by NetworkPolicies alone."""
    observability: Observability = Observability()
    """Objects rendered for Prometheus and Grafana."""


class Metadata(SpecModel):
    """The pipeline's name and home."""

    name: PipelineName
    """Name of the pipeline; every object is named after it."""
    namespace: NamespaceName | None = None
    """Kubernetes namespace; the pipeline's name when left out."""


class Pipeline(SpecModel):
    """A spec file: `apiVersion`, `kind`, `metadata`, `spec`."""

    api_version: Literal["driftloop.dev/v1alpha1"]
    """The version of this format."""
    kind: Literal["Pipeline"]
    """Kind of the document."""
    metadata: Metadata
    """Name and namespace."""
    spec: Spec
    """The pipeline itself."""
