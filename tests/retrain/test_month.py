"""A month of a team whose labels come weekly, by a simulated clock: alarms every day, a batch every week."""

import json

from driftloop.contract.handovers import RetrainPolicy
from driftloop.retrain.causes import DAY
from driftloop.retrain.decision import is_claimed, step_decision
from driftloop.retrain.effects import FireWebhook, TellWait
from driftloop.retrain.state import (
    AlarmEvent,
    ClaimEvent,
    EndEvent,
    Event,
    NewDataEvent,
    RetrainState,
    TickEvent,
    WaitToldEvent,
)
from driftloop.retrain.store import KEEP

POLICY = RetrainPolicy(cooldown=1800.0, budget=4, on=("drift",), hold=1800.0, halt_after=3)
HOUR = 3600.0
WEEKS = 4


class Month:
    """A loop, its runs and its data; every run says itself how it ended, as the steps do."""

    def __init__(self) -> None:
        self.state = RetrainState("digits.digits")
        self.now = 0.0
        self.batches = self.read = 1
        self.production = 0
        self.trained: list[str] = []
        self.told: list[float] = []

    def apply(self, event: Event, policy: RetrainPolicy = POLICY) -> None:
        state, effects = step_decision(self.state, event, self.now, policy)
        self.state = RetrainState.from_json(json.loads(json.dumps(state.to_json())))
        for effect in effects:
            match effect:
                case FireWebhook():
                    self.run(effect)
                case TellWait():
                    self.told.append(self.now)
                    self.apply(WaitToldEvent(effect.key))

    def run(self, fired: FireWebhook) -> None:
        run = f"digits-{fired.decision}"
        self.apply(ClaimEvent(run, fired.decision, fired.cause, f"r{self.production}"), KEEP)
        assert is_claimed(self.state, run)
        if self.read == self.batches and self.production:
            nothing = f"nothing new since r{self.production}"
            self.apply(EndEvent(run, "not-started", nothing, "nothing-new"), KEEP)
            return
        self.read = self.batches
        self.production += 1
        self.trained.append(fired.cause)
        self.apply(EndEvent(run, "released", f"r{self.production} is production"), KEEP)

    def hour(self, number: int) -> None:
        self.now = number * HOUR
        self.apply(TickEvent())
        if number % 24 == 9:
            release = f"r{self.production}"
            alarm = AlarmEvent("drift", release, number, True, f"day-{number // 24}", release)
            self.apply(alarm)
        if number % (7 * 24) == 6 * 24 + 12:
            self.batches += 1
        if self.state.phase == "waiting" and self.batches > self.read:
            self.apply(NewDataEvent())


def test_runs_are_weeks_and_people_are_told_once_a_wait() -> None:
    month = Month()
    month.production = 1
    for number in range(WEEKS * 7 * 24):
        month.hour(number)
    assert len(month.trained) == WEEKS
    assert len(month.told) == WEEKS
    # the first alarm of each week waits for the batch at its end, and is the cause of the run
    assert month.trained == [f"alarm day-{7 * week}" for week in range(WEEKS)]
    assert len([time for time in month.state.fired if time > month.now - DAY]) <= 1
    assert month.state.strikes == 0
