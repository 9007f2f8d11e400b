"""run.json: everything about one run in one file, from its trigger to its outcome.

It is written when the run has its data and again at each end of a Workflow of the run; until the
last one it has no outcome. Runs of older versions of driftloop have none: it is composed of the
files that they left.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, assert_never, get_args

from driftloop.contract.approvals import Approval
from driftloop.contract.documents import (
    document_key,
    from_json,
    is_number,
    is_text,
    is_text_map,
    is_whole,
    part_key,
    texts_key,
    to_json,
)
from driftloop.contract.names import (
    ALARM_CAUSE,
    NEW_DATA_CAUSE,
    PERSON_CAUSE,
    SCHEDULE_CAUSE,
    is_forced,
)
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.records import (
    Evaluation,
    GateVerdict,
    Rehearsal,
    moment_key,
    name_key,
    text_key,
)

Trigger = Literal["alarm", "person", "schedule", "new-data", "webhook", "unknown"]
TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)

TrialGoal = Literal["maximize", "minimize"]
TRIAL_GOALS: tuple[TrialGoal, ...] = get_args(TrialGoal)


_PROGRESS = re.compile(r"(\d{1,9})/([1-9]\d{0,8})")


def is_progress(text: str) -> bool:
    """Return True for `3/12`: so much of so much."""
    match = _PROGRESS.fullmatch(text)
    return match is not None and int(match[1]) <= int(match[2])


def measure_left(progress: str, started: str | None, now: datetime) -> float | None:
    """Return in how many seconds a step is done if it goes on like this; None when that is not known."""
    done, whole = map(int, progress.split("/"))
    if not done or started is None:
        return None
    return max(0.0, (now - datetime.fromisoformat(started)).total_seconds() * (whole - done) / done)


def describe_progress(progress: str, started: str | None, now: datetime) -> str:
    """Say how far a step is at a time, and how long the rest takes if it goes on like this."""
    done, whole = progress.split("/")
    left = measure_left(progress, started, now)
    return f"{done} of {whole}{f', about {format_left(left)} left' if left else ''}"


def format_left(seconds: float) -> str:
    """Return a time in one unit: it is an estimate."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def _optional_text(key: str) -> Any:
    return document_key(
        key, "a text, or null", lambda v: v is None or isinstance(v, str), default=None
    )


def _truth(key: str) -> Any:
    return document_key(key, "true or false", lambda v: isinstance(v, bool), default=False)


def _count(key: str) -> Any:
    return document_key(key, "a number, 0 or more", lambda v: is_whole(v, 0), default=0)


def _optional_number(key: str) -> Any:
    return document_key(key, "a number, or null", lambda v: v is None or is_number(v), default=None)


def _text_map(key: str) -> Any:
    return document_key(
        key,
        "an object of texts, or null",
        lambda v: v is None or is_text_map(v),
        default=None,
        read=dict,
    )


def _values(key: str) -> Any:
    return document_key(
        key, "an object, or null", lambda v: v is None or isinstance(v, dict), default=None
    )


def _parts(key: str, part: Any) -> Any:
    return document_key(
        key,
        "a list of objects",
        lambda v: isinstance(v, list),
        default=(),
        read=lambda v: tuple(part.read(item) for item in v),
        write=lambda v: [to_json(item) for item in v],
    )


@dataclass(frozen=True, kw_only=True)
class RunAlarm:
    """The alarms that caused a run."""

    event: str = text_key("event")
    """Id of the event of the last of them."""
    monitor: str = name_key("monitor")
    """Monitor that raised them."""
    release: str = name_key("release")
    """Release whose traffic they are about."""
    first: int = document_key("firstWindow", "a number from 1", lambda v: is_whole(v, 1))
    """First window of the row of alarms."""
    last: int = document_key("lastWindow", "a number from 1", lambda v: is_whole(v, 1))
    """Last window of it."""

    @classmethod
    def read(cls, document: object) -> "RunAlarm":
        """Read the alarms from plain data; DocumentError."""
        return from_json(cls, document, label="`alarm` of run.json", closed=False)


