"""The decision to retrain, taken once: a pure state machine whose state lives in one
compare-and-set entry.

`step(state, event, now, policy)` answers the next state and what to do now. It makes no
difference how often or in which order events come:

* An alarm is known by detector, release and window number. Alarms count when `consecutive` windows *by number*
  alarmed, so a repeat adds nothing and a late one fills its place. Windows up to a watermark have been used (or
  dropped) and never count again.
* What is to be done follows from the state alone: while a decision is pending, every step answers `Fire` again when it
  is due, so an effect that a crash swallowed is repeated, and one that happened twice meets a Workflow that exists.
* The same holds for a run that was lost: every step answers `Tell` when it is due, until `Told`.
* A run is claimed once; a run or decision that has ended is remembered and can't come back.

idle -> pending (alarms) -> running (claimed) -> evaluating -> rolling-out -> cooling -> idle;
halted stops it by hand.
"""

from dataclasses import replace
from typing import assert_never

from driftloop.contract.handovers import RetrainPolicy
from driftloop.retrain.state import (
    AlarmEvent,
    CauseSource,
    ClaimEvent,
    Effect,
    EndEvent,
    Event,
    FireWebhook,
    HaltEvent,
    LostEvent,
    MoveEvent,
    Phase,
    ResumeEvent,
    RetrainCause,
    RetrainState,
    TellLoss,
    TickEvent,
    ToldEvent,
    UntoldRun,
)

DAY = 86_400.0
KEPT_ENDED = 64
KEPT_SOURCES = 32
KEPT_ALARMS = 256


def step_decision(
    state: RetrainState, event: Event, now: float, policy: RetrainPolicy
) -> tuple[RetrainState, tuple[Effect, ...]]:
    """The state after `event`, and what to do. An unchanged state is the same object, so there
    is nothing to store."""
    match event:
        case AlarmEvent():
            state = _step_alarm(state, event, now, policy)
        case ClaimEvent():
            state = _step_claim(state, event, now)
        case MoveEvent():
            state = _step_move(state, event, now)
        case EndEvent():
            state = _step_end(state, event, now) if state.live and state.run == event.run else state
        case LostEvent():
            state = _step_lost(state, event, now)
        case ToldEvent():
            state = _step_told(state, event)
        case HaltEvent():
            state = _step_halt(state, event, now)
        case ResumeEvent():
            state = _step_resume(state, now)
        case TickEvent():
            pass
        case _:
            assert_never(event)
    return _settle_state(state, now, policy)


def is_claimed(state: RetrainState, run: str) -> bool:
    """Return True if this run holds the lease."""
    return state.live and state.run == run


def find_watched(state: RetrainState, name: str) -> str | None:
    """The Workflow to look at: the live run's, or the one that a pending decision should start."""
    if state.live:
        return state.workflow
    if state.phase == "pending" and state.decision is not None:
        return f"{name}-{state.decision}"
    return None


def _step_alarm(
    state: RetrainState, event: AlarmEvent, now: float, policy: RetrainPolicy
) -> RetrainState:
    key = f"{event.detector}/{event.release}"
    source = state.sources.get(key, CauseSource())
    if not event.alarm or event.window <= source.watermark or event.window in source.alarms:
        return state
    busy = state.phase != "idle"
    if busy and policy.while_running == "drop":
        return _with_source(
            _suppress_cause(state, source, event.window), key, _consume_alarms(source, event.window)
        )
    source = CauseSource(source.watermark, {**source.alarms, event.window: event.event})
    cause = _count_row(event, source, policy.consecutive)
    if cause is None:
        return _with_source(state, key, source)
    source = _consume_alarms(source, cause.last)
    if busy:
        if state.remembered is not None:
            state = replace(state, suppressed=state.suppressed + 1)
        return _with_source(replace(state, remembered=state.remembered or cause), key, source)
    return _decide_run(_with_source(state, key, source), cause, now, policy)


def _count_row(event: AlarmEvent, source: CauseSource, length: int) -> RetrainCause | None:
    """The first `length` consecutive alarms that the new one completes."""
    first = event.window
    while first - 1 in source.alarms:
        first -= 1
    last = first + length - 1
    if not all(window in source.alarms for window in range(first, last + 1)):
        return None
    return RetrainCause(event.detector, event.release, first, last, source.alarms[last])


def _consume_alarms(source: CauseSource, last: int) -> CauseSource:
    watermark = max(source.watermark, last)
    return CauseSource(
        watermark, {window: id for window, id in source.alarms.items() if window > watermark}
    )


def _suppress_cause(state: RetrainState, source: CauseSource, window: int) -> RetrainState:
    return replace(state, suppressed=state.suppressed + 1) if window > source.watermark else state


def _with_source(state: RetrainState, key: str, source: CauseSource) -> RetrainState:
    if len(source.alarms) > KEPT_ALARMS:
        newest = sorted(source.alarms)[-KEPT_ALARMS:]
        source = CauseSource(source.watermark, {window: source.alarms[window] for window in newest})
    sources = {name: value for name, value in state.sources.items() if name != key}
    sources[key] = source
    for name in list(sources)[: max(0, len(sources) - KEPT_SOURCES)]:
        del sources[name]
    return replace(state, sources=sources)


def _within_budget(state: RetrainState, now: float, policy: RetrainPolicy) -> bool:
    return (
        policy.budget is None or sum(1 for time in state.fired if time > now - DAY) < policy.budget
    )


