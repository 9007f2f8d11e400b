"""Going back because of alarms: what an order means, then orders, Workflows, git and persons in any order."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from driftloop.contract.handovers import AlarmCount, RetrainPolicy
from driftloop.retrain.decision import find_watched_rollback, step_decision
from driftloop.retrain.effects import FireRollback, FireWebhook, TellWait
from driftloop.retrain.explanation import explain_state
from driftloop.retrain.rollbacks import describe_rollback, find_claimed
from driftloop.retrain.state import (
    AlarmEvent,
    ClaimEvent,
    ClaimRollbackEvent,
    EndEvent,
    Event,
    HaltEvent,
    HeadEvent,
    LostEvent,
    ResumeEvent,
    RetrainState,
    RollbackEndEvent,
    RollbackOrder,
    TickEvent,
)
from driftloop.retrain.store import KEEP
from tests.retrain.test_decision import EMPTY, after, alarm, pending, running

POLICY = RetrainPolicy(consecutive=2, on=("drift",), halt_on=("rows",), rollback_on=("quality",))
ROWS = tuple(replace(alarm(n, detector="quality"), production="r1") for n in (1, 2))
CAUSE = "alarm quality-r1-2 (monitor quality)"


def ordered(state: RetrainState = EMPTY, policy: RetrainPolicy = POLICY) -> RetrainState:
    state = after(state, *ROWS, policy=policy)
    assert state.rollback is not None
    return state


def order_of(state: RetrainState) -> RollbackOrder:
    assert state.rollback is not None
    return state.rollback


def claimed(state: RetrainState | None = None, run: str = "digits-rollback") -> RetrainState:
    state = ordered() if state is None else state
    decision = order_of(state).decision
    state = after(state, ClaimRollbackEvent(run, decision), policy=POLICY)
    assert find_claimed(state, run) is not None
    return state


def ended(outcome: str, reason: str = "", to: str | None = None) -> RetrainState:
    state = claimed()
    end = RollbackEndEvent(order_of(state).decision, outcome, reason, to)  # type: ignore[arg-type]
    return after(state, end, end, policy=POLICY)


class TestOrder:
    def test_its_alarms_order_it_once_and_halt_the_loop(self) -> None:
        state, effects = step_decision(EMPTY, ROWS[0], 7.0, POLICY)
        assert (state.rollback, state.phase, effects) == (None, "idle", ())
        state, effects = step_decision(state, ROWS[1], 7.0, POLICY)
        assert (state.phase, state.breaker, state.decision) == ("halted", True, None)
        assert state.halt == f"goes back from r1 because of {CAUSE}"
        order = order_of(state)
        assert [type(effect) for effect in effects] == [FireRollback, TellWait]
        assert effects[0] == FireRollback(order.decision, "alarm quality-r1-2", 1)
        assert describe_rollback(state) == "ordered"
        explained = explain_state(state, "digits", 8.0, POLICY)
        assert f"to go back from r1 because of {CAUSE}: the webhook" in explained.paragraph
        again = after(state, alarm(1), alarm(2), *ROWS, policy=POLICY)
        assert order_of(again).decision == order.decision
        assert (again.phase, again.decision) == ("halted", None)

    def test_it_is_asked_for_less_and_less_often_until_claimed(self) -> None:
        policy = replace(POLICY, refire=2, refire_limit=8)
        state, fired = ordered(policy=policy), []
        for tenth in range(1001, 1400):
            state, effects = step_decision(state, TickEvent(), tenth / 10, policy)
            fired += [tenth / 10 for each in effects if isinstance(each, FireRollback)]
        assert fired == [102.0, 106.0, 114.0, 122.0, 130.0, 138.0]
        state = after(state, ClaimRollbackEvent("w", order_of(state).decision), policy=policy)
        state, effects = step_decision(state, TickEvent(), 900.0, policy)
        assert not any(isinstance(each, FireRollback) for each in effects)

    def test_windows_together_order_it_at_once(self) -> None:
        lasting = alarm(8, detector="quality", lasting=8)
        assert order_of(after(EMPTY, lasting, policy=POLICY)).cause.first == 1

    def test_a_run_may_end_meanwhile_and_none_begins(self) -> None:
        state = ordered(running(POLICY))
        assert (state.phase, state.live) == ("running", True)
        assert "go back from r1" in explain_state(state, "digits", 9.0, POLICY).paragraph
        state = after(state, EndEvent("digits-run", "superseded"), policy=POLICY)
        assert (state.phase, state.rollback is not None) == ("halted", True)
        state = after(state, ClaimEvent("digits-eve", "eve", "person eve"), policy=POLICY)
        assert not state.live

    def test_what_is_pending_is_withdrawn(self) -> None:
        state = ordered(pending(POLICY))
        assert (state.phase, state.decision) == ("halted", None)

    def test_a_halted_loop_goes_back_nowhere(self) -> None:
        state = after(EMPTY, HaltEvent("look first"), *ROWS, policy=POLICY)
        assert (state.rollback, state.suppressed) == (None, 2)
        assert after(state, ResumeEvent(), *ROWS, policy=POLICY).rollback is None

    def test_a_release_that_was_replaced_orders_nothing(self) -> None:
        rows = (replace(each, production="r2") for each in ROWS)
        state = after(EMPTY, *rows, policy=POLICY)
        assert (state.rollback, state.phase, state.stale) == (None, "idle", 2)

    def test_a_persons_fresh_choice_is_left_and_the_loop_halts(self) -> None:
        policy = replace(POLICY, hold=60.0)
        head = HeadEvent("c2", "r1", taken_back=True, subject="Roll back", at=100.0)
        state = after(EMPTY, head, *ROWS, policy=policy)
        assert (state.phase, state.rollback) == ("halted", None)
        assert state.halt == (
            "did not go back from r1: a person took a release back by `Roll back` (c2); it was to because "
            f"of {CAUSE}"
        )
        assert describe_rollback(state) == "refused"

    def test_it_reads_back_what_it_wrote(self) -> None:
        for state in (ordered(), claimed(), ended("rolled-back", to="r0")):
            assert RetrainState.from_json(json.loads(json.dumps(state.to_json()))) == state

    def test_the_idle_loop_says_what_would_happen(self) -> None:
        explained = explain_state(EMPTY, "digits", 1.0, POLICY)
        assert explained.details[1] == (
            "2 alarms in a row of quality would go back to the previous release, and halt the loop"
        )


class TestClaim:
    def test_one_workflow_gets_it_and_may_ask_again(self) -> None:
        state = claimed(run="a")
        decision = order_of(state).decision
        other = after(state, ClaimRollbackEvent("b", decision), policy=KEEP)
        assert other == state
        assert find_claimed(other, "b") is None
        assert after(state, ClaimRollbackEvent("a", decision), policy=KEEP) == state

    @pytest.mark.parametrize("decision", ["0123456789ab", ""])
    def test_what_nobody_ordered_is_claimed_by_nobody(self, decision: str) -> None:
        for state in (EMPTY, ordered()):
            assert after(state, ClaimRollbackEvent("w", decision), policy=KEEP) == state

    def test_an_order_that_ended_can_not_come_back(self) -> None:
        state = claimed()
        decision = order_of(state).decision
        state = after(state, RollbackEndEvent(decision, "rolled-back", to="r0"), policy=POLICY)
        again = ClaimRollbackEvent("digits-rollback", decision)
        assert after(state, ResumeEvent(), again, *ROWS, policy=POLICY).rollback is None


class TestEnd:
    def test_the_loop_stays_halted_until_a_person_resumes_it(self) -> None:
        state = ended("rolled-back", to="r0")
        assert (state.phase, state.breaker, state.rollback) == ("halted", True, None)
        assert state.halt == f"rolled back from r1 to r0 because of {CAUSE}"
        assert describe_rollback(state) == "rolled-back"
        told = [wait.reason for wait in state.waits_untold]
        assert told == [f"goes back from r1 because of {CAUSE}", state.halt]
        state = after(state, alarm(1, release="r0", detector="quality"), policy=POLICY)
        assert state.phase == "halted"
        state = after(state, ResumeEvent(), policy=POLICY)
        assert (state.phase, describe_rollback(state)) == ("idle", None)
        assert "The last rollback, from r1 at" in explain_state(state, "d", 1.0, POLICY).paragraph

    @pytest.mark.parametrize("outcome", ["refused", "failed"])
    def test_what_stood_against_it_is_told(self, outcome: str) -> None:
        state = ended(outcome, "there is no release before r1")
        assert state.phase == "halted"
        assert state.halt == (
            f"did not go back from r1: there is no release before r1; it was to because of {CAUSE}"
        )
        assert describe_rollback(state) == outcome

    def test_a_release_that_is_production_no_longer_lifts_the_halt(self) -> None:
        state = ended("stale", "the alarm is about r1, production is r2")
        assert (state.phase, state.halt, state.breaker, state.stale) == ("idle", None, False, 1)

    def test_a_persons_halt_beside_it_stays(self) -> None:
        state = after(claimed(), HaltEvent("look first"), policy=POLICY)
        end = RollbackEndEvent(order_of(state).decision, "stale", "gone")
        assert after(state, end, policy=POLICY).halt == "look first"

    def test_git_says_it_where_the_step_died_after_its_commit(self) -> None:
        state = claimed()
        decision = order_of(state).decision
        head = HeadEvent("c9", "r0", taken_back=False, decision=decision)
        state = after(state, head, LostEvent(f"digits-rollback-{decision}"), policy=POLICY)
        assert state.halt == f"rolled back from r1 to r0 because of {CAUSE}"
        assert state.hold is None

    def test_a_workflow_that_ended_without_a_word_is_told(self) -> None:
        state = ordered()
        decision = order_of(state).decision
        name = find_watched_rollback(state, "digits")
        assert name == f"digits-rollback-{decision}"
        state = after(state, LostEvent("digits-rollback-other"), policy=POLICY)
        assert state.rollback is not None
        state = after(state, LostEvent(name, f"workflow {name} is gone"), policy=POLICY)
        assert (state.rollback, describe_rollback(state)) == (None, "failed")
        assert f"workflow {name} is gone" in (state.halt or "")

    def test_a_commit_of_somebody_else_ends_an_order_that_none_has_claimed(self) -> None:
        head = HeadEvent("c9", "r0", taken_back=False)
        state = after(ordered(), head, policy=POLICY)
        assert (state.rollback, state.phase, state.halt) == (None, "idle", None)
        assert after(claimed(), head, policy=POLICY).rollback is not None

    def test_a_person_who_resumes_takes_an_order_back_unless_it_is_carried_out(self) -> None:
        state = after(ordered(), ResumeEvent(), policy=POLICY)
        assert (state.rollback, state.phase) == (None, "idle")
        state = after(claimed(), ResumeEvent(), policy=POLICY)
        assert state.phase == "idle"
        end = RollbackEndEvent(order_of(state).decision, "rolled-back", to="r0")
        assert after(state, end, policy=POLICY).phase == "halted"


def test_a_clock_that_is_set_back_keeps_no_order_waiting() -> None:
    state = after(EMPTY, *ROWS, policy=POLICY, now=9_000.0)
    _, effects = step_decision(state, TickEvent(), 100.0, POLICY)
    assert any(isinstance(effect, FireRollback) for effect in effects)


class Orders(RuleBasedStateMachine):
    """Monitors that go back, and everything that may come between order and end.

    Git has a history of releases that only promotions and rollbacks change; whoever holds an order carries it out,
    dies before or after its commit, and may say so twice, late or never.
    """

    state = EMPTY
    steps = 0

    @initialize(hold=st.sampled_from([0.0, 30.0]), count=st.sampled_from([(1, 1), (2, 3)]))
    def start(self, hold: float, count: tuple[int, int]) -> None:
        self.policy = RetrainPolicy(
            hold=hold,
            refire=1.0,
            refire_limit=4.0,
            on=("drift",),
            halt_on=("rows",),
            rollback_on=("quality",),
            counts={"quality": AlarmCount(*count)},
        )
        self.state, self.now, self.steps = EMPTY, 0.0, 0
        self.production, self.newest, self.commits = 1, 1, 0
        self.head = HeadEvent("c0", "r1", taken_back=False)
        self.window = 0
        self.fired: list[str] = []
        self.orders: list[str] = []
        self.over: set[str] = set()
        self.left: dict[str, str] = {}
        """Order -> the release it was about, of those that were committed."""
        self.about: dict[str, str] = {}

    def apply(self, event: Event, *, by_step: bool = False) -> None:
        self.steps += 1
        before = self.state
        state, effects = step_decision(before, event, self.now, KEEP if by_step else self.policy)
        self.state = RetrainState.from_json(json.loads(json.dumps(state.to_json())))
        assert self.state == state
        order = self.state.rollback
        for effect in effects:
            if isinstance(effect, FireRollback):
                assert order is not None
                assert (order.decision, order.run) == (effect.decision, None)
                self.fired.append(effect.decision)
            assert not isinstance(effect, FireWebhook) or order is None or order.run is not None
        if order is not None and (
            before.rollback is None or before.rollback.decision != order.decision
        ):
            assert isinstance(event, AlarmEvent)
            assert order.decision not in self.orders, "one cause, two orders"
            assert before.halt is None
            assert before.hold is None
            assert self.fired[-1:] == [order.decision], "an order is asked for at once"
            self.orders.append(order.decision)
            self.about[order.decision] = order.cause.release
        if before.rollback is not None and order is None:
            assert before.rollback.decision not in self.over, "an order ended twice"
            self.over.add(before.rollback.decision)

    @rule(detector=st.sampled_from(["quality", "quality", "quality", "rows", "drift"]),
          old=st.booleans(), known=st.booleans())  # fmt: skip
    def a_monitor_alarms(self, detector: str, old: bool, known: bool) -> None:
        self.window += 1
        release = f"r{max(1, self.production - 1) if old else self.production}"
        event = alarm(self.window, release=release, detector=detector)
        event = replace(event, production=f"r{self.production}" if known else None)
        for _ in range(2):
            self.apply(event)
        order = self.state.rollback
        if known and order is not None and order.run is None:
            assert order.cause.release == f"r{self.production}", "an order about another release"

    @rule(by_person=st.booleans())
    def git_moves(self, by_person: bool) -> None:
        self.commits += 1
        if by_person and self.production > 1:
            self.production -= 1
        else:
            self.newest = self.production = self.newest + 1
            by_person = False
        self.head = HeadEvent(
            f"c{self.commits}", f"r{self.production}", by_person, "Roll back", "eve", self.now
        )
        self.git_is_read()

    @rule()
    def git_is_read(self) -> None:
        self.apply(self.head)
        order = self.state.rollback
        assert order is None or order.run is not None or order.cause.release == self.head.production

    @precondition(lambda self: self.fired)
    @rule(data=st.data(), other=st.booleans())
    def a_workflow_begins(self, data: st.DataObject, other: bool) -> None:
        decision = data.draw(st.sampled_from(sorted(set(self.fired))))
        run = f"other-{decision}" if other else f"digits-rollback-{decision}"
        held = self.state.rollback.run if self.state.rollback is not None else None
        self.apply(ClaimRollbackEvent(run, decision), by_step=True)
        if find_claimed(self.state, run) is not None:
            assert held in (None, run), "two Workflows have one order"
            assert decision not in self.over, "an order came back from the dead"

    @precondition(lambda self: self.state.rollback is not None and self.state.rollback.run)
    @rule(committed=st.booleans(), said=st.booleans())
    def it_is_carried_out(self, committed: bool, said: bool) -> None:
        order = order_of(self.state)
        stale = order.cause.release != f"r{self.production}"
        if stale:
            end = RollbackEndEvent(order.decision, "stale", "gone")
        elif committed and self.production > 1:
            self.left[order.decision] = order.cause.release
            self.production -= 1
            self.commits += 1
            to = f"r{self.production}"
            self.head = HeadEvent(f"c{self.commits}", to, taken_back=False, decision=order.decision)
            end = RollbackEndEvent(order.decision, "rolled-back", to=to)
        else:
            end = RollbackEndEvent(order.decision, "refused", "no release before")
        if not said:
            return
        for _ in range(2):
            self.apply(end, by_step=True)
        assert self.state.rollback is None
        assert stale or self.state.halt is not None
        assert stale or self.state.live or self.state.phase == "halted"

    @precondition(lambda self: self.state.rollback is not None)
    @rule()
    def its_workflow_is_lost(self) -> None:
        decision = order_of(self.state).decision
        # as the service does it: git first
        self.apply(self.head)
        self.apply(LostEvent(f"digits-rollback-{decision}"))
        assert self.state.rollback is None
        if decision in self.left and self.head.decision == decision:
            assert self.state.went_back is not None
            assert self.state.went_back.outcome == "rolled-back", "a commit that is not told"

    @rule(seconds=st.sampled_from([0.1, 2.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        order = self.state.rollback
        due = order is not None and order.run is None and self.now >= order.next_fire
        count = len(self.fired)
        self.apply(TickEvent())
        assert len(self.fired) == count + due, "an unclaimed order is asked for when it is due"

    @rule(resumes=st.sampled_from([True, True, False]))
    def a_person(self, resumes: bool) -> None:
        self.apply(ResumeEvent() if resumes else HaltEvent("stop"))
        assert (self.state.halt is None) == resumes

    @precondition(lambda self: self.state.decision is not None)
    @rule(ends=st.booleans())
    def a_run_begins_or_ends(self, ends: bool) -> None:
        if self.state.run is not None and ends:
            self.apply(EndEvent(self.state.run, "superseded"), by_step=True)
        else:
            decision = self.state.decision or ""
            self.apply(ClaimEvent(f"digits-{decision}", decision, "alarm x"), by_step=True)

    @invariant()
    def an_open_order_halts_the_loop(self) -> None:
        order = self.state.rollback
        if order is not None and order.run is None:
            assert self.state.halt is not None
            assert self.state.live or self.state.phase == "halted"
        assert order is None or order.decision not in self.over

    @invariant()
    def each_release_is_left_once_for_one_order(self) -> None:
        for decision, release in self.left.items() if self.steps else ():
            assert self.about[decision] == release


Orders.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
)
TestOrders = pytest.mark.timeout(400)(Orders.TestCase)
