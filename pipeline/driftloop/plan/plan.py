"""Pipeline -> Plan: defaults filled, names chosen, references checked, the search spread out
into trials."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal, assert_never

from driftloop.contract.alibi import AlibiSettings
from driftloop.contract.columns import EVERYTHING, TARGET, ColumnUses
from driftloop.contract.documents import to_json
from driftloop.contract.functions import FunctionSettings
from driftloop.contract.handovers import (
    MIXED_KINDS,
    AlarmCount,
    DetectorKind,
    DetectorSettings,
    GateRule,
    RehearsalLimits,
    RetrainPolicy,
    write_gates,
)
from driftloop.contract.lacks import Lack
from driftloop.contract.layout import CLUSTER
from driftloop.contract.limits import DATA_LIMIT
from driftloop.contract.names import Names
from driftloop.contract.quality import EstimateMethod
from driftloop.contract.sources import SourceSettings
from driftloop.errors import SpecError
from driftloop.plan import images as refs
from driftloop.plan.backends import can_rehearse
from driftloop.plan.budget import WindowRate, share_false_alarms
from driftloop.plan.caching import digest_recipe, step_keys, trial_key
from driftloop.plan.check import find_problems
from driftloop.plan.effects import AlarmEffect, choose_effects, retrain_on, scores_rows
from driftloop.plan.kept import settle_kept
from driftloop.plan.trials import Trial, plan_trials
from driftloop.platform.file import PlatformFile, default_platform
from driftloop.spec import Document, InvalidSpec, Pipeline
from driftloop.spec.access import Access
from driftloop.spec.capture import Capture
from driftloop.spec.detector import (
    AlibiDetect,
    ChiSquared,
    CramerVonMises,
    Detector,
    Estimate,
    IsolationForest,
    KolmogorovSmirnov,
    Mahalanobis,
    MaximumMeanDiscrepancy,
    Quality,
    Schema,
    Tabular,
    UserFunction,
)
from driftloop.spec.environment import NO_VARIABLES, ConfigKey, Environment, SecretKey
from driftloop.spec.evaluate import Evaluate
from driftloop.spec.events import Events
from driftloop.spec.labels import LabelledBatches
from driftloop.spec.model import Mesh, Rehearse, Retrain, Spec
from driftloop.spec.observability import Observability
from driftloop.spec.patches import Patch
from driftloop.spec.pods import NO_SETTINGS, AccountedPodSettings, PodSettings
from driftloop.spec.resources import GpuProfile, Resources, Retries
from driftloop.spec.rollout import Rollout
from driftloop.spec.serve import Serve
from driftloop.spec.tracking import Tracking
from driftloop.spec.train import Train
from driftloop.spec.values import S3Uri, memory_bytes

REFERENCE_ROWS = 2000
"""Held-out rows that a rehearsal asks for monitors of answers, unless the spec says how many."""
DEFAULT_GPU = "default"
"""The kind of GPU of those who name none."""


@dataclass(frozen=True)
class DataStepPlan:
    """One step of the data, its image resolved."""

    name: str
    image: str
    run: str | None
    command: tuple[str, ...]
    seconds: int
    resources: Resources
    retries: Retries | None = None
    cache: int | None = None
    """Seconds for which its output may be taken again."""
    key: str = ""
    """What its output depends on besides the data."""
    approve: bool = False
    """The run waits for a person after it."""
    environment: Environment = NO_VARIABLES
    pod: PodSettings = NO_SETTINGS


@dataclass(frozen=True)
class Monitor:
    """One detector service."""

    name: str
    detector: Detector
    then: AlarmEffect | None
    """What alarms that count do; None: they are told, and nothing else."""
    rate: WindowRate
    """How often a window may alarm though nothing has changed."""
    function_image: str | None = None
    """Image of the user's function that judges its windows; None for a detector of ours."""
    estimate: EstimateMethod | None = None
    """How it estimates answers without labels, or shows such estimates beside labels; None: not."""
    private: tuple[str, ...] = ()
    """Columns whose values its verdicts must not tell."""

    @property
    def scores_rows(self) -> bool:
        """Return True when it scores single rows, not whole windows."""
        return scores_rows(self.detector)

    @property
    def checks_schema(self) -> bool:
        """Return True when it looks for broken requests, not for drift."""
        return isinstance(self.detector, Schema)

    def choose_image(self, platform: refs.PlatformImages) -> str:
        """Return the image of its service, and of the step that fits it."""
        return platform.alibi if isinstance(self.detector, AlibiDetect) else platform.monitor

    @property
    def reads_requests(self) -> bool:
        """Return True for a monitor of answers that needs the requests to them, too."""
        return bool(self.slices) or self.estimate == "dle"

    @property
    def slices(self) -> tuple[str, ...]:
        """Columns of requests that it reads beside answers and labels."""
        return self.detector.slice_columns if isinstance(self.detector, Quality) else ()

    @property
    def settings(self) -> DetectorSettings:
        """Settings of the service and of `fit`."""
        detector = self.detector
        time = detector.window_time
        return DetectorSettings(
            kind=detector_kind(detector),
            on=detector.on,
            window=detector.window_rows,
            at_most=None if time is None else time.total_seconds(),
            least=None if time is None else detector.window_least,
            alarm_rate=self.rate.rate,
            columns=tuple(detector.columns.split(",")) if detector.columns is not None else None,
            margin=detector.margin if isinstance(detector, Schema) else None,
            at_least=None
            if isinstance(detector, Tabular | UserFunction | AlibiDetect)
            else detector.at_least,
            at_least_by_type=detector.at_least.model_dump()
            if isinstance(detector, Tabular)
            else None,
            budget=self.rate.budget,
            lasting=False if isinstance(detector, Tabular) and not detector.lasting else None,
            function=_describe_function(detector) if isinstance(detector, UserFunction) else None,
            alibi=_describe_class(detector) if isinstance(detector, AlibiDetect) else None,
            wait=detector.wait.total_seconds() if isinstance(detector, Quality) else None,
            slices=self.slices or None,
            by=self.estimate,
            private=self.private or None,
        )

    @property
    def detector_config(self) -> str:
        """The settings as JSON."""
        return json.dumps(to_json(self.settings))


