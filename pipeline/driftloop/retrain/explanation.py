"""Explanation of what the loop waits for: one line for `status`, one paragraph for `why`."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.lacks import describe_lacks
from driftloop.retrain.causes import DAY, is_cooling, within_budget
from driftloop.retrain.rollbacks import explain_cause
from driftloop.retrain.state import RetrainCause, RetrainState, RollbackOrder


@dataclass(frozen=True)
class LoopExplanation:
    """A phase, what it means in one line, and the sentences that follow it."""

    phase: str
    summary: str
    details: tuple[str, ...] = ()

    @property
    def paragraph(self) -> str:
        """Summary and details as one text."""
        return " ".join(f"{sentence}." for sentence in (self.summary, *self.details))


def explain_state(
    state: RetrainState,
    name: str,
    now: float,
    policy: RetrainPolicy | None = None,
    *,
    data: str = "",
) -> LoopExplanation:
    """Explain the state of a pipeline's loop; without the policy, pauses have no known end."""
    summary, details = _explain_phase(state, name, now, policy, data)
    lacks = describe_lacks((policy and policy.unfitted) or {})
    if lacks:
        summary = f"{summary}; production {lacks}"
        details = (*details, f"`driftloop trigger {name}` fits its detectors anew")
    return LoopExplanation(state.phase, summary, (*details, *_explain_past(state)))


def _explain_phase(
    state: RetrainState, name: str, now: float, policy: RetrainPolicy | None, data: str
) -> tuple[str, tuple[str, ...]]:
    since = format_time(state.since)
    match state.phase:
        case "idle":
            return _explain_idle(state, now, policy)
        case "pending":
            tries = "once" if state.fires == 1 else f"{state.fires} times"
            return (
                f"asked {tries} since {since} for a run because of {state.cause}",
                (
                    *_explain_lasting(state.alarm),
                    "None has begun: the webhook, the Sensor or Argo has not made it yet",
                ),
            )
        case "running" | "evaluating" | "rolling-out":
            verb = "is rolled out" if state.phase == "rolling-out" else f"is {state.phase}"
            end = ("It ends in a halt: " + state.halt,) if state.halt is not None else ()
            end = (*_explain_order(state.rollback), *end)
            return (
                f"run {state.run} {verb} since {since} because of {state.cause}",
                (*_explain_lasting(state.alarm), *end),
            )
        case "cooling":
            until = state.ended_at + policy.cooldown if policy and state.ended_at else math.nan
            return (
                f"cools down {_until(until)}after the last run",
                ("Alarms count again after that; schedules and people may start runs",),
            )
        case "waiting":
            return _explain_waiting(state, name, now, policy, data)
        case "postponed":
            return _explain_postponed(state, name, policy)
        case "held":
            return _explain_hold(state, name)
        case "halted":
            return _explain_halt(state, name, since)
        case _:
            assert_never(state.phase)


def _explain_lasting(cause: RetrainCause | None) -> tuple[str, ...]:
    """Say of an alarm of windows together why one of them was enough."""
    if cause is None or cause.lasting is None:
        return ()
    first = cause.last - cause.lasting + 1
    return (
        f"That alarm is of windows {first}-{cause.last} of {cause.detector} together: a change that lasts "
        "counts by itself",
    )


def _explain_idle(
    state: RetrainState, now: float, policy: RetrainPolicy | None
) -> tuple[str, tuple[str, ...]]:
    if policy is None or not policy.on:
        return "waits for alarms, schedules or people", _explain_halts(policy)
    quiet = _explain_quiet(state, policy)
    if not within_budget(state, now, policy):
        return (
            f"the budget of {policy.budget} runs in 24 hours is spent until "
            f"{format_time(_budget_end(state, now, policy))}",
            (
                "Alarms start nothing until then; schedules and people may start runs",
                *quiet,
                *_explain_halts(policy),
            ),
        )
    return (
        f"waits for {_list_counts(policy, policy.on)}",
        (*_explain_least(policy), *quiet, *_explain_halts(policy)),
    )


def _explain_least(policy: RetrainPolicy) -> tuple[str, ...]:
    least = policy.least_new_rows
    if least is None:
        return ()
    return (f"They train once {least} labelled rows have come since the data of production",)


def _explain_quiet(state: RetrainState, policy: RetrainPolicy) -> tuple[str, ...]:
    if state.quiet_until is None or policy.quiet is None:
        return ()
    return (
        f"Alarms are kept {_until(state.quiet_until)}for these are quiet hours, {policy.quiet.text}",
    )


def _explain_postponed(
    state: RetrainState, name: str, policy: RetrainPolicy | None
) -> tuple[str, tuple[str, ...]]:
    causes = [alarm.cause for alarm in state.postponed]
    listed = ", and of ".join(explain_cause(cause) for cause in causes)
    if state.quiet_until is None:
        return f"the quiet hours are over: looks whether the alarm goes on, {listed}", ()
    hours = f", {policy.quiet.text}" if policy is not None and policy.quiet is not None else ""
    return (
        f"keeps an alarm {_until(state.quiet_until)}for these are quiet hours{hours}: {listed}",
        (
            *_explain_lasting(causes[0]),
            "A run starts then if the last windows of its monitor alarm still",
            f"`driftloop trigger {name}` starts one at once",
        ),
    )


def _explain_halts(policy: RetrainPolicy | None) -> tuple[str, ...]:
    if policy is None:
        return ()
    effects = (
        (policy.halt_on, "halt the loop"),
        (policy.rollback_on, "go back to the previous release, and halt the loop"),
    )
    counts = ((_list_counts(policy, on), effect) for on, effect in effects if on)
    return tuple(f"{count[0].upper()}{count[1:]} would {effect}" for count, effect in counts)


