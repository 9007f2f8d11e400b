"""State of the decision to retrain, the events that change it and the effects that it asks for."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from driftloop.contract.documents import DocumentError, parse_json, show_value
from driftloop.contract.names import ALARM_CAUSE, NEW_DATA_CAUSE, SCHEDULE_CAUSE
from driftloop.contract.outcomes import Obstacle, OutcomeKind
from driftloop.contract.records import LoopWait
from driftloop.errors import PipelineError

Phase = Literal[
    "idle",
    "pending",
    "running",
    "evaluating",
    "rolling-out",
    "cooling",
    "waiting",
    "postponed",
    "held",
    "halted",
]


LivePhase = Literal["running", "evaluating", "rolling-out"]


Outcome = OutcomeKind


LIVE: tuple[LivePhase, ...] = get_args(LivePhase)


def is_automatic(cause: str) -> bool:
    """Return True for the cause of a run that neither a person nor a webhook of theirs started."""
    return cause in (SCHEDULE_CAUSE, NEW_DATA_CAUSE) or cause.startswith(ALARM_CAUSE)


def is_new_data(cause: str) -> bool:
    """Return True for the cause of a run that the look for new data started."""
    return cause == NEW_DATA_CAUSE


RollbackOutcome = Literal["rolled-back", "refused", "failed"]
"""How an order to go back ended: by a commit, by a reason against it, or without an answer."""

WITHDRAWN = "withdrawn"
"""Detector of a cause whose decision was withdrawn by a version that kept the text only."""


class DecisionError(PipelineError):
    """A stored decision state can't be read."""


@dataclass(frozen=True)
class RetrainCause:
    """Why a decision was taken: the last of the alarms in a row, or an alarm of windows together."""

    detector: str
    release: str
    first: int
    last: int
    event: str
    again: int = 0
    """Earlier decisions of the same alarms: one that was withdrawn, or found nothing new."""
    lasting: int | None = None
    """Windows up to the last one that alarmed together, which counts by itself; None: alarms in a row, or an
    entry of an older version."""

    def decision(self, pipeline: str) -> str:
        """Twelve hex digits, the same for the same cause."""
        text = f"{pipeline}|{self.detector}|{self.release}|{self.first}..{self.last}"
        if self.again:
            text += f"|{self.again}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def text(self) -> str:
        """As commits and webhooks carry it."""
        return f"{ALARM_CAUSE}{self.event}"

    def is_stale(self, production: str) -> bool:
        """Return True if the alarms were about another release than production; of a withdrawn
        decision that is not known."""
        return self.detector != WITHDRAWN and self.release != production


@dataclass(frozen=True)
class CauseSource:
    """Alarms and watermark of one detector of one release."""

    watermark: int = 0
    """Windows up to here have been used or dropped."""
    alarms: Mapping[int, str] = field(default_factory=dict)
    """Window number to event id, above the watermark."""


@dataclass(frozen=True)
class DataWait:
    """A counted alarm that waits for something new to train on."""

    cause: RetrainCause
    since: float
    reason: str
    """What the run that was refused said."""
    news: bool = False
    """There are new batches; a run begins as soon as the budget and a person's commit let it."""
    obstacle: Obstacle = "nothing-new"
    """What the data lacked."""


def build_source(detector: str, release: str) -> str:
    """Return the key that alarms of a detector about a release are counted by."""
    return f"{detector}/{release}"


@dataclass(frozen=True)
class PostponedAlarm:
    """A counted alarm that waits for the end of the quiet hours."""

    cause: RetrainCause
    since: float

    @property
    def source(self) -> str:
        """Key of its detector and release."""
        return build_source(self.cause.detector, self.cause.release)


@dataclass(frozen=True)
class ReleaseHold:
    """A pause after a person took a release back."""

    commit: str
    subject: str
    by: str
    since: float
    until: float | None = None
    """End; None until the service, which has the policy, has seen it."""


@dataclass(frozen=True)
class UntoldWait:
    """The begin of a wait, until it is known that people were told."""

    key: str
    waits_for: LoopWait
    reason: str
    tries: int = 0
    next: float = 0.0


@dataclass(frozen=True)
class UntoldRun:
    """A run that was lost, until it is known that others were told: it could not say so itself."""

    run: str
    decision: str
    reason: str
    tries: int = 0
    next: float = 0.0


@dataclass(frozen=True)
class RollbackOrder:
    """The order to go back from a release, until it is known how that ended."""

    decision: str
    cause: RetrainCause
    since: float
    run: str | None = None
    """The Workflow that carries it out; None until it has begun."""
    fires: int = 0
    next_fire: float = 0.0


