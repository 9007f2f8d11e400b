"""The decision to retrain, taken once: a pure state machine whose state lives in one compare-and-set entry.

`step(state, event, now, policy)` answers the next state and what to do now. It makes no difference how often or in
which order events come:

* An alarm is known by detector, release and window number. Alarms count when `consecutive` windows *by number*
  alarmed, so a repeat adds nothing and a late one fills its place. Windows up to a watermark have been used (or
  dropped) and never count again.
* What is to be done follows from the state alone: while a decision is pending, every step answers `Fire` again when it
  is due, so an effect that a crash swallowed is repeated, and one that happened twice meets a Workflow that exists.
* The same holds for a run that was lost: every step answers `Tell` when it is due, until `Told`.
* A run is claimed once; a run or decision that has ended is remembered and can't come back.

idle -> pending (alarms) -> running (claimed) -> evaluating -> rolling-out -> cooling -> idle; halted stops it by hand.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, assert_never, get_args

from driftloop.contract.handovers import RetrainPolicy
from driftloop.errors import PipelineError

Phase = Literal["idle", "pending", "running", "evaluating", "rolling-out", "cooling", "halted"]
LivePhase = Literal["running", "evaluating", "rolling-out"]
Outcome = Literal["released", "refused", "failed", "rejected", "lost"]
LIVE: tuple[LivePhase, ...] = get_args(LivePhase)

DAY = 86_400.0
KEPT_ENDED = 64
KEPT_SOURCES = 32
KEPT_ALARMS = 256


class DecisionError(PipelineError):
    """A stored decision state can't be read."""


@dataclass(frozen=True)
class Cause:
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
class Source:
    """Alarms and watermark of one detector of one release."""

    watermark: int = 0
    """Windows up to here have been used or dropped."""
    alarms: Mapping[int, str] = field(default_factory=dict)
    """Window number to event id, above the watermark."""


@dataclass(frozen=True)
class Untold:
    """A run that was lost, until it is known that others were told: it could not say so itself."""

    run: str
    decision: str
    reason: str
    tries: int = 0
    next: float = 0.0


@dataclass(frozen=True)
class State:
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
    remembered: Cause | None = None
    fired: tuple[float, ...] = ()
    """Times of decisions caused by alarms, the last 24 hours."""
    ended: tuple[str, ...] = ()
    """Runs and decisions that are over."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """`detector/release` to what is known of it, the most recently heard last."""
    suppressed: int = 0
    """Counted causes that led to nothing: dropped, or over budget."""
    untold: tuple[Untold, ...] = ()

    @property
    def live(self) -> bool:
        """A run holds the lease."""
        return self.phase in LIVE

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        document = asdict(self)
        document["version"] = 1
        document["sources"] = {
            name: {"watermark": source.watermark, "alarms": {str(k): v for k, v in source.alarms.items()}}
            for name, source in self.sources.items()
        }
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "State":
        """DecisionError when another version of driftloop wrote it."""
        if document.get("version") != 1:
            raise DecisionError(
                f"the decision state has version {document.get('version')!r}, must be 1",
                hint="another version of driftloop wrote it: run the one that rendered this tree",
            )
        try:
            rest = {name: value for name, value in document.items() if name != "version"}
            return cls(
                **{
                    **rest,
                    "remembered": Cause(**rest["remembered"]) if rest["remembered"] else None,
                    "fired": tuple(rest["fired"]),
                    "ended": tuple(rest["ended"]),
                    "untold": tuple(Untold(**one) for one in rest.get("untold", ())),
                    "sources": {
                        name: Source(value["watermark"], {int(k): v for k, v in value["alarms"].items()})
                        for name, value in rest["sources"].items()
                    },
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DecisionError(f"the decision state can't be read: {error}") from error


@dataclass(frozen=True)
class Alarm:
    """A verdict of a detector that retraining listens to; `alarm` False changes nothing."""

    detector: str
    release: str
    window: int
    alarm: bool
    event: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True)
class Claim:
    """A run wants to be the one; ask `claimed(state, run)` afterwards."""

    run: str
    decision: str
    cause: str


@dataclass(frozen=True)
class Move:
    """The live run goes on to another phase, watched through `workflow`."""

    run: str
    phase: LivePhase
    workflow: str | None = None


@dataclass(frozen=True)
class End:
    """A run is over. A repeat, or the end of a run that does not hold the lease, changes nothing."""

    run: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class Lost:
    """The Workflow that should show the run (or carry out the decision) is gone or ended without saying so."""

    workflow: str
    reason: str = ""


@dataclass(frozen=True)
class Told:
    """The end of a lost run was told to everybody who listens."""

    run: str


@dataclass(frozen=True)
class Halt:
    """A person stops the loop; a run that lives may end."""

    reason: str


@dataclass(frozen=True)
class Resume:
    """A person lets the loop go on."""


Event = Alarm | Tick | Claim | Move | End | Lost | Told | Halt | Resume


@dataclass(frozen=True)
class Fire:
    """Ask for a run: POST the webhook."""

    decision: str
    cause: str
    attempt: int


@dataclass(frozen=True)
class Tell:
    """Tell everybody that a run was lost, and answer with Told."""

    run: str
    decision: str
    reason: str


Effect = Fire | Tell


def step(state: State, event: Event, now: float, policy: RetrainPolicy) -> tuple[State, tuple[Effect, ...]]:
    """The state after `event`, and what to do. An unchanged state is the same object, so there is nothing to store."""
    match event:
        case Alarm():
            state = _alarm(state, event, now, policy)
        case Claim():
            state = _claim(state, event, now)
        case Move():
            state = _move(state, event, now)
        case End():
            state = _end(state, event, now) if state.live and state.run == event.run else state
        case Lost():
            state = _lost(state, event, now)
        case Told():
            state = _told(state, event)
        case Halt():
            state = _halt(state, event, now)
        case Resume():
            state = _resume(state, now)
        case Tick():
            pass
        case _:
            assert_never(event)
    return _settle(state, now, policy)


def claimed(state: State, run: str) -> bool:
    """Return True if this run holds the lease."""
    return state.live and state.run == run


def watched(state: State, name: str) -> str | None:
    """The Workflow to look at: the live run's, or the one that a pending decision should start."""
    if state.live:
        return state.workflow
    if state.phase == "pending" and state.decision is not None:
        return f"{name}-{state.decision}"
    return None


