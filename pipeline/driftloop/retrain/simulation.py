"""Simulation of the decision over the windows of a replay: the very state machine, by a clock that jumps
from one moment in which something can happen to the next.

Nothing is trained, so two things are assumed: a run takes so long, and ends as released. Then alarms count for
the new release, but the monitors go on to compare with the data that they were fitted on: after a change that
lasts runs go on, where a real loop's next release has the change in its reference. A halt lasts a day, then
a person resumes; a rollback is a halt.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.verdicts import VerdictRecord
from driftloop.retrain.causes import DAY
from driftloop.retrain.decision import step_decision
from driftloop.retrain.effects import FireRollback, FireWebhook, TellLoss, TellWait
from driftloop.retrain.postponing import still_alarms
from driftloop.retrain.state import (
    AlarmEvent,
    ClaimEvent,
    ClaimRollbackEvent,
    EndEvent,
    Event,
    HeadEvent,
    RecheckEvent,
    ResumeEvent,
    RetrainState,
    RollbackEndEvent,
    TickEvent,
    ToldEvent,
    WaitToldEvent,
)

HALTED = DAY
"""Seconds until a person lets a halted loop go on."""
RUN = 1800.0
"""Seconds of a run, from the decision to production."""


@dataclass(frozen=True)
class SimulatedWindow:
    """A window that a monitor closed."""

    monitor: str
    number: int
    last: int
    """Its last row."""
    closed: float
    """When, in seconds."""
    alarm: bool
    words: str = ""
    """What moved."""
    lasting: int | None = None
    """Windows up to this one that alarm together."""


@dataclass(frozen=True)
class SimulatedRun:
    """A run that the decision asked for, or a halt of the loop."""

    at: float
    row: int
    """Last row of the windows before it."""
    monitor: str
    first: int
    """First and last window of its alarms."""
    last: int
    words: str


@dataclass(frozen=True)
class SimulatedLoop:
    """Record of a simulated decision."""

    runs: tuple[SimulatedRun, ...]
    halts: tuple[SimulatedRun, ...]
    suppressed: int
    """Rows of alarms that led to nothing: during a run or the cooldown, or beyond the budget."""


def simulate_decision(
    windows: Iterable[SimulatedWindow], policy: RetrainPolicy, *, until: float, run: float = RUN
) -> SimulatedLoop:
    """Take the windows of all monitors, in the order of their times, up to the end of the traffic."""
    loop = _Loop(policy, run)
    for window in sorted(windows, key=lambda each: (each.closed, each.monitor, each.number)):
        if window.monitor in policy.heeded:
            loop.advance(window.closed)
            loop.take(window)
    loop.advance(until)
    return SimulatedLoop(tuple(loop.runs), tuple(loop.halts), loop.state.suppressed)


class _Loop:
    def __init__(self, policy: RetrainPolicy, run: float) -> None:
        self.state = RetrainState("backtest.backtest")
        self.runs: list[SimulatedRun] = []
        self.halts: list[SimulatedRun] = []
        self._policy = policy
        self._run = run
        self._now = 0.0
        self._release = 1
        self._row = 0
        self._words: dict[str, str] = {}
        self._newest: dict[str, int] = {}
        self._before: dict[str, int] = {}
        """Last window of each monitor, and that of the release before."""
        self._verdicts: dict[str, list[VerdictRecord]] = {}
        """Of each monitor and release."""

    def take(self, window: SimulatedWindow) -> None:
        """Step by the verdict of a window."""
        self._row = max(self._row, window.last)
        key = f"{window.monitor}-{window.number}"
        self._words[key] = window.words
        self._newest[window.monitor] = window.number
        release = f"r{self._release}"
        halted = self.state.halt is not None
        lasting = window.lasting or 1
        # the windows of a release are judged together with none of the release before
        own = lasting == 1 or window.number - lasting >= self._before.get(window.monitor, 0)
        alarm = AlarmEvent(
            window.monitor,
            release,
            window.number,
            window.alarm and own,
            key,
            release,
            window.lasting,
        )
        verdict = VerdictRecord(
            alarm.detector, release, alarm.window, alarm=alarm.alarm, lasting=alarm.lasting
        )
        self._verdicts.setdefault(alarm.source, []).append(verdict)
        self._apply(alarm)
        if self.state.halt is not None and not halted:
            self.halts.append(self._describe(window.monitor, window.number, window.number, key))

    def advance(self, until: float) -> None:
        """Let the time pass, with everything that happens by itself."""
        while (moment := self._find_next()) is not None and moment <= until:
            self._now = max(self._now, moment)
            if self.state.live and self.state.run is not None:
                self._end_run(self.state.run)
            elif self.state.phase == "halted":
                self._apply(ResumeEvent())
            else:
                self._apply(TickEvent())
            if self.state.phase == "postponed" and self.state.quiet_until is None:
                self._recheck_alarms()
        self._now = max(self._now, until)

    def _find_next(self) -> float | None:
        """Return the next moment in which something happens by itself."""
        state, policy = self.state, self._policy
        if state.live:
            return state.since + self._run
        if state.phase == "halted":
            return state.since + HALTED
        moments = []
        if state.phase == "cooling" and state.ended_at is not None:
            moments.append(state.ended_at + policy.cooldown)
        if state.phase == "postponed" and state.quiet_until is not None:
            moments.append(state.quiet_until)
        if state.phase == "idle" and state.remembered is not None and state.fired:
            moments.append(min(state.fired) + DAY)
        return min((each for each in moments if each > self._now), default=None)

    def _recheck_alarms(self) -> None:
        """Look after the quiet hours whether the last windows of postponed alarms' monitors alarm still."""
        still = {
            alarm.source: still_alarms(
                alarm.cause,
                self._policy.count_of(alarm.cause.detector),
                self._verdicts.get(alarm.source, ()),
            )
            for alarm in self.state.postponed
        }
        self._apply(
            RecheckEvent(
                tuple(source for source, is_so in still.items() if is_so),
                tuple(source for source, is_so in still.items() if not is_so),
            )
        )

    def _end_run(self, run: str) -> None:
        self._release += 1
        self._before = dict(self._newest)
        self._apply(EndEvent(run, "released"))
        # as git says it: alarms about the release before count nothing any more
        self._apply(HeadEvent(run, f"r{self._release}", taken_back=False))

    def _apply(self, event: Event) -> None:
        self.state, effects = step_decision(self.state, event, self._now, self._policy)
        for effect in effects:
            match effect:
                case FireWebhook(decision, cause, _):
                    self._note_run()
                    self._apply(ClaimEvent(f"run-{decision}", decision, cause))
                case FireRollback(decision, _, _):
                    self._apply(ClaimRollbackEvent(f"rollback-{decision}", decision))
                    self._apply(RollbackEndEvent(decision, "rolled-back", to="the release before"))
                case TellLoss(name, _, _):
                    self._apply(ToldEvent(name))
                case TellWait(key, _, _):
                    self._apply(WaitToldEvent(key))
                case _:
                    assert_never(effect)

    def _note_run(self) -> None:
        alarm = self.state.alarm
        if alarm is not None:
            self.runs.append(self._describe(alarm.detector, alarm.first, alarm.last, alarm.event))

    def _describe(self, monitor: str, first: int, last: int, key: str) -> SimulatedRun:
        words = self._words.get(key, "")
        return SimulatedRun(self._now, self._row, monitor, first, last, words)