@dataclass(frozen=True)
class RollbackEnd:
    """End of the last order to roll back."""

    outcome: RollbackOutcome
    release: str
    """Release that was to be left."""
    to: str | None
    """Release that is production since; None unless one came back."""
    reason: str
    at: float


@dataclass(frozen=True)
class RetrainState:
    """Everything the decision remembers; JSON in a key-value entry."""

    pipeline: str
    """`namespace.name`"""
    phase: Phase = "idle"
    since: float = 0.0
    """Start of the phase (seconds since 1970)."""
    decision: str | None = None
    """Pending or live."""
    cause: str | None = None
    run: str | None = None
    """The run that holds the lease, live phases only."""
    workflow: str | None = None
    """The Workflow that shows whether the run still lives."""
    halt: str | None = None
    """Why it is halted, or will be when the run ends."""
    ended_at: float | None = None
    """End of the last run; the cooldown counts from here."""
    outcome: Outcome | None = None
    """Outcome of the last run."""
    outcome_at: float | None = None
    """Time of that outcome; None in an entry of an older version."""
    reason: str = ""
    fires: int = 0
    next_fire: float = 0.0
    remembered: RetrainCause | None = None
    fired: tuple[float, ...] = ()
    """Times of decisions caused by alarms, the last 24 hours."""
    ended: tuple[str, ...] = ()
    """Runs and decisions that are over."""
    sources: Mapping[str, CauseSource] = field(default_factory=dict)
    """`detector/release` to what is known of it, the most recently heard last."""
    suppressed: int = 0
    """Counted causes that led to nothing: dropped, or over budget."""
    untold: tuple[UntoldRun, ...] = ()
    alarm: RetrainCause | None = None
    """The alarms behind the pending or live decision; None when a schedule or person started it."""
    waits: DataWait | None = None
    """The alarms that wait for new data."""
    strikes: int = 0
    """Refused or rejected candidates since the last release, or since a person resumed."""
    breaker: bool = False
    """The loop halted itself."""
    head: str = ""
    """Commit that last changed production or candidate, as far as known."""
    hold: ReleaseHold | None = None
    stale: int = 0
    """Alarms about releases that were not production any more, ever."""
    dropped: str = ""
    """Why the last cause was dropped that had counted."""
    waits_untold: tuple[UntoldWait, ...] = ()
    clock: str = ""
    """The last stored time that turned out to be in the future, and what became of it."""
    rollback: RollbackOrder | None = None
    """The order that is not carried out yet; the loop is halted beside it."""
    went_back: RollbackEnd | None = None
    """How the last one ended."""
    postponed: tuple[PostponedAlarm, ...] = ()
    """Alarms that came in quiet hours, one of each source."""
    quiet_until: float | None = None
    """End of the quiet hours, as the service, which has the policy, has seen it last; None: it is not quiet."""

    @property
    def live(self) -> bool:
        """A run holds the lease."""
        return self.phase in LIVE

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        document = asdict(self)
        document["version"] = 1
        document["sources"] = {
            name: {
                "watermark": source.watermark,
                "alarms": {str(k): v for k, v in source.alarms.items()},
            }
            for name, source in self.sources.items()
        }
        return document

    @classmethod
    def parse(cls, text: str | bytes) -> "RetrainState":
        """Read a stored state; DecisionError when it is damaged, or another version of driftloop
        wrote it."""
        try:
            return cls.from_json(parse_json(text, label="the decision state"))
        except DocumentError as error:
            raise DecisionError(error.message) from error

    @classmethod
    def from_json(cls, document: Any) -> "RetrainState":
        """Read a state from plain data; DecisionError when another version of driftloop wrote it."""
        if not isinstance(document, Mapping):
            raise DecisionError(f"the decision state is {show_value(document)}, must be an object")
        if document.get("version") != 1:
            raise DecisionError(
                f"the decision state has version {document.get('version')!r}, must be 1",
                hint="another version of driftloop wrote it; use the version that rendered this tree",
            )
        try:
            return cls(**_read_fields({k: v for k, v in document.items() if k != "version"}))
        except (KeyError, TypeError, ValueError) as error:
            raise DecisionError(f"the decision state can't be read: {error}") from error


