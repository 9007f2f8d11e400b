"""Quiet hours: alarms start nothing in them, are kept and told, and are looked at again when they are over."""

from dataclasses import replace

import pytest

from driftloop.contract.handovers import AlarmCount, RetrainPolicy
from driftloop.contract.quiet import QuietHours
from driftloop.contract.verdicts import VerdictRecord
from driftloop.retrain.decision import is_claimed, step_decision
from driftloop.retrain.effects import FireWebhook, TellWait
from driftloop.retrain.explanation import explain_state
from driftloop.retrain.postponing import still_alarms
from driftloop.retrain.simulation import SimulatedWindow, simulate_decision
from driftloop.retrain.state import (
    AlarmEvent,
    ClaimEvent,
    EndEvent,
    Event,
    HeadEvent,
    NewDataEvent,
    RecheckEvent,
    RetrainCause,
    RetrainState,
    TickEvent,
)
from driftloop.retrain.store import KEEP

HOUR = 3600.0
POLICY = RetrainPolicy(
    consecutive=2,
    cooldown=600.0,
    on=("drift", "answers"),
    halt_on=("rows",),
    quiet=QuietHours(("22:00-06:00",)),
)
EVENING, NIGHT, MORNING = 20 * HOUR, 23 * HOUR, 30 * HOUR
EMPTY = RetrainState("digits.digits")


def alarm(window: int, detector: str = "drift", release: str = "r1") -> AlarmEvent:
    return AlarmEvent(detector, release, window, True, f"{detector}-{window}", "r1")


def after(
    state: RetrainState, *events: Event, now: float, policy: RetrainPolicy = POLICY
) -> RetrainState:
    for event in events:
        state, _ = step_decision(state, event, now, policy)
    return state


@pytest.fixture(name="night")
def postpone_an_alarm() -> RetrainState:
    return after(EMPTY, alarm(1), alarm(2), now=NIGHT)


def test_alarms_at_night_are_kept_and_told_once() -> None:
    state = after(EMPTY, alarm(1), now=EVENING)
    state, effects = step_decision(state, alarm(2), NIGHT, POLICY)
    assert (state.phase, state.decision, state.fired) == ("postponed", None, ())
    (told,) = effects
    assert isinstance(told, TellWait)
    assert told.waits_for == "time"
    assert told.reason == "alarm drift-2 (monitor drift) waits for the end of the quiet hours"
    state = after(state, alarm(3), alarm(4), alarm(1, "answers"), now=NIGHT + 60)
    assert [kept.cause.last for kept in state.postponed] == [2]
    state = after(state, alarm(2, "answers"), now=NIGHT + 90)
    assert [kept.source for kept in state.postponed] == ["drift/r1", "answers/r1"]
    assert RetrainState.from_json(state.to_json()) == state


def test_why_and_status_say_until_when(night: RetrainState) -> None:
    explained = explain_state(night, "digits", NIGHT, POLICY)
    assert explained.summary == (
        "keeps an alarm until 1970-01-02 06:00:00 UTC for these are quiet hours, 22:00-06:00 (UTC): "
        "alarm drift-2 (monitor drift)"
    )
    assert "`driftloop trigger digits` starts one at once" in explained.details
    idle = explain_state(after(EMPTY, TickEvent(), now=NIGHT), "digits", NIGHT, POLICY)
    assert idle.phase == "idle"
    assert (
        "Alarms are kept until 1970-01-02 06:00:00 UTC for these are quiet hours, 22:00-06:00 (UTC)"
        in idle.details
    )
    day = explain_state(after(EMPTY, TickEvent(), now=EVENING), "digits", EVENING, POLICY)
    assert "quiet hours" not in day.paragraph
    morning = explain_state(after(night, TickEvent(), now=MORNING), "digits", MORNING, POLICY)
    assert morning.summary.startswith("the quiet hours are over: looks whether the alarm goes on")


def test_in_the_morning_a_run_starts_if_the_windows_alarm_still(night: RetrainState) -> None:
    early = after(night, RecheckEvent(("drift/r1",)), now=MORNING - 1)
    assert early.phase == "postponed"
    state = after(night, TickEvent(), now=MORNING)
    assert (state.phase, state.quiet_until) == ("postponed", None)
    state, effects = step_decision(state, RecheckEvent(("drift/r1",)), MORNING + 5, POLICY)
    assert state.phase == "pending"
    assert effects[0] == FireWebhook(state.decision or "", "alarm drift-2", 1)
    assert state.postponed == ()


def test_an_alarm_that_is_over_starts_nothing_and_says_so(night: RetrainState) -> None:
    state = after(night, alarm(1, "answers"), alarm(2, "answers"), now=NIGHT)
    over = after(state, RecheckEvent((), ("drift/r1",)), now=MORNING)
    assert [kept.source for kept in over.postponed] == ["answers/r1"]
    assert after(over, RecheckEvent(("answers/r1",)), now=MORNING).cause == "alarm answers-2"
    over = after(over, RecheckEvent((), ("answers/r1",)), now=MORNING)
    assert (over.phase, over.fired) == ("idle", ())
    assert (
        "2 alarms counted nothing, last because answers did not alarm any longer after the quiet hours"
        in explain_state(over, "digits", MORNING, POLICY).details
    )
    assert after(over, alarm(7), alarm(8), now=MORNING).phase == "pending"


def test_the_first_of_two_alarms_decides_and_the_other_is_remembered_if_so_said(
    night: RetrainState,
) -> None:
    state = after(night, alarm(1, "answers"), alarm(2, "answers"), now=NIGHT)
    both = RecheckEvent(("drift/r1", "answers/r1"))
    dropped = after(state, both, now=MORNING)
    assert (dropped.phase, dropped.remembered, dropped.suppressed) == ("pending", None, 1)
    remember = replace(POLICY, while_running="remember")
    kept = after(state, both, now=MORNING, policy=remember).remembered
    assert kept is not None
    assert kept.detector == "answers"