def _alarm(state: State, event: Alarm, now: float, policy: RetrainPolicy) -> State:
    key = f"{event.detector}/{event.release}"
    source = state.sources.get(key, Source())
    if not event.alarm or event.window <= source.watermark or event.window in source.alarms:
        return state
    busy = state.phase != "idle"
    if busy and policy.while_running == "drop":
        return _with_source(_suppress(state, source, event.window), key, _consume(source, event.window))
    source = Source(source.watermark, {**source.alarms, event.window: event.event})
    cause = _row(event, source, policy.consecutive)
    if cause is None:
        return _with_source(state, key, source)
    source = _consume(source, cause.last)
    if busy:
        if state.remembered is not None:
            state = replace(state, suppressed=state.suppressed + 1)
        return _with_source(replace(state, remembered=state.remembered or cause), key, source)
    return _decide(_with_source(state, key, source), cause, now, policy)


def _row(event: Alarm, source: Source, length: int) -> Cause | None:
    """The first `length` consecutive alarms that the new one completes."""
    first = event.window
    while first - 1 in source.alarms:
        first -= 1
    last = first + length - 1
    if not all(window in source.alarms for window in range(first, last + 1)):
        return None
    return Cause(event.detector, event.release, first, last, source.alarms[last])


def _consume(source: Source, last: int) -> Source:
    watermark = max(source.watermark, last)
    return Source(watermark, {window: id for window, id in source.alarms.items() if window > watermark})


def _suppress(state: State, source: Source, window: int) -> State:
    return replace(state, suppressed=state.suppressed + 1) if window > source.watermark else state


def _with_source(state: State, key: str, source: Source) -> State:
    if len(source.alarms) > KEPT_ALARMS:
        newest = sorted(source.alarms)[-KEPT_ALARMS:]
        source = Source(source.watermark, {window: source.alarms[window] for window in newest})
    sources = {name: value for name, value in state.sources.items() if name != key}
    sources[key] = source
    for name in list(sources)[: max(0, len(sources) - KEPT_SOURCES)]:
        del sources[name]
    return replace(state, sources=sources)


def _within_budget(state: State, now: float, policy: RetrainPolicy) -> bool:
    return policy.budget is None or sum(1 for time in state.fired if time > now - DAY) < policy.budget


def _decide(state: State, cause: Cause, now: float, policy: RetrainPolicy) -> State:
    """From idle: a decision, unless the budget is spent."""
    if not _within_budget(state, now, policy):
        if policy.while_running == "remember":
            return replace(state, remembered=cause)
        return replace(state, suppressed=state.suppressed + 1)
    if policy.while_running == "drop":
        # what is known beside the cause is dropped with it, as it would be had it come a moment later
        state = replace(
            state,
            sources={key: _consume(source, max(source.alarms, default=0)) for key, source in state.sources.items()},
        )
    return replace(
        state,
        phase="pending",
        since=now,
        decision=cause.decision(state.pipeline),
        cause=cause.text,
        run=None,
        workflow=None,
        fires=0,
        next_fire=now,
        remembered=None,
        fired=(*(time for time in state.fired if time > now - DAY), now),
    )