def _list_counts(policy: RetrainPolicy, monitors: tuple[str, ...]) -> str:
    """Say how many alarms of which monitors count, those that count alike together."""
    by_count: dict[str, list[str]] = {}
    for monitor in monitors:
        by_count.setdefault(policy.count_of(monitor).text, []).append(monitor)
    return ", or ".join(f"{count} of {' or '.join(names)}" for count, names in by_count.items())


def _explain_waiting(
    state: RetrainState, name: str, now: float, policy: RetrainPolicy | None, data: str
) -> tuple[str, tuple[str, ...]]:
    assert state.waits is not None  # noqa: S101 - the phase needs it
    since, cause = format_time(state.waits.since), state.waits.cause.text
    place = f" below {data}" if data else ""
    if state.waits.news:
        why = _explain_delay(state, now, policy)
        return f"new batches{place} are there for {cause}: {why}", ()
    few = state.waits.obstacle == "too-few-rows"
    next_run = (
        f"each new batch{place} starts a run because of it, which trains once there are as many rows"
        if few
        else f"the first new batch{place} starts a run because of it"
    )
    by_hand = (
        f"`driftloop trigger {name}` trains with fewer"
        if few
        else f"`driftloop trigger {name} --force` trains without new data"
    )
    return (
        f"waits for data since {since}: {state.waits.reason}",
        (
            *_explain_lasting(state.waits.cause),
            f"Its cause is kept, {cause}: {next_run}",
            "Alarms start nothing until then, and cost no budget",
            by_hand,
        ),
    )


def _explain_delay(state: RetrainState, now: float, policy: RetrainPolicy | None) -> str:
    """Say what keeps a run from its new batches."""
    if policy is None:
        return "its run begins"
    if state.quiet_until is not None and now < state.quiet_until:
        return f"these are quiet hours, and its run waits for {format_time(state.quiet_until)}"
    if not within_budget(state, now, policy):
        end = format_time(_budget_end(state, now, policy))
        return f"the budget of runs in 24 hours is spent until {end}"
    if state.ended_at is not None and is_cooling(state, now, policy):
        return f"the loop cools down {_until(state.ended_at + policy.cooldown)}after the last run"
    return "its run begins"


def _explain_hold(state: RetrainState, name: str) -> tuple[str, tuple[str, ...]]:
    hold = state.hold
    assert hold is not None  # noqa: S101 - the phase needs it
    by = f" by {hold.by}" if hold.by else ""
    until = _until(hold.until if hold.until is not None else math.nan)
    return (
        f"starts nothing {until}after a person's commit: `{hold.subject}` ({hold.commit[:12]}){by}",
        (
            "That goes for alarms, schedules and new data",
            f"`driftloop resume {name}` ends it, `driftloop trigger {name}` starts a run at once",
        ),
    )


def _explain_halt(state: RetrainState, name: str, since: str) -> tuple[str, tuple[str, ...]]:
    by = "halted itself" if state.breaker else "was halted"
    return (
        f"{by} at {since}: {state.halt}",
        (
            *_explain_order(state.rollback),
            f"Nothing starts until `driftloop resume {name}`",
        ),
    )


def _explain_order(order: RollbackOrder | None) -> tuple[str, ...]:
    """Say how far an order to go back is."""
    if order is None:
        return ()
    if order.run is not None:
        return (f"{order.run} goes back from {order.cause.release}",)
    tries = "once" if order.fires == 1 else f"{order.fires} times"
    return (
        f"Asked {tries} since {format_time(order.since)} to go back from {order.cause.release} because of "
        f"{explain_cause(order.cause)}: the webhook, the Sensor or Argo has not made the Workflow yet",
    )


def _explain_past(state: RetrainState) -> tuple[str, ...]:
    parts = []
    # a run that found nothing new does not move `ended_at`, from which the cooldown counts
    ended_at = state.outcome_at if state.outcome_at is not None else state.ended_at
    if state.outcome is not None and ended_at is not None:
        reason = f": {state.reason}" if state.reason else ""
        parts.append(f"The last run ended as {state.outcome} at {format_time(ended_at)}{reason}")
    if (end := state.went_back) is not None and state.halt is None:
        ended = (
            f"went back to {end.to}"
            if end.outcome == "rolled-back"
            else f"{end.outcome}, {end.reason}"
        )
        parts.append(f"The last rollback, from {end.release} at {format_time(end.at)}: {ended}")
    if state.strikes and not state.breaker:
        count = "candidate was" if state.strikes == 1 else "candidates in a row were"
        parts.append(f"{state.strikes} {count} refused or rejected")
    if state.stale:
        count = "alarm" if state.stale == 1 else "alarms"
        parts.append(f"{state.stale} {count} counted nothing, last because {state.dropped}")
    if state.clock:
        parts.append(state.clock[0].upper() + state.clock[1:])
    return tuple(parts)


def _budget_end(state: RetrainState, now: float, policy: RetrainPolicy) -> float:
    """The time at which alarms may start a run again."""
    recent = sorted(time for time in state.fired if time > now - DAY)
    if not policy.budget:
        return math.nan
    return recent[len(recent) - policy.budget] + DAY


def _until(time: float) -> str:
    return "" if math.isnan(time) else f"until {format_time(time)} "


def format_time(time: float) -> str:
    """Format seconds since 1970 as people read a time in UTC."""
    if math.isnan(time):
        return "an unknown time"
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
