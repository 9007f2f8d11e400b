"""The decision to retrain, taken once: a pure state machine whose state lives in one
compare-and-set entry.

`step(state, event, now, policy)` answers the next state and what to do now. It makes no
difference how often or in which order events come:

* An alarm is known by detector, release and window number. Alarms count when `consecutive` windows *by number*
  alarmed, or k of n of a detector that counts so; one of windows together counts by itself. A repeat adds nothing and
  a late one fills its place. Windows up to a watermark have been used (or dropped) and never count again.
* What is to be done follows from the state alone: while a decision is pending, every step answers `Fire` again when it
  is due, so an effect that a crash swallowed is repeated, and one that happened twice meets a Workflow that exists.
* The same holds for what people are told, a run that was lost or the begin of a wait: every step answers it when it is
  due, until it is known to be told.
* A run is claimed once; a run or decision that has ended is remembered and can't come back.
* Alarms about a release that git does not call production count nothing: every event that knows production drops what
  was counted or remembered about another release while git could not be read.
* Alarms of a detector that halts start no run, and halt the loop in whatever phase it is; those of one that rolls back
  do, too, and order that production is left (`rollbacks`).
* Alarms that count in quiet hours are kept, and looked at again when these are over (`postponing`).
* A run that found nothing new, or too few new rows, costs nothing: its alarms are kept, and new data starts a run
  with them as its cause.

idle -> pending (alarms) -> running (claimed) -> evaluating -> rolling-out -> cooling -> idle;
waiting: counted alarms wait for new data; postponed: they wait for the end of the quiet hours;
held: a pause after a person's commit; halted: stopped by hand, or by the breaker after too many candidates that came to nothing.
"""

from dataclasses import replace
from typing import assert_never

from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.outcomes import DATA_OBSTACLES
from driftloop.retrain.causes import (
    KEPT_ENDED,
    drop_stale,
    record_end,
    step_alarm,
    withdraw_decision,
)
from driftloop.retrain.clocks import bound_times
from driftloop.retrain.effects import Effect, FireRollback, FireWebhook, TellLoss, TellWait
from driftloop.retrain.pauses import (
    count_strike,
    halt_by_hand,
    settle_state,
    step_halting,
    step_head,
    wait_for_data,
)
from driftloop.retrain.postponing import is_postponing, step_postponing, step_recheck
from driftloop.retrain.rollbacks import (
    cancel_order,
    drop_stale_order,
    step_claim_rollback,
    step_rollback_end,
    step_rollback_head,
    step_rollback_lost,
    step_rolling_back,
)
from driftloop.retrain.state import (
    AlarmEvent,
    ClaimEvent,
    ClaimRollbackEvent,
    EndEvent,
    Event,
    HaltEvent,
    HeadEvent,
    LostEvent,
    MoveEvent,
    NewDataEvent,
    RecheckEvent,
    ResumeEvent,
    RetrainState,
    RollbackEndEvent,
    TickEvent,
    ToldEvent,
    UntoldRun,
    WaitToldEvent,
    is_automatic,
    is_new_data,
)


def step_decision(
    state: RetrainState, event: Event, now: float, policy: RetrainPolicy
) -> tuple[RetrainState, tuple[Effect, ...]]:
    """The state after `event`, and what to do. An unchanged state is the same object, so there
    is nothing to store."""
    state = bound_times(state, now, policy)
    match event:
        case AlarmEvent():
            state = _step_alarm(state, event, now, policy)
        case HeadEvent():
            state = step_head(step_rollback_head(state, event, now), event, now)
        case NewDataEvent():
            state = _step_new_data(state)
        case ClaimEvent():
            state = _step_claim(drop_stale(state, event.production, now), event, now)
        case MoveEvent():
            state = _step_move(state, event, now)
        case EndEvent():
            state = _step_end(state, event, now) if state.live and state.run == event.run else state
        case LostEvent():
            state = step_rollback_lost(_step_lost(state, event, now), event, now)
        case ClaimRollbackEvent():
            state = step_claim_rollback(state, event, now)
        case RollbackEndEvent():
            state = step_rollback_end(state, event, now)
        case ToldEvent():
            state = _step_told(state, event)
        case WaitToldEvent():
            state = _step_wait_told(state, event)
        case HaltEvent():
            state = halt_by_hand(state, event.reason, now)
        case ResumeEvent():
            state = _step_resume(state, now)
        case RecheckEvent():
            state = step_recheck(drop_stale(state, event.production, now), event, now, policy)
        case TickEvent():
            pass
        case _:
            assert_never(event)
    # the commit of a person may carry a time of the future, too
    state = settle_state(bound_times(state, now, policy), now, policy)
    return _list_effects(state, now, policy)


def _step_alarm(
    state: RetrainState, event: AlarmEvent, now: float, policy: RetrainPolicy
) -> RetrainState:
    state = drop_stale(drop_stale_order(state, event.production, now), event.production, now)
    if policy.rolls_back(event.detector):
        return step_rolling_back(state, event, now, policy)
    if policy.halts(event.detector):
        return step_halting(state, event, now, policy)
    step = step_postponing if is_postponing(state, now, policy) else step_alarm
    return step(state, event, now, policy)


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