@dataclass(frozen=True)
class Plan:
    """Everything the resources need to know about a pipeline."""

    names: Names
    ground: PlatformFile
    """The cluster that it is for, as its platform file says."""
    images: Mapping[str, str]
    """Image name in the spec -> ref, with its digest when it is pinned."""
    platform: refs.PlatformImages
    """The platform's own images."""
    data: S3Uri
    heldout: float
    features: str
    target: str
    column_uses: ColumnUses
    """What columns are where they are learnt wrong."""
    data_bytes: int
    """Size of all batches together that a run reads at most."""
    sources: tuple[SourceSettings, ...]
    """Where batches come from besides the data's folder."""
    source_keys: Environment
    """Variables with their credentials."""
    steps: tuple[DataStepPlan, ...]
    train: Train
    train_image: str
    trials: tuple[Trial, ...]
    trial_keys: tuple[str, ...]
    """For each trial, what its model depends on besides the data."""
    evaluate: Evaluate
    evaluate_image: str
    serve: Serve
    serve_image: str | None
    """None where Seldon's operator chooses it."""
    monitors: tuple[Monitor, ...]
    retrain_on: tuple[str, ...]
    """Monitors whose alarms start runs."""
    rollout: Rollout = field(default_factory=Rollout)
    approvers: tuple[str, ...] = ()
    """Who may approve what waits for a person; empty: everybody who can reach it."""
    approve_within: int = 7 * 86_400
    """Seconds that it waits at most."""
    rehearse: Rehearse | None = None
    """None where it is turned off, or the server can't be started by a step."""
    signatures: Literal["write", "require"] | None = None
    """None: releases are neither signed nor checked."""
    mesh: Mesh | None = None
    retrain: Retrain = field(default_factory=Retrain)
    observability: Observability = field(default_factory=Observability)
    events: Events = field(default_factory=Events)
    capture: Capture | None = None
    """None: no traffic is recorded."""
    prune: str | None = None
    """Times (UTC, five cron fields) at which what nothing needs any more is removed; None: by a person only."""
    batches: LabelledBatches | None = None
    """None: labelled traffic is not made training data."""
    tracking: Tracking | None = None
    """None: no server is told of runs."""
    access: Access | None = None
    """None: everybody who reaches the gateway may ask."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets that the kubelet pulls images with."""
    gpus: Mapping[str, GpuProfile] = field(default_factory=dict)
    """The spec's own kinds of GPU."""
    pods: AccountedPodSettings = field(default_factory=AccountedPodSettings)
    """Settings of all pods."""

    patches: tuple[Patch, ...] = ()
    """Changes of rendered objects."""

    def gpu_profile(self, resources: Resources) -> GpuProfile | None:
        """The kind of GPU that a container gets, when it asks for one."""
        if not resources.gpu:
            return None
        name = resources.gpu_profile or DEFAULT_GPU
        return self.gpus[name] if name in self.gpus else GpuProfile()

    @property
    def request_monitors(self) -> tuple[Monitor, ...]:
        """Monitors that are fitted on the training data."""
        return tuple(monitor for monitor in self.monitors if monitor.detector.on == "request")

    @property
    def answer_monitors(self) -> tuple[Monitor, ...]:
        """Monitors that are fitted on the model's own answers, in its rehearsal."""
        return tuple(monitor for monitor in self.monitors if monitor.detector.on != "request")

    @property
    def label_monitors(self) -> tuple[Monitor, ...]:
        """Those of them that read labels, too."""
        return tuple(monitor for monitor in self.monitors if monitor.detector.on == "label")

    @property
    def takes_labels(self) -> bool:
        """Return True when something reads the labels that are posted."""
        bounded = self.rollout.canary.quality is not None
        return bounded or bool(self.label_monitors) or self.batches is not None

    @property
    def rehearsed_rows(self) -> int:
        """Held-out rows that a rehearsal asks at most: more than by default where a monitor is fitted on
        the answers."""
        rehearse = self.rehearse or Rehearse()
        if self.answer_monitors and "rows" not in rehearse.model_fields_set:
            return REFERENCE_ROWS
        return rehearse.rows

    @property
    def raw_features(self) -> str | None:
        """Columns that the batches must have as they come; None when a data step may still make
        them, or nothing needs them."""
        needed = bool(self.request_monitors) or self.features != EVERYTHING
        return self.features if needed and not self.steps else None

    @property
    def halt_on(self) -> tuple[str, ...]:
        """Monitors whose alarms halt the loop."""
        return tuple(monitor.name for monitor in self.monitors if monitor.then == "halt")

    @property
    def rollback_on(self) -> tuple[str, ...]:
        """Monitors whose alarms go back to the previous release."""
        return tuple(monitor.name for monitor in self.monitors if monitor.then == "rollback")

    @property
    def retrain_policy(self) -> RetrainPolicy:
        """Return the policy that the decision service is told."""
        retrain = self.retrain
        counts = ((each.name, each.detector.alarms) for each in self.monitors)
        return RetrainPolicy(
            consecutive=retrain.consecutive,
            cooldown=retrain.cooldown.total_seconds(),
            while_running=retrain.while_running,
            budget=retrain.budget,
            on=self.retrain_on,
            halt_on=self.halt_on or None,
            rollback_on=self.rollback_on or None,
            counts={name: AlarmCount(own.least, own.of) for name, own in counts if own is not None}
            or None,
            hold=(retrain.cooldown if retrain.hold is None else retrain.hold).total_seconds(),
            halt_after=retrain.halt_after,
            quiet=None if retrain.quiet_hours is None else retrain.quiet_hours.hours,
            least_new_rows=retrain.least_new_rows,
        )

    def write_policy(self, unfitted: Mapping[str, Lack]) -> str:
        """Return the retrain policy as JSON, times in seconds, with the monitors that production's detectors were not
        fitted for."""
        return json.dumps(to_json(replace(self.retrain_policy, unfitted=unfitted or None)))

    @property
    def takes_mixed(self) -> bool:
        """Return True when every detector of requests takes columns of any type, or names its own."""
        return all(
            detector_kind(monitor.detector) in MIXED_KINDS or monitor.detector.columns is not None
            for monitor in self.request_monitors
        )

    @property
    def column_options(self) -> tuple[str, ...]:
        """Options of commands that look at the columns of the data."""
        return ("--features", self.features, *self.target_options, *self.use_options)

    @property
    def target_options(self) -> tuple[str, ...]:
        """Option with the target's name; none for the default."""
        return () if self.target == TARGET else ("--target", self.target)

    @property
    def use_options(self) -> tuple[str, ...]:
        """Option with what columns are where they are learnt wrong; none without such columns."""
        return ("--columns", json.dumps(dict(self.column_uses))) if self.column_uses else ()

    @property
    def recipe(self) -> str:
        """Digest of everything that a model depends on besides the data."""
        best = self.train.search.best if self.train.search is not None else None
        return digest_recipe(self.trial_keys, "" if best is None else f"{best.goal} {best.metric}")

    @property
    def rehearsal_limits(self) -> str:
        """The limits of a rehearsal as JSON."""
        rehearse, canary = self.rehearse or Rehearse(), self.rollout.canary
        limits = RehearsalLimits(
            start=rehearse.start.total_seconds(),
            skew=rehearse.skew,
            accuracy=self.rollout.shadow.accuracy,
            p99=canary.p99.total_seconds() if canary.p99 is not None else None,
        )
        return json.dumps(to_json(limits))

    @property
    def source_options(self) -> tuple[str, ...]:
        """Options of commands that read the sources; none without any."""
        if not self.sources:
            return ()
        sources = json.dumps([to_json(source) for source in self.sources])
        bound = () if self.data_bytes == DATA_LIMIT else ("--max-bytes", str(self.data_bytes))
        return ("--sources", sources, *bound)

    @property
    def gates(self) -> str:
        """The gates as JSON, fields as in the spec."""
        return write_gates(
            tuple(
                GateRule(
                    gate.metric,
                    gate.on,
                    gate.min,
                    gate.max,
                    gate.production_minus,
                    gate.production_plus,
                )
                for gate in self.evaluate.gates
            )
        )