@dataclass(frozen=True, kw_only=True)
class RunStep:
    """One attempt of a step."""

    workflow: str = text_key("workflow")
    """Workflow that it is a pod of: the run's, or that of its rollout."""
    name: str = text_key("name")
    """Step, as `driftloop logs` names it."""
    phase: str = text_key("phase")
    """Argo's phase of the pod, such as `Succeeded`."""
    started: str | None = moment_key("startedAt")
    """Start."""
    finished: str | None = moment_key("finishedAt")
    """End; None while it goes on."""
    message: str = text_key("message")
    """Why it failed; empty when it did not."""
    reused: bool = _truth("reused")
    """Its outputs are those of an earlier run."""
    progress: str | None = document_key(
        "progress",
        "such as 3/12, or null",
        lambda v: v is None or (isinstance(v, str) and is_progress(v)),
        default=None,
        omits_none=True,
    )
    """How far it is by its own count, while it goes on; None of one that does not say."""

    def describe_progress(self, now: datetime) -> str:
        """Say how far it is at a time, and how long the rest takes if it goes on like this; empty when that is not
        known."""
        return "" if self.progress is None else describe_progress(self.progress, self.started, now)

    @classmethod
    def read(cls, document: object) -> "RunStep":
        """Read the step from plain data; DocumentError."""
        return from_json(cls, document, label="a step of run.json", closed=False)


@dataclass(frozen=True, kw_only=True)
class RunData:
    """The batches that a run saw; snapshot.json has each of them."""

    uri: str = text_key("uri")
    """Folder of the batches."""
    digest: str = text_key("digest")
    """Digest over all of them."""
    batches: int = _count("batches")
    """Number of them."""
    recent: int = _count("recent")
    """Batches that production was not trained on."""
    size: int = _count("bytes")
    """Bytes of all."""
    collected: int = _count("collected")
    """Those of them that were copied from sources."""

    @classmethod
    def read(cls, document: object) -> "RunData":
        """Read the data from plain data; DocumentError."""
        return from_json(cls, document, label="`data` of run.json", closed=False)


@dataclass(frozen=True, kw_only=True)
class RunTrial:
    """One trial of a run, as its training function left it."""

    trial: str = text_key("trial")
    """Number of the trial."""
    rank: int | None = document_key(
        "rank", "a number from 1, or null", lambda v: v is None or is_whole(v, 1), default=None
    )
    """Place among the trials by the metric of the search; None without a metric, and for one that
    failed."""
    chosen: bool = _truth("chosen")
    """It became the candidate's model."""
    home: str | None = _optional_text("home")
    """Folder of the bucket that keeps it; None when it left nothing."""
    parameters: Mapping[str, Any] | None = _values("parameters")
    """Parameters that the function was called with."""
    metrics: Mapping[str, float] | None = _values("metrics")
    """Metrics that it returned; None for one that failed."""
    seconds: float | None = _optional_number("seconds")
    """How long the function took; None when it is not known."""
    started: str | None = moment_key("startedAt")
    """Start of the function; of a reused trial, in the run that made it."""
    seed: int | None = document_key(
        "seed", "a number, or null", lambda v: v is None or is_whole(v, 0), default=None
    )
    """Seed of the random numbers."""
    resumed: bool = _truth("resumed")
    """It went on from what an earlier attempt had kept."""
    failed: str = text_key("failed")
    """Why it failed; empty when it did not."""

    @classmethod
    def read(cls, document: object) -> "RunTrial":
        """Read the trial from plain data; DocumentError."""
        return from_json(cls, document, label="a trial of run.json", closed=False)


