"""Times in the stored state that lie in the future: a clock was set back since they were written, or
another one that wrote them is fast.

They are taken for now, so that no pause becomes longer than it is.
"""

from dataclasses import replace

from driftloop.contract.handovers import RetrainPolicy
from driftloop.retrain.state import RetrainState

SKEW = 5.0
"""Seconds that the clocks of two machines may differ without a word."""


def bound_times(state: RetrainState, now: float, policy: RetrainPolicy) -> RetrainState:
    """Return the state without times in the future; `clock` says which there were."""
    after = _bound_pauses(state, now)
    latest = now + policy.refire_limit + SKEW
    if after.next_fire > latest:
        after = replace(after, next_fire=now)
    if after.rollback is not None and after.rollback.next_fire > latest:
        after = replace(after, rollback=replace(after.rollback, next_fire=now))
    if any(run.next > latest for run in after.untold):
        untold = tuple(replace(run, next=min(run.next, now)) for run in after.untold)
        after = replace(after, untold=untold)
    if any(wait.next > latest for wait in after.waits_untold):
        waits = tuple(replace(wait, next=min(wait.next, now)) for wait in after.waits_untold)
        after = replace(after, waits_untold=waits)
    return after


def _bound_pauses(state: RetrainState, now: float) -> RetrainState:
    after, ahead = state, 0.0
    latest = now + SKEW
    if state.ended_at is not None and state.ended_at > latest:
        after, ahead = replace(after, ended_at=now), max(ahead, state.ended_at - now)
    if state.hold is not None and state.hold.since > latest:
        ahead = max(ahead, state.hold.since - now)
        after = replace(after, hold=replace(state.hold, since=now))
    if any(alarm.since > latest for alarm in state.postponed):
        ahead = max(ahead, max(alarm.since for alarm in state.postponed) - now)
        postponed = tuple(replace(each, since=min(each.since, now)) for each in state.postponed)
        after = replace(after, postponed=postponed)
    if any(time > latest for time in state.fired):
        ahead = max(ahead, max(state.fired) - now)
        after = replace(after, fired=tuple(min(time, now) for time in state.fired))
    if state.since > latest:
        after, ahead = replace(after, since=now), max(ahead, state.since - now)
    if after is state:
        return state
    text = (
        f"a stored time was {ahead:.0f} s in the future and counts as now: a clock was set back, "
        "or another one is fast"
    )
    return replace(after, clock=text)