def _decide_run(
    state: RetrainState, cause: RetrainCause, now: float, policy: RetrainPolicy
) -> RetrainState:
    """From idle: a decision, unless the budget is spent."""
    if not _within_budget(state, now, policy):
        if policy.while_running == "remember":
            return replace(state, remembered=cause)
        return replace(state, suppressed=state.suppressed + 1)
    if policy.while_running == "drop":
        # what is known beside the cause is dropped with it, as it would be had it come a moment later
        state = replace(
            state,
            sources={
                key: _consume_alarms(source, max(source.alarms, default=0))
                for key, source in state.sources.items()
            },
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


def _step_claim(state: RetrainState, event: ClaimEvent, now: float) -> RetrainState:
    if (
        state.live
        or state.phase == "halted"
        or event.run in state.ended
        or event.decision in state.ended
    ):
        return state
    if state.phase == "pending" and state.decision != event.decision:
        # somebody else's run came first
        state = _withdraw_decision(state)
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


def _withdraw_decision(state: RetrainState) -> RetrainState:
    """A pending decision that will not be carried out: remembered, for `_settle` to judge by the
    policy."""
    if state.decision is None:
        return state
    event = (state.cause or "").removeprefix("alarm ")
    cause = RetrainCause("withdrawn", state.decision, 0, 0, event)
    return replace(
        state, ended=_record_end(state, state.decision), remembered=state.remembered or cause
    )


def _step_move(state: RetrainState, event: MoveEvent, now: float) -> RetrainState:
    if not is_claimed(state, event.run):
        return state
    workflow = event.workflow or state.workflow
    if (event.phase, workflow) == (state.phase, state.workflow):
        return state
    return replace(state, phase=event.phase, since=now, workflow=workflow)


def _step_end(state: RetrainState, event: EndEvent, now: float) -> RetrainState:
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
        ended=_record_end(state, *over),
    )


def _step_lost(state: RetrainState, event: LostEvent, now: float) -> RetrainState:
    reason = event.reason or f"workflow {event.workflow} ended without reporting its outcome"
    if state.live and state.workflow == event.workflow and state.run is not None:
        run = state.run
        after = _step_end(state, EndEvent(run, "failed", reason), now)
    elif (
        state.phase == "pending"
        and state.decision is not None
        and event.workflow.endswith(f"-{state.decision}")
    ):
        run = event.workflow
        after = _step_end(state, EndEvent("", "failed", reason), now)
    else:
        return state
    untold = UntoldRun(run, state.decision or "", reason, next=now)
    return replace(after, untold=(*after.untold, untold)[-KEPT_ENDED:])


def _step_told(state: RetrainState, event: ToldEvent) -> RetrainState:
    rest = tuple(one for one in state.untold if one.run != event.run)
    return state if rest == state.untold else replace(state, untold=rest)


def _step_halt(state: RetrainState, event: HaltEvent, now: float) -> RetrainState:
    if state.halt is not None:
        return state
    if state.live:
        return replace(state, halt=event.reason)
    if state.phase == "pending":
        state = _withdraw_decision(state)
    return replace(
        state, phase="halted", since=now, halt=event.reason, decision=None, cause=None, fires=0
    )


def _step_resume(state: RetrainState, now: float) -> RetrainState:
    if state.halt is None:
        return state
    phase: Phase = state.phase if state.live else ("idle" if state.ended_at is None else "cooling")
    return replace(state, halt=None, phase=phase, since=state.since if state.live else now)


def _settle_state(
    state: RetrainState, now: float, policy: RetrainPolicy
) -> tuple[RetrainState, tuple[Effect, ...]]:
    """Apply what follows from the state and the clock alone."""
    if state.phase != "idle" and state.remembered is not None and policy.while_running == "drop":
        state = replace(state, remembered=None, suppressed=state.suppressed + 1)
    if state.phase == "cooling" and (
        state.ended_at is None or now >= state.ended_at + policy.cooldown
    ):
        state = replace(state, phase="idle", since=now)
    if (
        state.phase == "idle"
        and state.remembered is not None
        and _within_budget(state, now, policy)
    ):
        state = _decide_run(state, state.remembered, now, policy)
    effects: tuple[Effect, ...] = ()
    if state.phase == "pending" and now >= state.next_fire and (decision := state.decision):
        wait = _compute_patience(policy, state.fires)
        state = replace(state, fires=min(state.fires + 1, 30), next_fire=now + wait)
        effects = (FireWebhook(decision, state.cause or "", state.fires),)
    if due := [one for one in state.untold if now >= one.next]:
        again = {
            one.run: replace(
                one, tries=min(one.tries + 1, 30), next=now + _compute_patience(policy, one.tries)
            )
            for one in due
        }
        state = replace(state, untold=tuple(again.get(one.run, one) for one in state.untold))
        effects = (*effects, *(TellLoss(one.run, one.decision, one.reason) for one in due))
    return state, effects


def _compute_patience(policy: RetrainPolicy, tries: int) -> float:
    """Seconds until an effect that nobody confirmed is repeated."""
    return min(policy.refire * 2.0**tries, policy.refire_limit)


def _record_end(state: RetrainState, *names: str) -> tuple[str, ...]:
    return (*(name for name in state.ended if name not in names), *names)[-KEPT_ENDED:]