@dataclass(frozen=True, kw_only=True)
class RunDigests:
    """Digests of everything that went into a run and came out of it; None is not known."""

    data: str | None = _optional_text("data")
    """Batches."""
    recipe: str | None = _optional_text("recipe")
    """Code, parameters and images, as the spec had them."""
    code: str | None = _optional_text("code")
    """Python files of the training function's folder."""
    revision: str | None = _optional_text("revision")
    """Git commit of that folder, when it is a repository."""
    model: str | None = _optional_text("model")
    """Files of the model."""
    images: Mapping[str, str] | None = _text_map("images")
    """Step to the image that it ran in; with a digest where the spec pins it."""
    detectors: Mapping[str, str] | None = _text_map("detectors")
    """Monitor to the files that were fitted."""
    records: Mapping[str, str] | None = _text_map("records")
    """Folder of the run to its files: `snapshot`, `evaluation`."""

    @classmethod
    def read(cls, document: object) -> "RunDigests":
        """Read the digests from plain data; DocumentError."""
        return from_json(cls, document, label="`digests` of run.json", closed=False)


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """run.json: one run."""

    pipeline: str = name_key("pipeline")
    """Pipeline of the run."""
    namespace: str = text_key("namespace")
    """Its namespace."""
    run: str = name_key("run")
    """Run id."""
    trigger: Trigger = document_key(
        "trigger", f"one of: {', '.join(TRIGGERS)}", lambda v: v in TRIGGERS, default="unknown"
    )
    """What started it."""
    cause: str = text_key("cause")
    """The cause in full: of an alarm what moved, of a person who and why."""
    decision: str = text_key("decision")
    """Decision that asked for it; empty for a schedule."""
    alarm: RunAlarm | None = part_key("alarm", RunAlarm, omits_none=False)
    """Alarms that caused it; None when others did."""
    started: str | None = moment_key("startedAt")
    """Start."""
    finished: str | None = moment_key("finishedAt")
    """End; None while it goes on."""
    commit: str | None = _optional_text("commit")
    """Commit of the cluster repository that it read its production and spec from."""
    production: str | None = _optional_text("production")
    """Release that was production when it began; None before the first."""
    steps: tuple[RunStep, ...] = _parts("steps", RunStep)
    """Attempts of all steps, in the order in which they started."""
    data: RunData | None = part_key("data", RunData, omits_none=False)
    """Batches; None when it ended before it saw them."""
    heldout: float | None = _optional_number("heldout")
    """Share of the rows that is held out."""
    rows: Mapping[str, int] | None = _values("rows")
    """Held-out rows: `all` and `recent`."""
    function: str = text_key("function")
    """Training function; empty with a command."""
    command: str | None = document_key(
        "command",
        "a text, or null",
        lambda v: v is None or isinstance(v, str),
        default=None,
        omits_none=True,
    )
    """Command that trained in its place, as one types it."""
    parameters: Mapping[str, Any] | None = _values("parameters")
    """Parameters of the chosen trial."""
    metric: str = text_key("metric")
    """Metric by which trials are ranked; empty without a search."""
    goal: TrialGoal | None = document_key(
        "goal",
        f"one of: {', '.join(TRIAL_GOALS)}; null",
        lambda v: v is None or v in TRIAL_GOALS,
        default=None,
    )
    """Direction in which it is better."""
    trials: tuple[RunTrial, ...] = _parts("trials", RunTrial)
    """Trials, the best first."""
    metrics: Evaluation | None = part_key("metrics", Evaluation, omits_none=False)
    """Candidate and production on held-out rows; None when it was not evaluated."""
    gates: GateVerdict | None = part_key("gates", GateVerdict, omits_none=False)
    """Gates with their numbers; None when it did not get there."""
    rehearsal: Rehearsal | None = part_key("rehearsal", Rehearsal, omits_none=False)
    """Rehearsal; None without one."""
    environment: Mapping[str, Any] | None = _values("environment")
    """Where the chosen trial ran: `python`, `libraries` with versions, `hardware`."""
    digests: RunDigests = document_key(
        "digests",
        "an object",
        lambda v: isinstance(v, dict),
        read=RunDigests.read,
        write=to_json,
    )
    """Digests of data, code, images and model."""
    release: str | None = _optional_text("release")
    """Release that it became; None when it became none."""
    rollout: str | None = _optional_text("rollout")
    """Workflow of its rollout; None without one."""
    approvals: tuple[Approval, ...] = _parts("approvals", Approval)
    """What people have approved, the first first."""
    outcome: RunOutcome | None = part_key("result", RunOutcome, omits_none=False)
    """How it ended, why and when; None while it goes on, and for a run that was lost."""
    notes: tuple[str, ...] = texts_key("notes")
    """What could not be read when this was written, and why."""

    @classmethod
    def read(cls, document: object) -> "RunReport":
        """Read run.json from plain data; DocumentError."""
        return from_json(cls, document, label="run.json", closed=False)

    @property
    def code(self) -> str:
        """What trained: the function, or the command."""
        return self.command or self.function

    @property
    def forced(self) -> bool:
        """A person wanted it to train although there was nothing new."""
        return self.trigger == "person" and is_forced(self.cause)


def read_trigger(cause: str) -> Trigger:
    """Return what started a run with this cause."""
    if cause.startswith(ALARM_CAUSE):
        return "alarm"
    if cause.startswith(PERSON_CAUSE):
        return "person"
    if cause == SCHEDULE_CAUSE:
        return "schedule"
    if cause == NEW_DATA_CAUSE:
        return "new-data"
    return "webhook" if is_text(cause) else "unknown"


def describe_trigger(trigger: Trigger) -> str:
    """Return a trigger as people read it."""
    match trigger:
        case "alarm":
            return "an alarm"
        case "person":
            return "a person"
        case "schedule":
            return "the schedule"
        case "new-data":
            return "new data"
        case "webhook":
            return "a webhook"
        case "unknown":
            return "not known"
        case _:
            assert_never(trigger)