def make_plan(pipeline: Pipeline | Document, *, platform: PlatformFile | None = None) -> Plan:
    """The plan of a pipeline on a cluster; None: one that has no platform file.

    References that lead nowhere raise InvalidSpec, with places when given a Document.
    """
    document = pipeline if isinstance(pipeline, Document) else None
    pipeline = pipeline.pipeline if isinstance(pipeline, Document) else pipeline
    findings = find_problems(pipeline)
    if findings and document is not None:
        raise InvalidSpec(
            [
                document.source.problem(f.location, f.message, hint=f.hint, key=f.key)
                for f in findings
            ]
        )
    if findings:
        raise SpecError("\n".join(f.message for f in findings), hint=findings[0].hint)
    spec = pipeline.spec
    ground = platform or default_platform(CLUSTER)
    registries = ground.spec.images
    pinned = {name: refs.pin_image(image.ref, spec.pins) for name, image in spec.images.items()}
    images = {name: refs.mirror_image(ref, registries) for name, ref in pinned.items()}
    name = pipeline.metadata.name
    kept = settle_kept(spec, ground)
    steps, points = _plan_steps(pipeline, images, pinned), plan_trials(spec.train)
    return Plan(
        names=Names(name, pipeline.metadata.namespace or name),
        ground=ground,
        images=images,
        platform=refs.pin_platform_images(spec.pins, registries),
        data=spec.data.uri,
        heldout=spec.data.heldout,
        features=spec.data.features,
        target=spec.data.target,
        column_uses=spec.data.columns,
        data_bytes=memory_bytes(spec.data.max_size),
        sources=tuple(source.make_settings(each) for each, source in spec.data.sources.items()),
        source_keys=_list_source_keys(spec),
        steps=steps,
        train=spec.train,
        train_image=images[spec.train.image],
        trials=points,
        trial_keys=tuple(
            trial_key(
                point,
                spec.train,
                before=steps[-1].key if steps else "",
                heldout=spec.data.heldout,
                # what a model is made of is the same at every mirror
                image=pinned[spec.train.image],
            )
            for point in points
        ),
        evaluate=spec.evaluate,
        evaluate_image=images[spec.evaluate.image or spec.train.image],
        serve=spec.serve,
        serve_image=images[spec.serve.image] if spec.serve.image is not None else None,
        monitors=_plan_monitors(pipeline, images),
        retrain_on=retrain_on(spec),
        rollout=spec.rollout,
        approvers=spec.approvers,
        approve_within=whole_seconds(spec.approve_within) or 1,
        rehearse=spec.rehearse if can_rehearse(spec.serve) else None,
        signatures=spec.signatures,
        mesh=spec.mesh,
        events=kept.events,
        capture=kept.capture,
        batches=spec.labels.batches,
        prune=kept.prune,
        tracking=spec.tracking,
        access=spec.access,
        image_pull_secrets=tuple(
            dict.fromkeys((*spec.image_pull_secrets, *registries.pull_secrets))
        ),
        gpus=spec.gpus,
        pods=spec.pods,
        retrain=spec.retrain,
        observability=spec.observability,
        patches=spec.patches,
    )


