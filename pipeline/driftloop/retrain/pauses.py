"""Pauses of the loop: it waits for data, holds its hand after a person's commit, or halts itself. Those for
quiet hours are in `postponing`.

A pause is a field of the state beside its phase. `settle_state` applies what follows from both
and the clock, so it makes no difference in which order pauses begin and end.
"""

from dataclasses import replace

from driftloop.contract.handovers import RetrainPolicy
from driftloop.retrain.causes import (
    count_alarm,
    decide_run,
    drop_stale,
    is_cooling,
    withdraw_decision,
    within_budget,
)
from driftloop.retrain.postponing import postpone_alarm, settle_quiet
from driftloop.retrain.state import (
    AlarmEvent,
    DataWait,
    EndEvent,
    HeadEvent,
    ReleaseHold,
    RetrainState,
)
from driftloop.retrain.telling import tell_wait

BAD_ENDS = ("refused", "rejected")
"""Outcomes that count towards the breaker."""


def wait_for_data(before: RetrainState, after: RetrainState, event: EndEvent) -> RetrainState:
    """A run ended because there is nothing new, or too little: its alarm is kept, and nothing was spent. The loop
    waits at once: a step, which does not know the cooldown, can say so, too."""
    after = replace(after, ended_at=before.ended_at)
    cause, waits, obstacle = before.alarm, before.waits, event.obstacle or "nothing-new"
    if cause is None and waits is None:
        return after
    if after.halt is None:
        after = replace(after, phase="waiting")
    if waits is not None:
        # told when it began to wait; what any run has found since is why it still does
        waits = replace(waits, news=False, reason=event.reason, obstacle=obstacle)
        after = replace(after, waits=waits)
    if cause is None:
        return after
    after = replace(after, fired=before.fired[:-1])
    if after.remembered is not None:
        # one row of alarms is enough to wait with
        after = replace(after, remembered=None, suppressed=after.suppressed + 1)
    if waits is not None:
        return after
    after = replace(after, waits=DataWait(cause, after.since, event.reason, obstacle=obstacle))
    return tell_wait(after, f"data {before.decision}", "data", event.reason)


def count_strike(before: RetrainState, after: RetrainState, event: EndEvent) -> RetrainState:
    """Count the candidates that came to nothing; a release ends the row, and every wait."""
    if event.outcome == "released":
        return replace(after, strikes=0, waits=None, postponed=())
    if before.alarm is not None:
        # its own run had the new data; alarms that go on count anew
        after = replace(after, waits=None)
    if event.outcome in BAD_ENDS:
        return replace(after, strikes=before.strikes + 1)
    return after


def step_head(state: RetrainState, event: HeadEvent, now: float) -> RetrainState:
    """Follow git: causes about releases that are not production are dropped, and a release that a
    person took back begins a pause, once."""
    state = drop_stale(state, event.production, now)
    if event.commit == state.head:
        return state
    # a commit that was there before anybody looked has its own time; another one counts from now
    since = now if state.head else event.at
    state = replace(state, head=event.commit, hold=None)
    if not event.taken_back:
        return state
    if state.phase == "pending":
        state = replace(
            withdraw_decision(state), phase="idle", since=now, decision=None, cause=None
        )
    hold = ReleaseHold(event.commit, event.subject, event.by, since)
    return replace(state, hold=hold)


def halt_by_hand(state: RetrainState, reason: str, now: float) -> RetrainState:
    """Stop the loop as a person wants it; the halt of an order to go back becomes theirs."""
    if state.rollback is not None and state.halt is not None:
        return replace(state, halt=reason, breaker=False)
    return halt_loop(state, reason, now)


def halt_loop(state: RetrainState, reason: str, now: float) -> RetrainState:
    """Stop the loop; a run that goes on may end."""
    if state.halt is not None:
        return state
    if state.live:
        return replace(state, halt=reason)
    if state.phase == "pending":
        state = withdraw_decision(state)
    return replace(
        state, phase="halted", since=now, halt=reason, decision=None, cause=None, fires=0
    )


