"""From alarms to a decision: rows of alarms are counted, and a row that counts is a cause."""

from dataclasses import replace

from driftloop.contract.handovers import AlarmCount, RetrainPolicy
from driftloop.contract.names import ALARM_CAUSE
from driftloop.retrain.state import (
    WITHDRAWN,
    AlarmEvent,
    CauseSource,
    RetrainCause,
    RetrainState,
)

DAY = 86_400.0
KEPT_ENDED = 64
KEPT_SOURCES = 80
"""Detectors of releases: those of the largest spec, of some releases."""
KEPT_ALARMS = 256
KEPT_IN_ALL = 2048
"""Alarms of all detectors: each carries a text of up to 300 characters, and an entry must stay below
1 MB."""


def step_alarm(
    state: RetrainState, event: AlarmEvent, now: float, policy: RetrainPolicy
) -> RetrainState:
    """Count an alarm; the one that completes a row decides, or is kept or dropped by the policy."""
    busy = state.phase != "idle"
    drops = busy and (policy.while_running == "drop" or state.waits is not None)
    state, cause = count_alarm(state, event, policy, drops=drops)
    if cause is None:
        return state
    if busy:
        if state.remembered is not None:
            state = replace(state, suppressed=state.suppressed + 1)
        return replace(state, remembered=state.remembered or cause)
    return decide_run(state, cause, now, policy)


def count_alarm(
    state: RetrainState, event: AlarmEvent, policy: RetrainPolicy, *, drops: bool
) -> tuple[RetrainState, RetrainCause | None]:
    """Return the state with an alarm, and the row that it completes (or is, when it is of windows together), which
    is used up; none for a repeat, a
    quiet window, and an alarm about a release that was replaced, or one that `drops` uses up without any
    effect."""
    source = state.sources.get(event.source, CauseSource())
    if not event.alarm or event.window <= source.watermark or event.window in source.alarms:
        return state, None
    if event.production is not None and event.release != event.production:
        state = replace(
            state, stale=state.stale + 1, dropped=explain_stale(event.release, event.production)
        )
        return _with_source(state, event, _consume_alarms(source, event.window)), None
    if drops:
        state = replace(state, suppressed=state.suppressed + 1)
        return _with_source(state, event, _consume_alarms(source, event.window)), None
    source = CauseSource(source.watermark, {**source.alarms, event.window: event.event})
    cause = _find_lasting(event, source) or _find_cause(
        event, source, policy.count_of(event.detector)
    )
    if cause is not None:
        source = _consume_alarms(source, cause.last)
    return _with_source(state, event, source), cause


def explain_stale(release: str, production: str) -> str:
    """Say why an alarm about a release that was replaced counts nothing."""
    return f"the alarm is about {release}, production is {production}"


def within_budget(state: RetrainState, now: float, policy: RetrainPolicy) -> bool:
    """Return True if alarms may start another run now."""
    return (
        policy.budget is None or sum(1 for time in state.fired if time > now - DAY) < policy.budget
    )


def is_cooling(state: RetrainState, now: float, policy: RetrainPolicy) -> bool:
    """Return True during the pause after the last run that had something to train on."""
    return state.ended_at is not None and now < state.ended_at + policy.cooldown


def decide_run(
    state: RetrainState, cause: RetrainCause, now: float, policy: RetrainPolicy
) -> RetrainState:
    """From idle or waiting: a decision, unless the budget is spent."""
    if not within_budget(state, now, policy):
        if policy.while_running == "remember":
            return replace(state, remembered=cause)
        return replace(state, suppressed=state.suppressed + 1)
    if policy.while_running == "drop":
        # what is known beside the cause is dropped with it, as it would be had it come a moment later
        state = replace(
            state,
            sources={
                key: source
                if policy.interrupts(key.partition("/")[0])
                else _consume_alarms(source, max(source.alarms, default=0))
                for key, source in state.sources.items()
            },
        )
    return replace(
        state,
        phase="pending",
        since=now,
        decision=cause.decision(state.pipeline),
        cause=cause.text,
        alarm=cause,
        run=None,
        workflow=None,
        fires=0,
        next_fire=now,
        remembered=None,
        fired=(*(time for time in state.fired if time > now - DAY), now),
    )


def withdraw_decision(state: RetrainState) -> RetrainState:
    """A pending decision that will not be carried out: what waited for data waits on, other
    causes are remembered, for `settle_state` to judge by the policy."""
    if state.decision is None:
        return state
    ended = record_end(state, state.decision)
    if state.waits is not None:
        return replace(state, ended=ended, alarm=None)
    cause = _repeat_cause(state, state.decision)
    return replace(state, ended=ended, alarm=None, remembered=state.remembered or cause)


