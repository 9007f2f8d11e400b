"""State of the decision to retrain, the events that change it and the effects that it asks for."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from driftloop.contract.outcomes import OutcomeKind
from driftloop.errors import PipelineError

Phase = Literal["idle", "pending", "running", "evaluating", "rolling-out", "cooling", "halted"]


LivePhase = Literal["running", "evaluating", "rolling-out"]


Outcome = OutcomeKind


LIVE: tuple[LivePhase, ...] = get_args(LivePhase)


class DecisionError(PipelineError):
    """A stored decision state can't be read."""


@dataclass(frozen=True)
class RetrainCause:
    """Why a decision was taken: the last of the alarms in a row."""

    detector: str
    release: str
    first: int
    last: int
    event: str

    def decision(self, pipeline: str) -> str:
        """Twelve hex digits, the same for the same cause."""
        text = f"{pipeline}|{self.detector}|{self.release}|{self.first}..{self.last}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def text(self) -> str:
        """As commits and webhooks carry it."""
        return f"alarm {self.event}"


@dataclass(frozen=True)
class CauseSource:
    """Alarms and watermark of one detector of one release."""

    watermark: int = 0
    """Windows up to here have been used or dropped."""
    alarms: Mapping[int, str] = field(default_factory=dict)
    """Window number to event id, above the watermark."""


@dataclass(frozen=True)
class UntoldRun:
    """A run that was lost, until it is known that others were told: it could not say so itself."""

    run: str
    decision: str
    reason: str
    tries: int = 0
    next: float = 0.0


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
    def from_json(cls, document: Mapping[str, Any]) -> "RetrainState":
        """DecisionError when another version of driftloop wrote it."""
        if document.get("version") != 1:
            raise DecisionError(
                f"the decision state has version {document.get('version')!r}, must be 1",
                hint="another version of driftloop wrote it; use the version that rendered this tree",
            )
        try:
            rest = {name: value for name, value in document.items() if name != "version"}
            return cls(
                **{
                    **rest,
                    "remembered": RetrainCause(**rest["remembered"])
                    if rest["remembered"]
                    else None,
                    "fired": tuple(rest["fired"]),
                    "ended": tuple(rest["ended"]),
                    "untold": tuple(UntoldRun(**one) for one in rest.get("untold", ())),
                    "sources": {
                        name: CauseSource(
                            value["watermark"], {int(k): v for k, v in value["alarms"].items()}
                        )
                        for name, value in rest["sources"].items()
                    },
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DecisionError(f"the decision state can't be read: {error}") from error


@dataclass(frozen=True)
class AlarmEvent:
    """A verdict of a detector that retraining listens to; `alarm` False changes nothing."""

    detector: str
    release: str
    window: int
    alarm: bool
    event: str


@dataclass(frozen=True)
class TickEvent:
    """Time has passed."""


@dataclass(frozen=True)
class ClaimEvent:
    """A run wants to be the one; ask `claimed(state, run)` afterwards."""

    run: str
    decision: str
    cause: str


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


@dataclass(frozen=True)
class LostEvent:
    """The Workflow that should show the run (or carry out the decision) is gone or ended without
    saying so."""

    workflow: str
    reason: str = ""


@dataclass(frozen=True)
class ToldEvent:
    """The end of a lost run was told to everybody who listens."""

    run: str


@dataclass(frozen=True)
class HaltEvent:
    """A person stops the loop; a run that lives may end."""

    reason: str


@dataclass(frozen=True)
class ResumeEvent:
    """A person lets the loop go on."""


Event = (
    AlarmEvent
    | TickEvent
    | ClaimEvent
    | MoveEvent
    | EndEvent
    | LostEvent
    | ToldEvent
    | HaltEvent
    | ResumeEvent
)


@dataclass(frozen=True)
class FireWebhook:
    """Ask for a run: POST the webhook."""

    decision: str
    cause: str
    attempt: int


@dataclass(frozen=True)
class TellLoss:
    """Tell everybody that a run was lost, and answer with Told."""

    run: str
    decision: str
    reason: str


Effect = FireWebhook | TellLoss