def step_halting(
    state: RetrainState, event: AlarmEvent, now: float, policy: RetrainPolicy
) -> RetrainState:
    """Count an alarm of a detector whose alarms halt the loop, whatever it does now."""
    state, cause = count_alarm(state, event, policy, drops=state.halt is not None)
    if cause is None:
        return state
    together = "" if cause.lasting is None else f", {cause.lasting} windows together"
    why = f"{cause.text} (monitor {event.detector}{together})"
    state = tell_wait(state, f"halt {event.source} {cause.last}", "person", why)
    return replace(halt_loop(state, why, now), breaker=True)


def settle_state(state: RetrainState, now: float, policy: RetrainPolicy) -> RetrainState:
    """Apply what follows from the state and the clock alone."""
    if state.phase != "idle" and state.remembered is not None and policy.while_running == "drop":
        state = replace(state, remembered=None, suppressed=state.suppressed + 1)
    state = settle_quiet(state, now, policy)
    state = _settle_breaker(state, now, policy)
    state = _settle_hold(state, now, policy)
    state = _settle_phase(state, now, policy)
    if state.phase == "idle" and state.remembered is not None:
        if state.quiet_until is not None:
            cause = state.remembered
            return postpone_alarm(replace(state, remembered=None, phase="postponed"), cause, now)
        if within_budget(state, now, policy):
            return decide_run(state, state.remembered, now, policy)
    elif (
        state.phase == "waiting"
        and state.waits is not None
        and state.waits.news
        and state.quiet_until is None
        and not is_cooling(state, now, policy)
        and within_budget(state, now, policy)
    ):
        cause = replace(state.waits.cause, again=state.waits.cause.again + 1)
        state = replace(state, waits=replace(state.waits, cause=cause))
        return decide_run(state, cause, now, policy)
    return state


def _settle_breaker(state: RetrainState, now: float, policy: RetrainPolicy) -> RetrainState:
    """Halt the loop after too many candidates that came to nothing."""
    if (
        policy.halt_after is None
        or state.strikes < policy.halt_after
        or state.halt is not None
        or state.live
    ):
        return state
    why = f"{state.strikes} candidates in a row were refused or rejected"
    why += f", the last one: {state.reason}" if state.reason else ""
    if state.phase == "pending":
        state = withdraw_decision(state)
    key = f"breaker {state.ended_at}"
    state = tell_wait(state, key, "person", why)
    return replace(
        state,
        phase="halted",
        since=now,
        halt=why,
        breaker=True,
        decision=None,
        cause=None,
        fires=0,
    )


def _settle_hold(state: RetrainState, now: float, policy: RetrainPolicy) -> RetrainState:
    """End the pause after a person's commit, or tell of its begin."""
    hold = state.hold
    if hold is None or policy.hold == float("inf"):
        return state
    until = hold.since + policy.hold
    if now >= until:
        return replace(state, hold=None)
    if hold.until == until:
        return state
    if hold.until is None:
        who = f" by {hold.by}" if hold.by else ""
        why = f"`{hold.subject}` ({hold.commit[:12]}){who} took a release back"
        state = tell_wait(state, f"hold {hold.commit}", "time", why)
    return replace(state, hold=replace(hold, until=until))


def _settle_phase(state: RetrainState, now: float, policy: RetrainPolicy) -> RetrainState:
    """Choose the phase of a loop in which nothing runs."""
    if state.live or state.phase in ("pending", "halted"):
        return state
    phase = state.phase
    if state.hold is not None:
        phase = "held"
    elif phase == "held" or (phase == "waiting" and state.waits is None):
        phase = "cooling"
    if phase == "cooling" and not is_cooling(state, now, policy):
        phase = "idle"
    if phase in ("idle", "waiting", "postponed"):
        waits, postponed = state.waits is not None, bool(state.postponed)
        phase = "waiting" if waits else "postponed" if postponed else "idle"
    return state if phase == state.phase else replace(state, phase=phase, since=now)