def test_what_was_remembered_waits_for_the_morning_too() -> None:
    policy = replace(POLICY, while_running="remember")
    state = after(EMPTY, ClaimEvent("run", "eve", "person eve"), now=EVENING, policy=policy)
    state = after(state, alarm(1), alarm(2), now=EVENING + 60, policy=policy)
    state = after(state, EndEvent("run", "failed"), now=NIGHT, policy=policy)
    state = after(state, TickEvent(), now=NIGHT + 700, policy=policy)
    assert (state.phase, state.remembered) == ("postponed", None)


def test_people_schedules_and_new_data_know_no_quiet_hours(night: RetrainState) -> None:
    state = after(night, ClaimEvent("run", "cron", "schedule"), now=NIGHT + 60, policy=KEEP)
    assert is_claimed(state, "run")
    failed = after(state, EndEvent("run", "failed"), now=NIGHT + 120, policy=KEEP)
    assert after(failed, TickEvent(), now=NIGHT + 1000).phase == "postponed"
    released = after(state, EndEvent("run", "released"), now=NIGHT + 120, policy=KEEP)
    assert after(released, TickEvent(), now=NIGHT + 1000).phase == "idle"


def test_new_data_at_night_is_for_its_own_run_and_for_the_alarm_in_the_morning() -> None:
    state = after(EMPTY, alarm(1), alarm(2), now=EVENING)
    state = after(state, ClaimEvent("run", state.decision or "", state.cause or ""), now=EVENING)
    state = after(state, EndEvent("run", "not-started", "nothing", "nothing-new"), now=EVENING)
    assert state.phase == "waiting"
    state = after(state, TickEvent(), NewDataEvent(), now=NIGHT)
    assert state.phase == "waiting"
    assert (
        "these are quiet hours, and its run waits for 1970-01-02 06:00:00 UTC"
        in explain_state(state, "digits", NIGHT, POLICY).summary
    )
    assert after(state, TickEvent(), now=MORNING).phase == "pending"
    own = after(state, ClaimEvent("other", "look", "new data"), now=NIGHT + 60, policy=KEEP)
    assert is_claimed(own, "other")


def test_an_alarm_about_a_release_that_was_replaced_is_dropped(night: RetrainState) -> None:
    state = after(night, HeadEvent("c2", "r2", taken_back=False), now=NIGHT + 60)
    assert (state.phase, state.stale) == ("idle", 1)
    held = after(
        night,
        HeadEvent("c2", "r1", taken_back=True, at=NIGHT),
        now=NIGHT,
        policy=replace(POLICY, hold=60),
    )
    assert held.phase == "held"
    assert (
        after(held, TickEvent(), now=NIGHT + 61, policy=replace(POLICY, hold=60)).phase
        == "postponed"
    )


def test_a_monitor_that_halts_does_so_at_night(night: RetrainState) -> None:
    state = after(night, alarm(1, "rows"), alarm(2, "rows"), now=NIGHT)
    assert state.phase == "halted"


def test_hours_that_were_taken_out_of_the_spec_end_at_once(night: RetrainState) -> None:
    none = replace(POLICY, quiet=None)
    state = after(night, TickEvent(), now=NIGHT + 60, policy=none)
    assert state.quiet_until is None
    state = after(state, RecheckEvent(("drift/r1",)), now=NIGHT + 60, policy=none)
    assert state.phase == "pending"


@pytest.mark.parametrize(
    ("cause", "count", "alarms", "still"),
    [
        ((1, 2), AlarmCount(2, 2), [1, 1], True),  # nothing came after it
        ((1, 2), AlarmCount(2, 2), [1, 1, 0], False),
        ((1, 2), AlarmCount(2, 2), [1, 1, 0, 1, 1], True),
        ((1, 3), AlarmCount(2, 3), [1, 0, 1, 1, 0, 1], True),
        ((1, 3), AlarmCount(2, 3), [1, 0, 1, 1, 0, 0], False),
        ((1, 4), AlarmCount(2, 2), [0, 0, 0, 4, 0, 4, 0], True),  # four windows together, again
        ((1, 4), AlarmCount(2, 2), [0, 0, 0, 4, 0, 0, 0, 0], False),
        ((1, 2), AlarmCount(2, 2), [], True),  # what is not known is no sign that it is over
    ],
)
def test_an_alarm_goes_on_if_the_last_windows_would_count_again(
    cause: tuple[int, int], count: AlarmCount, alarms: list[int], still: bool
) -> None:
    lasting = 4 if 4 in alarms else None
    last = [
        VerdictRecord("drift", "r1", n, alarm=bool(each), lasting=each if each > 1 else None)
        for n, each in enumerate(alarms, 1)
    ]
    first = RetrainCause("drift", "r1", *cause, "event", lasting=lasting)
    assert still_alarms(first, count, last[-4:]) is still


def test_a_replay_keeps_to_quiet_hours() -> None:
    windows = [
        SimulatedWindow(
            "drift", n, 100 * n, EVENING + n * HOUR, alarm=n in (3, 4, 12, 13), words=f"x {n}"
        )
        for n in range(1, 20)
    ]
    # windows 3 and 4 alarm at 23 and 24 o'clock, and no other until 9
    (run,) = simulate_decision(windows, POLICY, until=60 * HOUR).runs
    assert (run.first, run.at) == (12, EVENING + 13 * HOUR)
    louder = [replace(each, alarm=each.number > 2) for each in windows]
    first, *_ = simulate_decision(louder, POLICY, until=60 * HOUR).runs
    assert (first.first, first.at) == (3, MORNING)