def _read_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Read the fields of a state; those that an older version did not write are left out."""
    read: dict[str, Callable[[Any], Any]] = {
        "fired": tuple,
        "ended": tuple,
        # a run that was lost had an outcome of its own
        "outcome": lambda outcome: "failed" if outcome == "lost" else outcome,
        "untold": lambda runs: tuple(UntoldRun(**run) for run in runs),
        "waits_untold": lambda waits: tuple(UntoldWait(**wait) for wait in waits),
        "remembered": _read_cause,
        "alarm": _read_cause,
        "waits": lambda wait: (
            None if wait is None else DataWait(**{**wait, "cause": RetrainCause(**wait["cause"])})
        ),
        "postponed": lambda alarms: tuple(
            PostponedAlarm(**{**alarm, "cause": RetrainCause(**alarm["cause"])}) for alarm in alarms
        ),
        "hold": lambda hold: None if hold is None else ReleaseHold(**hold),
        "rollback": lambda order: (
            None
            if order is None
            else RollbackOrder(**{**order, "cause": RetrainCause(**order["cause"])})
        ),
        "went_back": lambda end: None if end is None else RollbackEnd(**end),
        "sources": lambda sources: {
            name: CauseSource(source["watermark"], {int(k): v for k, v in source["alarms"].items()})
            for name, source in sources.items()
        },
    }
    return {name: read.get(name, lambda v: v)(value) for name, value in document.items()}


def _read_cause(document: Any) -> RetrainCause | None:
    return None if document is None else RetrainCause(**document)


@dataclass(frozen=True)
class AlarmEvent:
    """A verdict of a detector that retraining listens to; `alarm` False changes nothing."""

    detector: str
    release: str
    window: int
    alarm: bool
    event: str
    """Its id, and in words what moved, as causes name it."""
    production: str | None = None
    """Release that git calls production; None when it is not known."""
    lasting: int | None = None
    """Windows up to this one that alarm together: it counts by itself, and as one."""

    @property
    def source(self) -> str:
        """Key of its detector and release."""
        return build_source(self.detector, self.release)


@dataclass(frozen=True)
class HeadEvent:
    """Git was read: the newest commit that changed production or candidate. The same commit
    again begins no second pause."""

    commit: str
    production: str | None
    taken_back: bool
    """A person took production or the candidate back by it."""
    subject: str = ""
    by: str = ""
    at: float = 0.0
    """Time of the commit (seconds since 1970)."""
    decision: str = ""
    """Order that the loop carried out by it; empty for every other commit."""


@dataclass(frozen=True)
class NewDataEvent:
    """There are batches that no run has read."""


@dataclass(frozen=True)
class RecheckEvent:
    """The last windows of postponed alarms' sources were looked at after the quiet hours."""

    still: tuple[str, ...] = ()
    """Sources that alarm still: their windows would count again."""
    over: tuple[str, ...] = ()
    """Sources that don't."""
    production: str | None = None
    """Release that git calls production; None when it is not known."""


@dataclass(frozen=True)
class TickEvent:
    """Time has passed."""


@dataclass(frozen=True)
class ClaimEvent:
    """A run wants to be the one; ask `claimed(state, run)` afterwards."""

    run: str
    decision: str
    cause: str
    production: str | None = None
    """Release that git calls production; None when it is not known."""


@dataclass(frozen=True)
class MoveEvent:
    """The live run goes on to another phase, watched through `workflow`."""

    run: str
    phase: LivePhase
    workflow: str | None = None


@dataclass(frozen=True)
class EndEvent:
    """A run is over. A repeat, or the end of a run that does not hold the lease, changes
    nothing."""

    run: str
    outcome: Outcome
    reason: str = ""
    obstacle: Obstacle | None = None
    """`nothing-new`, `too-few-rows`: no fault of a candidate, its alarms wait for new data."""


@dataclass(frozen=True)
class LostEvent:
    """The Workflow that should show the run (or carry out the decision) is gone or ended without
    saying so."""

    workflow: str
    reason: str = ""


@dataclass(frozen=True)
class ClaimRollbackEvent:
    """A Workflow wants to carry out an order; ask `find_claimed(state, run)` afterwards."""

    run: str
    decision: str


@dataclass(frozen=True)
class RollbackEndEvent:
    """An order is over; `stale` when its release is production no longer, so that there is nothing to
    leave. A repeat changes nothing."""

    decision: str
    outcome: RollbackOutcome | Literal["stale"]
    reason: str = ""
    to: str | None = None


@dataclass(frozen=True)
class ToldEvent:
    """The end of a lost run was told to everybody who listens."""

    run: str


@dataclass(frozen=True)
class WaitToldEvent:
    """The begin of a wait was told to everybody who listens."""

    key: str


@dataclass(frozen=True)
class HaltEvent:
    """A person stops the loop; a run that lives may end."""

    reason: str


@dataclass(frozen=True)
class ResumeEvent:
    """A person lets the loop go on: a halt and the pause after a commit end, and refusals are
    counted from here."""


Event = (
    AlarmEvent
    | HeadEvent
    | NewDataEvent
    | RecheckEvent
    | TickEvent
    | ClaimEvent
    | MoveEvent
    | EndEvent
    | LostEvent
    | ClaimRollbackEvent
    | RollbackEndEvent
    | ToldEvent
    | WaitToldEvent
    | HaltEvent
    | ResumeEvent
)