def _list_source_keys(spec: Spec) -> Environment:
    keys: dict[str, str | SecretKey | ConfigKey] = {}
    for name, source in spec.data.sources.items():
        keys |= source.name_variables(name)
    return Environment(keys, ())


def _plan_steps(
    pipeline: Pipeline, images: Mapping[str, str], pinned: Mapping[str, str]
) -> tuple[DataStepPlan, ...]:
    steps = pipeline.spec.data.steps
    keys = step_keys(steps, pinned)
    return tuple(
        DataStepPlan(
            step.name,
            images[step.image],
            step.run,
            step.command,
            int(step.timeout.total_seconds()) or 1,
            step.resources,
            step.retries,
            whole_seconds(step.cache),
            key,
            step.approve,
            step.environment,
            step.pod,
        )
        for step, key in zip(steps, keys, strict=True)
    )


def whole_seconds(length: timedelta | None) -> int | None:
    """Whole seconds, at least one."""
    return None if length is None else int(length.total_seconds()) or 1


def _plan_monitors(pipeline: Pipeline, images: Mapping[str, str]) -> tuple[Monitor, ...]:
    """The monitors by name: their order in the spec makes no difference."""
    effects, rates = choose_effects(pipeline.spec), share_false_alarms(pipeline.spec)
    capture = pipeline.spec.capture
    private = () if capture is None else tuple(sorted(capture.private))
    return tuple(
        Monitor(
            name,
            detector,
            effects[name],
            rates[name],
            images[detector.image] if isinstance(detector, UserFunction) else None,
            _choose_estimate(pipeline.spec, detector),
            private,
        )
        for name, detector in sorted(pipeline.spec.monitors.items())
    )