def find_watched_rollback(state: RetrainState, name: str) -> str | None:
    """The Workflow to look at that carries out an order, or should; None without an order."""
    order = state.rollback
    if order is None:
        return None
    return order.run or f"{name}-rollback-{order.decision}"


def _step_claim(state: RetrainState, event: ClaimEvent, now: float) -> RetrainState:
    if (
        state.live
        or state.phase == "halted"
        or event.run in state.ended
        or event.decision in state.ended
        or (state.hold is not None and is_automatic(event.cause))
    ):
        return state
    quiet = state.quiet_until is not None and now < state.quiet_until
    if (
        state.waits is not None
        and is_new_data(event.cause)
        and state.phase != "pending"
        and not quiet
    ):
        # the alarms that waited for it start the run, so that it is theirs
        return _step_new_data(state)
    own = state.phase == "pending" and state.decision == event.decision
    if state.phase == "pending" and not own:
        # somebody else's run came first
        state = withdraw_decision(state)
    waits = state.waits
    return replace(
        state,
        # it reads all the batches there are
        waits=None if waits is None else replace(waits, news=False),
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


def _step_new_data(state: RetrainState) -> RetrainState:
    if state.waits is None or state.waits.news or state.live:
        return state
    return replace(state, waits=replace(state.waits, news=True))


def _step_move(state: RetrainState, event: MoveEvent, now: float) -> RetrainState:
    if not is_claimed(state, event.run):
        return state
    workflow = event.workflow or state.workflow
    if (event.phase, workflow) == (state.phase, state.workflow):
        return state
    return replace(state, phase=event.phase, since=now, workflow=workflow)


def _step_end(state: RetrainState, event: EndEvent, now: float) -> RetrainState:
    over = tuple(name for name in (state.run, state.decision) if name is not None)
    after = replace(
        state,
        phase="halted" if state.halt is not None else "cooling",
        since=now,
        decision=None,
        cause=None,
        alarm=None,
        run=None,
        workflow=None,
        ended_at=now,
        outcome=event.outcome,
        outcome_at=now,
        reason=event.reason,
        ended=record_end(state, *over),
    )
    if event.obstacle in DATA_OBSTACLES:
        return wait_for_data(state, after, event)
    return count_strike(state, after, event)


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
    rest = tuple(run for run in state.untold if run.run != event.run)
    return state if rest == state.untold else replace(state, untold=rest)


def _step_wait_told(state: RetrainState, event: WaitToldEvent) -> RetrainState:
    rest = tuple(wait for wait in state.waits_untold if wait.key != event.key)
    return state if rest == state.waits_untold else replace(state, waits_untold=rest)


def _step_resume(state: RetrainState, now: float) -> RetrainState:
    state = cancel_order(state)
    if state.halt is None and state.hold is None and not state.strikes:
        return state
    resting = state.phase in ("halted", "held")
    return replace(
        state,
        halt=None,
        breaker=False,
        strikes=0,
        hold=None,
        phase="cooling" if resting else state.phase,
        since=now if resting else state.since,
    )


def _list_effects(
    state: RetrainState, now: float, policy: RetrainPolicy
) -> tuple[RetrainState, tuple[Effect, ...]]:
    """List the effects that are due now, and the state that knows when they are due again."""
    effects: tuple[Effect, ...] = ()
    if state.phase == "pending" and now >= state.next_fire and (decision := state.decision):
        wait = _compute_patience(policy, state.fires)
        state = replace(state, fires=min(state.fires + 1, 30), next_fire=now + wait)
        effects = (FireWebhook(decision, state.cause or "", state.fires),)
    order = state.rollback
    if order is not None and order.run is None and now >= order.next_fire:
        wait = _compute_patience(policy, order.fires)
        order = replace(order, fires=min(order.fires + 1, 30), next_fire=now + wait)
        state = replace(state, rollback=order)
        effects = (*effects, FireRollback(order.decision, order.cause.text, order.fires))
    if due := [run for run in state.untold if now >= run.next]:
        again = {
            run.run: replace(
                run, tries=min(run.tries + 1, 30), next=now + _compute_patience(policy, run.tries)
            )
            for run in due
        }
        state = replace(state, untold=tuple(again.get(run.run, run) for run in state.untold))
        effects = (*effects, *(TellLoss(run.run, run.decision, run.reason) for run in due))
    if late := [wait for wait in state.waits_untold if now >= wait.next]:
        told = {
            wait.key: replace(
                wait,
                tries=min(wait.tries + 1, 30),
                next=now + _compute_patience(policy, wait.tries),
            )
            for wait in late
        }
        state = replace(
            state, waits_untold=tuple(told.get(wait.key, wait) for wait in state.waits_untold)
        )
        effects = (*effects, *(TellWait(w.key, w.waits_for, w.reason) for w in late))
    return state, effects


def _compute_patience(policy: RetrainPolicy, tries: int) -> float:
    """Seconds until an effect that nobody confirmed is repeated."""
    return min(policy.refire * 2.0**tries, policy.refire_limit)