def _claim(state: State, event: Claim, now: float) -> State:
    if state.live or state.phase == "halted" or event.run in state.ended or event.decision in state.ended:
        return state
    if state.phase == "pending" and state.decision != event.decision:
        # somebody else's run came first
        state = _withdraw(state)
    return replace(
        state,
        phase="running",
        since=now,
        decision=event.decision,
        cause=event.cause,
        run=event.run,
        workflow=event.run,
        fires=0,
        next_fire=0.0,
        outcome=None,
        reason="",
    )


def _withdraw(state: State) -> State:
    """A pending decision that will not be carried out: remembered, for `_settle` to judge by the policy."""
    if state.decision is None:
        return state
    event = (state.cause or "").removeprefix("alarm ")
    cause = Cause("withdrawn", state.decision, 0, 0, event)
    return replace(state, ended=_ended(state, state.decision), remembered=state.remembered or cause)


def _move(state: State, event: Move, now: float) -> State:
    if not claimed(state, event.run):
        return state
    workflow = event.workflow or state.workflow
    if (event.phase, workflow) == (state.phase, state.workflow):
        return state
    return replace(state, phase=event.phase, since=now, workflow=workflow)


def _end(state: State, event: End, now: float) -> State:
    over = tuple(name for name in (state.run, state.decision) if name is not None)
    return replace(
        state,
        phase="halted" if state.halt is not None else "cooling",
        since=now,
        decision=None,
        cause=None,
        run=None,
        workflow=None,
        ended_at=now,
        outcome=event.outcome,
        reason=event.reason,
        ended=_ended(state, *over),
    )


def _lost(state: State, event: Lost, now: float) -> State:
    reason = event.reason or f"workflow {event.workflow} ended without saying how"
    if state.live and state.workflow == event.workflow and state.run is not None:
        run = state.run
        after = _end(state, End(run, "lost", reason), now)
    elif state.phase == "pending" and state.decision is not None and event.workflow.endswith(f"-{state.decision}"):
        run = event.workflow
        after = _end(state, End("", "lost", reason), now)
    else:
        return state
    untold = Untold(run, state.decision or "", reason, next=now)
    return replace(after, untold=(*after.untold, untold)[-KEPT_ENDED:])


def _told(state: State, event: Told) -> State:
    rest = tuple(one for one in state.untold if one.run != event.run)
    return state if rest == state.untold else replace(state, untold=rest)


def _halt(state: State, event: Halt, now: float) -> State:
    if state.halt is not None:
        return state
    if state.live:
        return replace(state, halt=event.reason)
    if state.phase == "pending":
        state = _withdraw(state)
    return replace(state, phase="halted", since=now, halt=event.reason, decision=None, cause=None, fires=0)


def _resume(state: State, now: float) -> State:
    if state.halt is None:
        return state
    phase: Phase = state.phase if state.live else ("idle" if state.ended_at is None else "cooling")
    return replace(state, halt=None, phase=phase, since=state.since if state.live else now)


def _settle(state: State, now: float, policy: RetrainPolicy) -> tuple[State, tuple[Effect, ...]]:
    """Apply what follows from the state and the clock alone."""
    if state.phase != "idle" and state.remembered is not None and policy.while_running == "drop":
        state = replace(state, remembered=None, suppressed=state.suppressed + 1)
    if state.phase == "cooling" and (state.ended_at is None or now >= state.ended_at + policy.cooldown):
        state = replace(state, phase="idle", since=now)
    if state.phase == "idle" and state.remembered is not None and _within_budget(state, now, policy):
        state = _decide(state, state.remembered, now, policy)
    effects: tuple[Effect, ...] = ()
    if state.phase == "pending" and now >= state.next_fire and (decision := state.decision):
        wait = _patience(policy, state.fires)
        state = replace(state, fires=min(state.fires + 1, 30), next_fire=now + wait)
        effects = (Fire(decision, state.cause or "", state.fires),)
    if due := [one for one in state.untold if now >= one.next]:
        again = {
            one.run: replace(one, tries=min(one.tries + 1, 30), next=now + _patience(policy, one.tries)) for one in due
        }
        state = replace(state, untold=tuple(again.get(one.run, one) for one in state.untold))
        effects = (*effects, *(Tell(one.run, one.decision, one.reason) for one in due))
    return state, effects


def _patience(policy: RetrainPolicy, tries: int) -> float:
    """Seconds until an effect that nobody confirmed is repeated."""
    return min(policy.refire * 2.0**tries, policy.refire_limit)


def _ended(state: State, *names: str) -> tuple[str, ...]:
    return (*(name for name in state.ended if name not in names), *names)[-KEPT_ENDED:]