def _choose_estimate(spec: Spec, detector: Detector) -> EstimateMethod | None:
    """Return how a monitor estimates; one of labels shows the estimates of another one beside what came."""
    if isinstance(detector, Estimate):
        return detector.by
    if not isinstance(detector, Quality):
        return None
    others = (each for _, each in sorted(spec.monitors.items()))
    return next((each.by for each in others if isinstance(each, Estimate)), None)


def _describe_class(detector: AlibiDetect) -> AlibiSettings:
    return AlibiSettings(detector.alibi.class_, dict(detector.alibi.settings))


def _describe_function(detector: UserFunction) -> FunctionSettings:
    return FunctionSettings(
        run=detector.run,
        fit=detector.fit,
        form=detector.form,
        parameters=dict(detector.parameters) or None,
        timeout=detector.timeout.total_seconds(),
    )


def detector_kind(detector: Detector) -> DetectorKind:
    """Return the name by which the detector service knows an algorithm."""
    match detector:
        case (
            Tabular()
            | Schema()
            | MaximumMeanDiscrepancy()
            | KolmogorovSmirnov()
            | CramerVonMises()
            | ChiSquared()
            | IsolationForest()
            | Mahalanobis()
            | UserFunction()
            | AlibiDetect()
            | Quality()
            | Estimate()
        ):
            return detector.detector
        case _:
            assert_never(detector)