def drop_decision(state: RetrainState, now: float, why: str) -> RetrainState:
    """A pending decision whose cause counts nothing any more; it costs no budget."""
    assert state.decision is not None  # noqa: S101 - a pending state has one
    return replace(
        state,
        phase="idle",
        since=now,
        decision=None,
        cause=None,
        alarm=None,
        waits=None,
        fires=0,
        next_fire=0.0,
        fired=state.fired[:-1],
        ended=record_end(state, state.decision),
        stale=state.stale + 1,
        dropped=why,
    )


def drop_stale(state: RetrainState, production: str | None, now: float) -> RetrainState:
    """Drop the causes about other releases than production, if that is known; a live run is left
    alone."""
    if production is None:
        return state
    if state.phase == "pending" and state.alarm is not None and state.alarm.is_stale(production):
        state = drop_decision(state, now, explain_stale(state.alarm.release, production))
    waits, remembered = state.waits, state.remembered
    if waits is not None and not state.live and waits.cause.is_stale(production):
        state = replace(
            state,
            waits=None,
            stale=state.stale + 1,
            dropped=explain_stale(waits.cause.release, production),
        )
    for postponed in state.postponed:
        if postponed.cause.is_stale(production):
            state = replace(
                state,
                postponed=tuple(each for each in state.postponed if each != postponed),
                stale=state.stale + 1,
                dropped=explain_stale(postponed.cause.release, production),
            )
    if remembered is not None and remembered.is_stale(production):
        state = replace(
            state,
            remembered=None,
            stale=state.stale + 1,
            dropped=explain_stale(remembered.release, production),
        )
    return state


def record_end(state: RetrainState, *names: str) -> tuple[str, ...]:
    """Return the runs and decisions that are over, with some more."""
    return (*(name for name in state.ended if name not in names), *names)[-KEPT_ENDED:]


def _repeat_cause(state: RetrainState, decision: str) -> RetrainCause:
    """The cause of the pending decision, as that of another one."""
    if state.alarm is not None:
        return replace(state.alarm, again=state.alarm.again + 1)
    # an entry of an older version, which kept the text only
    return RetrainCause(WITHDRAWN, decision, 0, 0, (state.cause or "").removeprefix(ALARM_CAUSE))


def _find_lasting(event: AlarmEvent, source: CauseSource) -> RetrainCause | None:
    """Return the cause that an alarm of windows together is by itself: it is evidence of time already. Of
    windows that were used up, it begins after these."""
    if event.lasting is None:
        return None
    first = max(event.window - event.lasting, source.watermark) + 1
    return RetrainCause(
        event.detector,
        event.release,
        first,
        event.window,
        source.alarms[event.window],
        lasting=event.lasting,
    )


def _find_cause(event: AlarmEvent, source: CauseSource, count: AlarmCount) -> RetrainCause | None:
    """Return the first row of alarms that the new one completes: `least` of them among `of` windows by
    number; for windows in a row both are the same."""
    near = sorted(window for window in source.alarms if abs(window - event.window) < count.of)
    place = near.index(event.window)
    for start in range(max(0, place - count.least + 1), place + 1):
        row = near[start : start + count.least]
        if len(row) == count.least and row[-1] - row[0] < count.of:
            last = row[-1]
            return RetrainCause(event.detector, event.release, row[0], last, source.alarms[last])
    return None


def _consume_alarms(source: CauseSource, last: int) -> CauseSource:
    """Return the source with a watermark of at least `last`."""
    watermark = max(source.watermark, last)
    return CauseSource(
        watermark, {window: id for window, id in source.alarms.items() if window > watermark}
    )


def _with_source(state: RetrainState, event: AlarmEvent, source: CauseSource) -> RetrainState:
    """Return the state with what is known of an alarm's source now, within the bounds of an entry."""
    if len(source.alarms) > KEPT_ALARMS:
        newest = sorted(source.alarms)[-KEPT_ALARMS:]
        source = CauseSource(source.watermark, {window: source.alarms[window] for window in newest})
    sources = {name: value for name, value in state.sources.items() if name != event.source}
    sources[event.source] = source
    for name in list(sources)[: max(0, len(sources) - KEPT_SOURCES)]:
        del sources[name]
    excess = sum(len(each.alarms) for each in sources.values()) - KEPT_IN_ALL
    for name in list(sources):
        if excess > 0:
            # the detectors that were silent longest
            excess -= len(sources[name].alarms)
            sources[name] = CauseSource(sources[name].watermark)
    return replace(state, sources=sources)
