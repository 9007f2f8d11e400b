"""Going back from a release because of alarms about it: ordered once, carried out by a Workflow, and told.

An order halts the loop at once, so that nothing else begins, and the loop stays halted until a person
resumes it, however the order ends; only one whose release is production no longer lifts the halt. It is a
field of the state beside its phase: a run that goes on may end meanwhile.

Who claims an order takes release and cause from it. A Workflow that was made by anybody else finds none.
"""

from dataclasses import replace
from typing import Literal

from driftloop.contract.handovers import RetrainPolicy
from driftloop.retrain.causes import count_alarm, explain_stale, record_end
from driftloop.retrain.pauses import halt_loop
from driftloop.retrain.state import (
    AlarmEvent,
    ClaimRollbackEvent,
    HeadEvent,
    LostEvent,
    RetrainCause,
    RetrainState,
    RollbackEnd,
    RollbackEndEvent,
    RollbackOrder,
    RollbackOutcome,
)
from driftloop.retrain.telling import tell_wait


def step_rolling_back(
    state: RetrainState, event: AlarmEvent, now: float, policy: RetrainPolicy
) -> RetrainState:
    """Count an alarm of a detector whose alarms leave production, whatever the loop does now; those of a
    halted loop are used up."""
    state, cause = count_alarm(state, event, policy, drops=state.halt is not None)
    if cause is None:
        return state
    order = RollbackOrder(cause.decision(state.pipeline), cause, now, next_fire=now)
    if (hold := state.hold) is not None:
        # production is a person's fresh choice
        reason = f"a person took a release back by `{hold.subject}` ({hold.commit[:12]})"
        return _end_order(state, order, RollbackEnd("refused", cause.release, None, reason, now))
    why = f"goes back from {cause.release} because of {explain_cause(cause)}"
    state = tell_wait(state, f"rollback {order.decision} ordered", "person", why)
    return replace(halt_loop(state, why, now), breaker=True, rollback=order)


def explain_cause(cause: RetrainCause) -> str:
    """Say what alarmed, and of which monitor."""
    together = "" if cause.lasting is None else f", {cause.lasting} windows together"
    return f"{cause.text} (monitor {cause.detector}{together})"


def find_claimed(state: RetrainState, run: str) -> RollbackOrder | None:
    """Return the order that this Workflow carries out; None when it has none."""
    order = state.rollback
    return order if order is not None and order.run == run else None


def step_claim_rollback(state: RetrainState, event: ClaimRollbackEvent, now: float) -> RetrainState:
    """Give an order to the first Workflow that asks for it."""
    order = state.rollback
    if order is None or order.decision != event.decision or order.run is not None:
        return state
    return replace(state, rollback=replace(order, run=event.run, since=now))


def step_rollback_end(state: RetrainState, event: RollbackEndEvent, now: float) -> RetrainState:
    """End an order as the step that carried it out says."""
    order = state.rollback
    if order is None or order.decision != event.decision:
        return state
    if event.outcome == "stale":
        return _drop_order(state, order, event.reason, now)
    left = order.cause.release
    return _end_order(state, order, RollbackEnd(event.outcome, left, event.to, event.reason, now))


def step_rollback_head(state: RetrainState, event: HeadEvent, now: float) -> RetrainState:
    """End an order as git says: its commit is there, or another one has left the release before."""
    order = state.rollback
    if order is None:
        return state
    if event.decision == order.decision:
        left = order.cause.release
        return _end_order(state, order, RollbackEnd("rolled-back", left, event.production, "", now))
    return drop_stale_order(state, event.production, now)


def drop_stale_order(state: RetrainState, production: str | None, now: float) -> RetrainState:
    """Drop an order that none carries out yet about another release than production, if that is known."""
    order = state.rollback
    if order is None or order.run is not None or production is None:
        return state
    if not order.cause.is_stale(production):
        return state
    return _drop_order(state, order, explain_stale(order.cause.release, production), now)


def step_rollback_lost(state: RetrainState, event: LostEvent, now: float) -> RetrainState:
    """End an order whose Workflow is gone, or ended without saying so."""
    order = state.rollback
    if order is None or not event.workflow.endswith(f"-rollback-{order.decision}"):
        return state
    reason = event.reason or f"workflow {event.workflow} ended without reporting its outcome"
    return _end_order(state, order, RollbackEnd("failed", order.cause.release, None, reason, now))


def cancel_order(state: RetrainState) -> RetrainState:
    """Take an order back that none carries out yet: a person lets the loop go on without it."""
    order = state.rollback
    if order is None or order.run is not None:
        return state
    return replace(state, rollback=None, ended=record_end(state, order.decision))


def _end_order(state: RetrainState, order: RollbackOrder, end: RollbackEnd) -> RetrainState:
    cause = explain_cause(order.cause)
    if end.outcome == "rolled-back":
        why = f"rolled back from {end.release} to {end.to} because of {cause}"
    else:
        why = f"did not go back from {end.release}: {end.reason}; it was to because of {cause}"
    state = tell_wait(state, f"rollback {order.decision} {end.outcome}", "person", why)
    # the halt of the order, or a person's beside it, makes way for what became of it
    state = halt_loop(replace(state, halt=None), why, end.at)
    return replace(
        state,
        breaker=True,
        rollback=None,
        went_back=end,
        ended=record_end(state, order.decision),
    )


def _drop_order(state: RetrainState, order: RollbackOrder, why: str, now: float) -> RetrainState:
    """End an order that has nothing to leave; the halt goes with it, unless a person has made it theirs."""
    state = replace(
        state,
        rollback=None,
        ended=record_end(state, order.decision),
        stale=state.stale + 1,
        dropped=why,
    )
    if not state.breaker:
        return state
    phase = "cooling" if state.phase == "halted" else state.phase
    since = now if state.phase == "halted" else state.since
    return replace(state, halt=None, breaker=False, phase=phase, since=since)


ORDERED: Literal["ordered"] = "ordered"
"""What a rollback is while its order is open."""


def describe_rollback(state: RetrainState) -> RollbackOutcome | Literal["ordered"] | None:
    """Return what became of the rollback for which the loop is halted; None when it is not for one."""
    if state.rollback is not None:
        return ORDERED
    end = state.went_back
    return end.outcome if end is not None and state.breaker and state.halt is not None else None
