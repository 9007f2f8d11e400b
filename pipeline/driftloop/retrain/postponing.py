"""Quiet hours: an alarm that counts starts nothing in them, and is kept until they are over.

Then the last windows of its monitor are looked at again: a run begins if they would still count. Alarms that
halt the loop or roll back, schedules, new data and people know no quiet hours.
"""

from collections.abc import Sequence
from dataclasses import replace

from driftloop.contract.handovers import AlarmCount, RetrainPolicy
from driftloop.contract.verdicts import VerdictRecord
from driftloop.retrain.causes import count_alarm, decide_run
from driftloop.retrain.state import (
    AlarmEvent,
    PostponedAlarm,
    RecheckEvent,
    RetrainCause,
    RetrainState,
)
from driftloop.retrain.telling import tell_wait


def is_postponing(state: RetrainState, now: float, policy: RetrainPolicy) -> bool:
    """Return True when an alarm that counts is kept for later."""
    if state.phase == "postponed":
        return True
    return state.phase == "idle" and policy.quiet is not None and policy.quiet.is_quiet(now)


def step_postponing(
    state: RetrainState, event: AlarmEvent, now: float, policy: RetrainPolicy
) -> RetrainState:
    """Count an alarm of quiet hours; the first that counts of each source is kept."""
    kept = any(alarm.source == event.source for alarm in state.postponed)
    state, cause = count_alarm(state, event, policy, drops=kept)
    return state if cause is None else postpone_alarm(settle_quiet(state, now, policy), cause, now)


def postpone_alarm(state: RetrainState, cause: RetrainCause, now: float) -> RetrainState:
    """Keep a cause until the quiet hours are over."""
    alarm = PostponedAlarm(cause, now)
    why = f"{cause.text} (monitor {cause.detector}) waits for the end of the quiet hours"
    state = tell_wait(state, f"quiet {alarm.source} {cause.last} {cause.again}", "time", why)
    return replace(state, postponed=(*state.postponed, alarm))


def settle_quiet(state: RetrainState, now: float, policy: RetrainPolicy) -> RetrainState:
    """Note when the quiet hours end. A step does not know the policy, and says nothing of them."""
    if policy.hold == float("inf"):
        return state
    until = None if policy.quiet is None else policy.quiet.find_end(now)
    return state if until == state.quiet_until else replace(state, quiet_until=until)


def step_recheck(
    state: RetrainState, event: RecheckEvent, now: float, policy: RetrainPolicy
) -> RetrainState:
    """After the quiet hours: drop the alarms that are over, and decide by the first that is not."""
    if state.phase != "postponed" or (policy.quiet is not None and policy.quiet.is_quiet(now)):
        return state
    for alarm in state.postponed:
        if alarm.source in event.over:
            state = replace(
                state,
                postponed=tuple(each for each in state.postponed if each != alarm),
                stale=state.stale + 1,
                dropped=f"{alarm.cause.detector} did not alarm any longer after the quiet hours",
            )
    still = [alarm.cause for alarm in state.postponed if alarm.source in event.still]
    if not still:
        return state
    others = still[1:]
    state = decide_run(replace(state, postponed=()), still[0], now, policy)
    if others and policy.while_running == "remember" and state.remembered is None:
        state = replace(state, remembered=others.pop(0))
    return replace(state, suppressed=state.suppressed + len(others))


def count_recheck(cause: RetrainCause, count: AlarmCount) -> int:
    """Return how many of the last windows say whether a cause still holds."""
    return max(count.of, cause.lasting or 0)


def still_alarms(cause: RetrainCause, count: AlarmCount, last: Sequence[VerdictRecord]) -> bool:
    """Return True when the last windows of a cause's monitor and release, in their order, would count as it did,
    or there is none after it."""
    if not last or last[-1].window <= cause.last:
        return True
    newest = last[-1].window
    recent = [each for each in last if each.alarm]
    alarms = sum(each.window > newest - count.of for each in recent)
    return alarms >= count.least or any(each.lasting is not None for each in recent)
