"""The spec as a user writes it. Every field but the names, the images and the functions has a
default.

The reference and the JSON Schema for editors are generated from these models: each field's
docstring is its text.
"""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from driftloop.spec.access import Access
from driftloop.spec.base import SpecModel, take_list
from driftloop.spec.capture import Capture
from driftloop.spec.card import Card
from driftloop.spec.data import Data
from driftloop.spec.detector import IMPLIED, Detector
from driftloop.spec.evaluate import Evaluate
from driftloop.spec.events import Events
from driftloop.spec.labels import Labels
from driftloop.spec.observability import Observability
from driftloop.spec.patches import Patch
from driftloop.spec.pods import AccountedPodSettings
from driftloop.spec.quiet import QuietTimes
from driftloop.spec.resources import GpuProfile
from driftloop.spec.retention import Retention
from driftloop.spec.rollout import Rollout
from driftloop.spec.serve import Serve
from driftloop.spec.tracking import Tracking
from driftloop.spec.train import Train
from driftloop.spec.values import (
    ContextFolder,
    Duration,
    FalseAlarms,
    ImageDigest,
    ImageName,
    ImageRef,
    MonitorName,
    NamespaceName,
    PersonName,
    PipelineName,
    PositiveDuration,
    ProfileName,
    RunBudget,
    SecretName,
    Share,
    TaggedRef,
    Traffic,
)

API_VERSION = "driftloop.dev/v1alpha1"


class Image(SpecModel):
    """A container image and the folder it is built from."""

    ref: ImageRef
    """Image reference with a tag or digest; what it names never changes."""
    context: ContextFolder | None = None
    """Folder beside the spec with Dockerfile, requirements.txt and code; needed to run it
    without a cluster."""


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
    pods: AccountedPodSettings = AccountedPodSettings()
    """Placement and marks of all pods of the pipeline, driftloop's own included; roles put theirs (`pod`) over it."""
    data: Data
    """Source of the labelled batches."""
    train: Train
    """Training of a model."""
    evaluate: Evaluate
    """Metrics of a model, and the gates it must pass."""
    serve: Serve
    """Serving of the released model."""
    access: Access | None = None
    """Login of callers at the gateway, and pages that may call from a browser; when left out, everybody who reaches
    the gateway may ask."""
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
    nothing has changed. Monitors without an `alarmRate` of their own share it: of each `schema` one part,
    of each `mmd` two, of each other five."""
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
    patches: Annotated[
        tuple[Patch, ...],
        Field(max_length=50),
        BeforeValidator(take_list, json_schema_input_type=tuple[Patch, ...]),
    ] = ()
    """Changes of rendered objects by kustomize, in this order: a last resort, for what no other field says."""


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
