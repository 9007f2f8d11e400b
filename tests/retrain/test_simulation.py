"""Windows of a replay through the decision: the runs are those of its policy, whatever the order of windows."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.handovers import AlarmCount, RetrainPolicy
from driftloop.retrain.causes import DAY
from driftloop.retrain.simulation import SimulatedLoop, SimulatedWindow, simulate_decision

POLICY = RetrainPolicy(consecutive=2, cooldown=1800.0, budget=4, on=("drift",), hold=0.0)
HOUR = 3600.0


def windows(
    alarms: Sequence[int], *, monitor: str = "drift", every: float = HOUR
) -> list[SimulatedWindow]:
    """Windows of 100 rows that alarm, or don't."""
    return [
        SimulatedWindow(monitor, n, 100 * n, every * n, bool(alarm), f"x {n}")
        for n, alarm in enumerate(alarms, 1)
    ]


def simulate(
    alarms: Sequence[int], policy: RetrainPolicy = POLICY, *, every: float = HOUR, run: float = 600
) -> SimulatedLoop:
    until = every * (len(alarms) + 1)
    return simulate_decision(windows(alarms, every=every), policy, until=until, run=run)


def test_a_change_that_lasts_starts_a_run_by_itself_and_none_of_the_release_before() -> None:
    """Four windows together alarm at 8, and at 10: these are of two releases."""
    quiet = windows([0] * 12, every=HOUR)
    lasting = [
        replace(each, alarm=True, lasting=4) if each.number in (8, 10) else each for each in quiet
    ]
    (run,) = simulate_decision(lasting, POLICY, until=13 * HOUR, run=600).runs
    assert (run.first, run.last, run.words) == (5, 8, "x 8")


def test_alarms_in_a_row_start_a_run_that_names_them() -> None:
    loop = simulate([0, 1, 0, 0, 1, 1, 0])
    (run,) = loop.runs
    assert (run.monitor, run.first, run.last, run.row, run.at) == ("drift", 5, 6, 600, 6 * HOUR)
    assert run.words == "x 6"
    assert loop.halts == ()


def test_three_of_five_windows_count_when_the_monitor_says_so() -> None:
    alarms = [1, 0, 1, 0, 1, 0]
    assert simulate(alarms).runs == ()
    policy = replace(POLICY, counts={"drift": AlarmCount(3, 5)})
    assert [run.last for run in simulate(alarms, policy).runs] == [5]


def test_a_run_and_its_cooldown_take_no_alarms() -> None:
    # a run takes 10 minutes, the cooldown 30: of windows that close every 10, four are dropped
    loop = simulate([1] * 12, every=600.0)
    assert [run.first for run in loop.runs] == [1, 6, 11]
    assert [run.at for run in loop.runs] == [1200.0, 4200.0, 7200.0]


def test_the_budget_bounds_the_runs_of_a_day() -> None:
    policy = replace(POLICY, consecutive=1, cooldown=0.0)
    days = [simulate([1] * (24 * days), policy).runs for days in (1, 2, 3)]
    assert [len(runs) for runs in days] == [4, 8, 12]
    assert len(simulate([1] * 24, replace(policy, budget=None)).runs) == 24


def test_alarms_about_a_release_that_was_replaced_start_no_run() -> None:
    # those of windows 3 and 4 are remembered, and the run that goes on replaces their release
    policy = replace(POLICY, while_running="remember", cooldown=0.0)
    assert len(simulate([1, 1, 1, 1, 0, 0], policy, every=60.0).runs) == 1


def test_other_monitors_start_nothing_and_a_halt_lasts_a_day() -> None:
    assert simulate_decision(windows([1] * 5, monitor="rows"), POLICY, until=DAY).runs == ()
    policy = replace(POLICY, halt_on=("broken",), consecutive=1)
    both = [*windows([0] + [1] * 30), *windows([1], monitor="broken")]
    loop = simulate_decision(both, policy, until=31 * HOUR, run=600)
    (halt,) = loop.halts
    assert (halt.monitor, halt.last, halt.at) == ("broken", 1, HOUR)
    assert loop.runs[0].at == HOUR + DAY


@given(st.lists(st.booleans(), max_size=60), st.randoms(use_true_random=False))
def test_the_order_in_which_windows_are_given_makes_no_difference(alarms, random) -> None:  # type: ignore[no-untyped-def]
    given_ = windows(alarms, every=900.0)
    until = 900.0 * (len(alarms) + 1)
    expected = simulate_decision(given_, POLICY, until=until)
    random.shuffle(given_)
    assert simulate_decision(given_, POLICY, until=until) == expected


@given(
    st.lists(st.booleans(), max_size=80), st.integers(1, 5), st.integers(0, 5), st.integers(0, 3)
)
def test_runs_have_as_many_alarms_as_the_policy_says_and_keep_their_distance(
    alarms: list[bool], least: int, more: int, budget: int
) -> None:
    policy = replace(POLICY, counts={"drift": AlarmCount(least, least + more)}, budget=budget)
    loop = simulate(alarms, policy, every=900.0)
    for run in loop.runs:
        assert run.last - run.first < least + more
        assert sum(alarms[run.first - 1 : run.last]) >= least
    for before, after in zip(loop.runs, loop.runs[1:], strict=False):
        assert after.at >= before.at + 600 + policy.cooldown
        assert after.first > before.last
    for run in loop.runs:
        assert sum(run.at - DAY < other.at <= run.at for other in loop.runs) <= budget
